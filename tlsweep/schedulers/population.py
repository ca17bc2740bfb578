"""What a population remembers of its members, and how they rank."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from tlsweep.schedulers.decisions import Observation, diverged
from tlsweep.spec.search.space import Value


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

    scores: Mapping[str, float]
    lowest: Sequence[str]
    highest: Sequence[str]


def quantiles(scores: Mapping[str, float], fraction: float) -> tuple[list[str], list[str]]:
    """The lowest and the highest `fraction` of the members (rounded up, at most half), each ascending by score."""
    if len(scores) <= 1:
        return [], []
    ordered = sorted(scores, key=lambda trial: scores[trial])
    # As Ray's `_quantiles` (schedulers/pbt.py); at most half, or a member would be weak and strong.
    count = min(math.ceil(len(ordered) * fraction), len(ordered) // 2)
    return ordered[:count], ordered[-count:]
