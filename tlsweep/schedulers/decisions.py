"""What a rule sees, what it may decide, and what every rule is. Plain values; nothing here runs anything."""

import math
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeAlias

from tlsweep.spec.search.space import Value


@dataclass(frozen=True)
class Observation:
    """A report, reduced to what decides."""

    trial: str
    number: int
    """The trial's number in its arm: what is drawn for it depends on this, not on its name, so all arms draw alike."""
    generation: int
    epoch: int
    score: float
    """Larger is better (see SearchCommon.sign); NaN where training diverged."""
    hyperparameters: Mapping[str, Value]
    """All hyperparameters in force in this epoch."""
    checkpoint: str | None
    """The path of the state after this epoch; None where it was not kept."""
    digest: str | None = None
    """SHA-256 of that file."""
    spent: float = 0.0
    """Share of the arm's budget that is used with this report; 0 where there is no limit."""


@dataclass(frozen=True)
class Continue:
    """Train the next epoch."""


@dataclass(frozen=True)
class Stop:
    """End the trial."""

    reason: str
    """The reason in words, for people."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """The numbers that decided."""


@dataclass(frozen=True)
class Yield:
    """Go on, but let trials that are behind catch up first: give up the slot if one of them waits for it."""


@dataclass(frozen=True)
class Hold:
    """Give up the slot, and wait until the rules say how to go on (`Rules.next_steps`)."""


@dataclass(frozen=True)
class Exploit:
    """Take a better member's weights, and its configuration with mutations; a new generation begins."""

    donor: str
    donor_generation: int
    epoch: int
    """Epochs that the copied weights have been trained for."""
    checkpoint: str
    digest: str | None
    hyperparameters: Mapping[str, Value]
    """Complete, after mutation."""
    mutated: Mapping[str, tuple[Value, Value]]
    """The values that differ from the donor's: (the donor's, the new one), by name."""
    details: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, source: Observation, hyperparameters: Mapping[str, Value], details: Mapping[str, Any]) -> "Exploit":
        """Go on with these values from where `source` stands; it must have a checkpoint, and all that they name."""
        assert source.checkpoint is not None
        old = source.hyperparameters
        return cls(
            donor=source.trial,
            donor_generation=source.generation,
            epoch=source.epoch,
            checkpoint=source.checkpoint,
            digest=source.digest,
            hyperparameters=hyperparameters,
            mutated={name: (old[name], new) for name, new in hyperparameters.items() if new != old[name]},
            details=details,
        )

    def to_details(self) -> dict[str, Any]:
        """What an event `exploited` says of it (`from_details`); its own details are among the rest."""
        return {
            "donor": self.donor,
            "donor_generation": self.donor_generation,
            "donor_epoch": self.epoch,
            "checkpoint": self.checkpoint,
            "digest": self.digest,
            "hyperparameters": dict(self.hyperparameters),
            **self.details,
        }

    @classmethod
    def from_details(cls, details: Mapping[str, Any]) -> "Exploit":
        """The decision that an event `exploited` tells of; what was mutated stands in the event beside it."""
        return cls(
            donor=details["donor"],
            donor_generation=details["donor_generation"],
            epoch=details["donor_epoch"],
            checkpoint=details["checkpoint"],
            digest=details.get("digest"),
            hyperparameters=details["hyperparameters"],
            mutated={},
            details=details,
        )


Decision: TypeAlias = Continue | Stop | Yield | Hold | Exploit
"""What is to be done with a trial that reports."""


@dataclass(frozen=True)
class Join:
    """A trial that survived the screening is a member of the population, and goes on from where it waits."""

    members: int
    """How many members the population has."""
    details: Mapping[str, Any]
    """The numbers that decided."""


@dataclass(frozen=True)
class Promote:
    """A trial that was held goes on to the next rung, as soon as there is a slot for it."""

    details: Mapping[str, Any]
    """The numbers that decided."""


Step: TypeAlias = Stop | Exploit | Join | Promote
"""What is to be done with a trial that waits."""


@dataclass(frozen=True)
class Created:
    """A trial begins, with these values."""

    trial: str
    hyperparameters: Mapping[str, Value]


