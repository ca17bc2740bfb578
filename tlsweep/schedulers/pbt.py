"""Population Based Training: asynchronous, quantiles and exploration as in Jaderberg et al. 2017.

"Population Based Training of Neural Networks", arXiv:1711.09846, section 4: truncation selection; and Ray Tune's
`PopulationBasedTraining` for what the paper leaves open. What differs from Ray: no mutation leaves the bounds or the
lattice, a diverged member is the first to be replaced, and a donor without a checkpoint is never copied.
"""

import math
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tlsweep.schedulers.decisions import Continue, Decision, Exploit, Observation, Stop, Yield, diverged
from tlsweep.spec import PbtSearch
from tlsweep.spec.space import Distribution, Value


@dataclass
class Member:
    """What a population remembers of one of its trials."""

    latest: Observation
    """At its last decision."""
    history: dict[int, Observation] = field(default_factory=dict)
    """Decisions of this generation that have a checkpoint and may still be copied, by epoch."""

    @property
    def score(self) -> float:
        return self.latest.score if math.isfinite(self.latest.score) else -math.inf


def quantiles(scores: Mapping[str, float], fraction: float) -> tuple[list[str], list[str]]:
    """The lowest and the highest `fraction` of the members (rounded up, at most half), each ascending by score."""
    if len(scores) <= 1:
        return [], []
    ordered = sorted(scores, key=lambda trial: scores[trial])
    count = min(math.ceil(len(ordered) * fraction), len(ordered) // 2)
    return ordered[:count], ordered[-count:]


def explore(
    hyperparameters: Mapping[str, Value],
    space: Mapping[str, Distribution],
    rng: random.Random,
    *,
    factors: Sequence[float],
    resample_probability: float,
) -> dict[str, Value]:
    """A copy in which each value of `space` is perturbed, or with the given probability drawn anew."""
    return dict(hyperparameters) | {
        name: distribution.sample(rng)
        if rng.random() < resample_probability
        else distribution.perturb(hyperparameters[name], rng, factors)
        for name, distribution in space.items()
    }


class Pbt:
    """Every `interval` epochs a member of the lowest quantile copies one of the highest, and mutates.

    With more members than places, a member that reaches a decision gives up its place while others are behind it.
    """

    def __init__(self, search: PbtSearch, epochs: int, space: Mapping[str, Distribution], rng: random.Random) -> None:
        self._search, self._epochs, self._rng = search, epochs, rng
        self._mutable = {name: space[name] for name in search.mutate if name in space}
        self._members: dict[str, Member] = {}
        self._progress: dict[str, float] = {}

    def observe(self, report: Observation) -> Decision:
        self._progress[report.trial] = report.epoch
        failed = diverged(report)
        if not failed and (report.epoch % self._search.interval or report.epoch >= self._epochs):
            return Continue()
        member = self._members.get(report.trial)
        if member is None or member.latest.generation != report.generation:
            member = self._members[report.trial] = Member(report)
        member.latest = report
        if report.checkpoint is not None and not failed:
            member.history[report.epoch] = report
        self._forget_overtaken(member)
        return self._replace(report, failed) or failed or Yield()

    def ended(self, trial: str) -> None:
        """It can neither be replaced nor copied any more."""
        self._progress[trial] = math.inf
        self._members.pop(trial, None)

    def needed(self, trial: str) -> set[str]:
        """Checkpoints of a member that another one may still copy. One that is not among them never will be."""
        member = self._members.get(trial)
        return {one.checkpoint for one in member.history.values() if one.checkpoint} if member else set()

    def _forget_overtaken(self, member: Member) -> None:
        """Drop decisions that the slowest has passed; it may be a member that has not reported yet."""
        everybody = len(self._progress) == self._search.population
        slowest = min(self._progress.values()) if everybody else 0
        first = max((epoch for epoch in member.history if epoch <= slowest), default=0)
        member.history = {epoch: one for epoch, one in member.history.items() if epoch >= first}

    def _replace(self, report: Observation, failed: Stop | None) -> Exploit | None:
        scores = {trial: member.score for trial, member in self._members.items()}
        lowest, highest = quantiles(scores, self._search.quantile)
        if not failed and report.trial not in lowest:
            return None
        donors = self._sources(highest, report)
        if failed and not donors:  # it cannot go on by itself: any sound member will do
            donors = self._sources(scores, report)
        if not donors:
            return None
        exploit = self._exploit(report, self._rng.choice(donors), scores, lowest, highest)
        self._progress[report.trial] = exploit.epoch
        return exploit

    def _sources(self, donors: Iterable[str], report: Observation) -> list[Observation]:
        """States of sound members that `report`'s trial can copy."""
        return [
            source
            for trial in donors
            if trial != report.trial
            and self._members[trial].score > -math.inf
            and (source := self._source(trial, report.epoch))
        ]

    def _source(self, donor: str, epoch: int) -> Observation | None:
        """The donor's state at the same progress if it has one, else the newest that is not ahead, else its first."""
        history = self._members[donor].history
        earlier = [at for at in history if at <= epoch]
        return history[max(earlier)] if earlier else (history[min(history)] if history else None)

    def _exploit(
        self,
        report: Observation,
        source: Observation,
        scores: Mapping[str, float],
        lowest: list[str],
        highest: list[str],
    ) -> Exploit:
        assert source.checkpoint is not None
        new = explore(
            source.hyperparameters,
            self._mutable,
            self._rng,
            factors=self._search.factors,
            resample_probability=self._search.resample_probability,
        )
        return Exploit(
            donor=source.trial,
            donor_generation=source.generation,
            epoch=source.epoch,
            checkpoint=source.checkpoint,
            hyperparameters=new,
            mutated={name: (source.hyperparameters[name], new[name]) for name in self._mutable
                     if new[name] != source.hyperparameters[name]},
            details={"score": report.score, "donor_score": source.score, "lowest": lowest, "highest": highest,
                     "scores": dict(scores)},
        )  # fmt: skip
