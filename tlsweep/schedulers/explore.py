"""Explore: what changes in the configuration that a member of a population copies."""

import math
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, Protocol

from tlsweep.schedulers.decisions import Observation
from tlsweep.spec.search.per_batch_size import Scaling
from tlsweep.spec.search.space import Distribution, Value


@dataclass(frozen=True, slots=True)
class Interval:
    """A member's training between two decisions."""

    number: int
    """The member's number."""
    epoch: int
    """The epoch at its end."""
    hyperparameters: Mapping[str, Value]
    """All hyperparameters in force in it."""
    gain: float = math.nan
    """Change of score in it; not finite where training diverged, or has not come so far."""


class Proposal(NamedTuple):
    """New values for a copy."""

    values: Mapping[str, Value]
    """Values of the hyperparameters that may change; the others stay the donor's."""
    fresh: frozenset[str]
    """Names of those that were drawn or proposed, not derived from the donor's."""


class Explorer(Protocol):
    """Proposes values for a copy. It draws from `rng` alone, and changes nothing."""

    def __call__(
        self, donor: Observation, seen: Sequence[Interval], pending: Iterable[Interval], rng: random.Random
    ) -> Proposal:
        """Values to go on with from the donor's state.

        Args:
            donor: the state that is copied.
            seen: all intervals of the population that were trained so far.
            pending: those that the other members train now.
            rng: the generator of this decision.
        """


def keep(donor: Observation, seen: Sequence[Interval], pending: Iterable[Interval], rng: random.Random) -> Proposal:
    """Explore off: selection alone."""
    return Proposal({}, frozenset())


@dataclass(frozen=True)
class Perturb:
    """PBT's explore (Jaderberg et al. 2017): perturb each value, or with the given probability draw another."""

    space: Mapping[str, Distribution]
    factors: Sequence[float]
    resample_probability: float

    def __call__(
        self, donor: Observation, seen: Sequence[Interval], pending: Iterable[Interval], rng: random.Random
    ) -> Proposal:
        values, fresh = dict[str, Value](), set[str]()
        for name, distribution in self.space.items():
            if rng.random() < self.resample_probability:
                values[name] = distribution.sample(rng)
                fresh.add(name)
            else:
                # Within the bounds: without them 30 steps up by 1.2 make an lr of 21 out of 0.09 (Ray's PBT does not
                # clip).
                values[name] = distribution.perturb(donor.hyperparameters[name], rng, self.factors)
        return Proposal(values, frozenset(fresh))


@dataclass(frozen=True)
class AtReference:
    """Explores lr at its reference batch size, where it is searched per batch size.

    So a batch size that changes takes lr with it, and what bounds lr are the bounds at the reference.
    """

    explorer: Explorer
    scaling: Scaling

    def __call__(
        self, donor: Observation, seen: Sequence[Interval], pending: Iterable[Interval], rng: random.Random
    ) -> Proposal:
        searched = self.scaling.searched(donor.hyperparameters)
        here = replace(donor, hyperparameters=searched)
        proposal = self.explorer(here, self._searched(seen), self._searched(pending), rng)
        new = {**searched, **proposal.values}
        if all(new[name] == searched[name] for name in ("lr", "batch_size")):
            # The donor's own to the last digit, which there and back might change.
            return proposal._replace(values={**proposal.values, "lr": donor.hyperparameters["lr"]})
        return proposal._replace(values={**proposal.values, "lr": self.scaling.in_force(new)["lr"]})

    def _searched(self, intervals: Iterable[Interval]) -> list[Interval]:
        return [
            replace(interval, hyperparameters=self.scaling.searched(interval.hyperparameters)) for interval in intervals
        ]


def coupled_lr(
    lr: Value, old_batch_size: Value, new_batch_size: Value, how: Literal["sqrt", "linear"], bounds: Distribution
) -> Value:
    """Scale lr with the batch size: by the ratio (Goyal et al. 2017, arXiv:1706.02677), or by its root."""
    ratio = float(new_batch_size) / float(old_batch_size)
    return bounds.clip(float(lr) * (ratio if how == "linear" else math.sqrt(ratio)))