@dataclass(frozen=True)
class Exploited:
    """A trial took a donor's weights and values, and began a generation."""

    trial: str
    generation: int
    exploit: Exploit


@dataclass(frozen=True)
class Promoted:
    """A trial that was held was told to go on."""

    trial: str


@dataclass(frozen=True)
class Joined:
    """A trial that survived the screening became one of the members of a population."""

    trial: str
    members: int


@dataclass(frozen=True)
class Ended:
    """The trial will send nothing more, for whatever reason. Its scores still count."""

    trial: str


@dataclass(frozen=True)
class Reopened:
    """A trial that had ended goes on after all: the sweep was resumed with more to spend."""

    trial: str


@dataclass(frozen=True)
class Completed:
    """A trial has got as good as it will, before the last epoch (`search.patience`)."""

    trial: str


Fact: TypeAlias = Observation | Created | Exploited | Promoted | Joined | Ended | Reopened | Completed
"""What happened to a trial, as the journal tells it, reduced to what decides."""


class DecisionPoints(NamedTuple):
    """The epochs at whose end rules may decide something else than that a trial goes on, unless it has diverged."""

    at: tuple[int, ...] = ()
    every: int | None = None
    """And all that this number divides."""

    def includes(self, epoch: int) -> bool:
        """Whether something may be decided at the end of an epoch."""
        return epoch in self.at or (self.every is not None and epoch % self.every == 0)


EACH_EPOCH: Final = DecisionPoints(every=1)


class Rules:
    """A search strategy for one arm: a deterministic machine over what the journal says. This one stops nobody.

    The state is a fold: `apply` is called for every fact of the journal, in its order, while the sweep runs and again
    when it is resumed. The other methods only ask; they change nothing, and draw from generators that are seeded again
    for each decision, so asking twice gives the same answer.
    """

    @property
    def stage(self) -> str | None:
        """What the arm does now, where a sweep has several stages."""
        return None

    @property
    def takes_turns(self) -> bool:
        """Whether the trials are trained side by side: who has the fewest epochs is the next to get a slot."""
        return False

    @property
    def accepts_new(self) -> bool:
        """Whether trials that have not begun still may."""
        return True

    @property
    def decision_points(self) -> DecisionPoints:
        """Where a trial that begins or goes on now has to be decided on; in between its worker trains on by itself."""
        return EACH_EPOCH

    def apply(self, fact: Fact) -> None:
        """Take notice of what happened."""

    def decide(self, report: Observation) -> Decision:
        """Decide on the trial whose `report` was applied last; it runs, and its worker waits for the answer."""
        return diverged(report) or Continue()

    def next_steps(self, *, idle: bool = False) -> Mapping[str, Step]:
        """Say what is to be done with trials that wait, in this order; one is promoted at a time.

        `idle`: nothing of the arm runs, and nothing is new, so that what waits would wait for ever.
        """
        return {}

    def held(self, trial: str) -> bool:
        """Whether a trial must not be given a slot now."""
        return False

    def free(self, trials: Set[str]) -> Set[str]:
        """Those of some trials, which may be another arm's, that are not held."""
        return trials

    def verdict(self, trial: str) -> Stop:
        """Why a trial that is still held when the sweep ends got no further."""
        return Stop("the sweep ended")

    def needed(self, trial: str) -> set[str]:
        """Checkpoints of a trial that another one may still copy. One that is not among them never will be."""
        return set()


class Independent(Rules):
    """Random and grid search: nobody is stopped, unless it diverged."""

    @property
    def decision_points(self) -> DecisionPoints:
        return DecisionPoints()


def diverged(report: Observation) -> Stop | None:
    """Stop a trial whose score is NaN or infinite at once: no later epoch mends it."""
    # Asked before any comparison: each one with NaN is False, and so Ray's ASHA never stops such a trial (measured, ray
    # 2.60, schedulers/async_hyperband.py).
    if not math.isfinite(report.score):
        return Stop("diverged: the loss is not a finite number", {"epoch": report.epoch})
    return None
