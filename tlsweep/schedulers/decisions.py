"""What a rule sees and what it may decide. Plain values; nothing here runs anything."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

from tlsweep.spec.space import Value


@dataclass(frozen=True)
class Observation:
    """A report, reduced to what decides."""

    trial: str
    generation: int
    epoch: int
    score: float
    """Larger is better (see SearchCommon.sign); NaN where training diverged."""
    hyperparameters: Mapping[str, Value]
    """In force in this epoch, all of them."""
    checkpoint: str | None
    """Where the state after this epoch lies; None where it was not kept."""


@dataclass(frozen=True)
class Continue:
    """Train the next epoch."""


@dataclass(frozen=True)
class Stop:
    """End the trial."""

    reason: str
    """In words, for people."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """The numbers that decided."""


@dataclass(frozen=True)
class Yield:
    """Give up the place, to go on later from the last checkpoint, so that members that are behind can catch up."""


@dataclass(frozen=True)
class Exploit:
    """Take a better member's weights, and its configuration with mutations; a new generation begins."""

    donor: str
    donor_generation: int
    epoch: int
    """Epochs that the copied weights have been trained for."""
    checkpoint: str
    hyperparameters: Mapping[str, Value]
    """Complete, after mutation."""
    mutated: Mapping[str, tuple[Value, Value]]
    """For each value that differs from the donor's: (the donor's, the new one)."""
    details: Mapping[str, Any] = field(default_factory=dict)


Decision: TypeAlias = Continue | Stop | Yield | Exploit


class Rules(Protocol):
    """A search strategy: a deterministic machine over the reports of one arm, in the order of their arrival."""

    def observe(self, report: Observation) -> Decision:
        """Decide on the trial that sent `report`. `Yield` only if it would otherwise continue."""

    def ended(self, trial: str) -> None:
        """The trial will send nothing more, for whatever reason."""


class Independent:
    """Random and grid search: nobody is stopped, unless it diverged."""

    def observe(self, report: Observation) -> Decision:
        return diverged(report) or Continue()

    def ended(self, trial: str) -> None: ...


def diverged(report: Observation) -> Stop | None:
    """NaN or infinity loses at once: no later epoch mends it."""
    if report.score != report.score or abs(report.score) == float("inf"):
        return Stop("diverged: the loss is not a finite number", {"epoch": report.epoch})
    return None
