"""What a population remembers of its members, and how they rank."""

import math
from bisect import bisect_left, insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tlsweep.schedulers.decisions import Observation, diverged
from tlsweep.spec.search.space import Value

MOST_LISTED = 100
"""Members up to which an exploit writes down all their scores: of 1,000 these took 25 kB in the journal each time."""


@dataclass
class Member:
    """What a population remembers of one of its trials."""

    ended: bool = False
    number: int = 0
    generation: int = 0
    epoch: int = 0
    """Epochs that its weights have been trained for."""
    hyperparameters: Mapping[str, Value] | None = None
    """The hyperparameters in force; None before its first report."""
    copied: str | None = None
    """The checkpoint that it took over last."""
    start: tuple[int, float] | None = None
    """Epoch and score where its present interval began, where known."""
    latest: Observation | None = None
    """Its report at its last decision, or where it diverged. An exploit leaves it as it is, until the next decision."""
    history: dict[int, Observation] = field(default_factory=dict)
    """Decisions of this generation that have a checkpoint and may still be copied, by epoch."""

    @property
    def lost(self) -> bool:
        """Whether it diverged, and nothing was copied into it since."""
        return bool(self.latest and diverged(self.latest) and self.latest.generation == self.generation)


class Ranks(NamedTuple):
    """A population at a moment. What diverged has the score -inf."""

    ascending: Sequence[str]
    """All members that have a score, the weakest first."""
    scores: Mapping[str, float]
    quantile: int
    """How many of the weakest are replaced, and how many of the strongest may be copied."""

    def details(self, trial: str) -> dict[str, Any]:
        """What an event `exploited` says of them, and of the place of a member."""
        compared = len(self.ascending)
        place = {"compared": compared, "rank": compared - self.ascending.index(trial)}
        if compared > MOST_LISTED:
            return place
        scores = {other: self.scores[other] for other in self.ascending}
        return place | {"lowest": list(self.lowest), "highest": list(self.highest), "scores": scores}

    @property
    def lowest(self) -> Sequence[str]:
        """The members that are replaced."""
        return self.ascending[: self.quantile]

    @property
    def highest(self) -> Sequence[str]:
        """The members that may be copied."""
        return self.ascending[len(self.ascending) - self.quantile :]


@dataclass
class Standings:
    """The members that have a score and have not ended, kept in its order, so that no decision sorts them again."""

    _keys: list[tuple[float, int, str]] = field(default_factory=list)
    """Score, number, name: of equal scores the lower number comes first, whoever reported first."""
    _key_of: dict[str, tuple[float, int, str]] = field(default_factory=dict)
    _scores: dict[str, float] = field(default_factory=dict)

    def put(self, trial: str, member: Member) -> None:
        """Take notice of a member's new score, or that it ended or was reopened."""
        if known := self._key_of.pop(trial, None):
            del self._keys[bisect_left(self._keys, known)], self._scores[trial]
        if member.latest and not member.ended:
            # Ray leaves NaN out of the ranking, so that such a member is never replaced: it trained NaN from epoch 4 to
            # the end (measured).
            score = self._scores[trial] = -math.inf if diverged(member.latest) else member.latest.score
            self._key_of[trial] = (score, member.number, trial)
            insort(self._keys, self._key_of[trial])

    def ranks(self, fraction: float) -> Ranks:
        """Rank the members. The lowest and the highest are `fraction` of them, rounded up, but at most half each."""
        # As Ray's `_quantiles` (schedulers/pbt.py); at most half, or a member would be weak and strong.
        count = min(math.ceil(len(self._keys) * fraction), len(self._keys) // 2)
        return Ranks([trial for _, _, trial in self._keys], self._scores.copy(), count)
