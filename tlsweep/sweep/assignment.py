"""Which trials there are, and what goes between them and the referee: an assignment there, a message back."""

from collections.abc import Collection, Mapping, MutableMapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple

from tlsweep.schedulers import EACH_EPOCH, DecisionPoints
from tlsweep.spec import MAIN_ARM, Hyperparameters, SweepSpec, derive_seed
from tlsweep.spec.search.space import Value
from tlsweep.spec.search.strategies import RecipeSearch
from tlsweep.store import StoredCheckpoint
from tlsweep.store.schema import CLIENTS, FOLDS, HYPERPARAMETERS, REPORTS


@dataclass(frozen=True)
class Assignment:
    """All that differs between two trials. Plain values: it travels as the configuration of a Tune trial."""

    trial: str
    arm: str
    generation: int
    parent_trial: str | None
    seed: int
    hyperparameters: dict[str, Value]
    trail: tuple[StoredCheckpoint, ...] = ()
    """The checkpoints to go on from: the last that is whole is taken; from the beginning if none is."""
    micro_batches: dict[str, int] = field(default_factory=dict)
    """What other trials found to fit into memory, by device."""
    decision_points: DecisionPoints = EACH_EPOCH
    """How far it may go without asking anybody."""
    best: tuple[float, float | None] | None = None
    """The metric and the validation loss of its best epoch so far."""
    reported: int = 0
    """The last epoch of this generation that was reported: those up to it are trained again, and their reports stay."""
    tells_room: bool = False
    """Whether its worker is to say with how many trials like it can be trained in one place."""

    def to_config(self) -> dict[str, Any]:
        """Make it plain."""
        return asdict(self)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "Assignment":
        """Read what `to_config` made."""
        return cls(**config)


def to_config(assignments: Sequence[Assignment]) -> dict[str, Any]:
    """Make the configuration of a Tune trial of those that are trained in its place."""
    return {_ASSIGNMENTS: [assignment.to_config() for assignment in assignments]}


def assignments_in(config: Mapping[str, Any]) -> list[Assignment]:
    """Read the configuration of a Tune trial."""
    return [Assignment.from_config(plain) for plain in config[_ASSIGNMENTS]]


def trials_in(config: Mapping[str, Any]) -> list[str]:
    """The names of the trials in the configuration of a Tune trial."""
    return [plain["trial"] for plain in config[_ASSIGNMENTS]]


def changed(config: Mapping[str, Any], leave: Collection[str], join: Sequence[Assignment]) -> dict[str, Any]:
    """The configuration of a Tune trial after some have left its place, and others joined."""
    staying = [plain for plain in config[_ASSIGNMENTS] if plain["trial"] not in leave]
    return {_ASSIGNMENTS: [*staying, *(assignment.to_config() for assignment in join)]}


_ASSIGNMENTS = "assignments"
"""The key of ours in the configuration of a Tune trial."""


class Epoch(NamedTuple):
    """How an epoch went, as a worker measured it."""

    number: int
    """Epochs completed, from 1."""
    figures: Mapping[str, Any]
    """What the trial measured, by the columns of reports.parquet."""
    folds: Sequence[Mapping[str, Any]] = ()
    """The same of each network, where a trial trains several, by the columns of folds.parquet."""
    own: Mapping[str, float] = {}
    """Metrics of a function of the user's own that no other sweep has a column for."""
    by_client: Sequence[Mapping[str, Any]] = ()
    """How it went for each client of a federation, by the columns of clients.parquet."""
    told: str = ""
    """The same in words, for the worker's log."""


_REFEREES = {"sweep", "stage", "arm", "trial", "generation", "parent_trial", "epoch", "node", "time", "elapsed"}
"""Columns that the referee fills in, or that have a field of their own in the message."""
_FIGURES = REPORTS.keys() - HYPERPARAMETERS.keys() - _REFEREES
_RESULT, _ROOM = "messages", "room"
"""The keys of ours in Tune's results, which have a dozen of Tune's own."""


@dataclass(frozen=True)
class Message:
    """What a worker says of an epoch. Plain values: it travels in a result of a Tune trial.

    A figure that no column has would vanish on the way to the tables, so it is a mistake of ours: TypeError.
    """

    trial: str
    epoch: int
    node: str
    figures: Mapping[str, Any]
    """What the trial measured, by the columns of reports.parquet."""
    checkpoint: str | None = None
    """The path of the state after this epoch, below the sweep's folder; None where it was not kept."""
    digest: str | None = None
    """SHA-256 of that file."""
    folds: Sequence[Mapping[str, Any]] = ()
    """The same of each network, where a trial trains several, by the columns of folds.parquet."""
    by_client: Sequence[Mapping[str, Any]] = ()
    """How it went for each client of a federation, by the columns of clients.parquet."""
    passed_over: Sequence[Mapping[str, str]] = ()
    """Checkpoints that were not sound when the trial started (`path`), and why (`reason`)."""
    own: Mapping[str, float] = field(default_factory=dict)
    """Metrics of a function of the user's own that no other sweep has a column for."""

    def __post_init__(self) -> None:
        unknown = self.figures.keys() - _FIGURES
        unknown |= {name for fold in self.folds for name in fold.keys() - FOLDS.keys()}
        unknown |= {name for client in self.by_client for name in client.keys() - CLIENTS.keys()}
        if unknown:
            raise TypeError(f"a worker's message has figures that no column takes: {', '.join(sorted(unknown))}")

    def at(self, checkpoint: str, digest: str) -> "Message":
        """Say where the state after this epoch lies."""
        return replace(self, checkpoint=checkpoint, digest=digest)

    def columns(self) -> dict[str, Any]:
        """The worker's part of a row of reports.parquet, in the order of its columns."""
        known = {"trial": self.trial, "epoch": self.epoch, "node": self.node, **self.figures}
        return {name: known[name] for name in REPORTS if name in known} | self._own()

    def _own(self) -> dict[str, Any]:
        return {"own": list(self.own), **self.own} if self.own else {}

    @property
    def metrics(self) -> Mapping[str, Any]:
        """All that was measured, by name."""
        return {**self.figures, **self.own}


def to_result(messages: Sequence[Message], room: Mapping[str, int] | None = None) -> dict[str, Any]:
    """Make the result of a Tune trial of what a worker says.

    Args:
        messages: Of some epochs, those of a trial with the oldest first.
        room: With how many trials like it each of these can be trained in one place; said once of each.
    """
    # In a list: Tune flattens mappings before it asks its scheduler (ray 2.60, tune_controller.py,
    # _process_trial_result), and would write the names of figures as messages/figures/val_loss.
    return {_RESULT: [asdict(message) for message in messages], _ROOM: [*(room or {}).items()]}


def from_result(result: Mapping[str, Any]) -> list[Message]:
    """Read what the result of a Tune trial says of epochs."""
    return [Message(**message) for message in result[_RESULT]]


def room_in(result: Mapping[str, Any]) -> dict[str, int]:
    """Read what the result of a Tune trial says of the room in a place."""
    return dict(result[_ROOM])


def forget(result: MutableMapping[str, Any]) -> None:
    """Take out of the result of a Tune trial what a worker said in it; one whose function just ends says nothing."""
    result.pop(_RESULT, None)
    result.pop(_ROOM, None)


def trial_id(arm: str, number: int) -> str:
    """Name a trial: t0007; in a control arm t0007-scratch, with the same configuration and seeds."""
    return f"t{number:04d}" if arm == MAIN_ARM else f"t{number:04d}-{arm}"


def trial_seed(spec: SweepSpec, number: int, epoch: int = 0) -> int:
    """Initialisation, order of samples and augmentation of a trial follow from it; equal in all arms.

    Args:
        spec: Of the sweep.
        number: The trial's.
        epoch: Where it goes on: a recipe may have come from one trial and gone on in another.
    """
    if not isinstance(spec.search, RecipeSearch):
        return derive_seed(spec.seed, "trial", number)
    again = spec.search.step_after(epoch).number
    # A recipe that is confirmed with the seed that found it would only confirm itself.
    return derive_seed(spec.seed, *(("confirmation", number) if again is None else ("trial", again)))


def drawn(spec: SweepSpec, number: int) -> dict[str, Value]:
    """What is searched, for trial `number`: the values that are in force."""
    start, given = spec.search.start(spec, number), spec.search.given(spec, number)
    # Of a batch size that is given, too, lr is in force; only one that is given itself is so already.
    return {**spec.scaling.in_force({**start, **given}), **given}


def completed(spec: SweepSpec, arm: str, values: Mapping[str, Value]) -> dict[str, Value]:
    """All columns of hyperparameters: `values` for what is searched, the spec's constants, what is the arm's own."""
    return spec.completed(arm, values)


def starting_values(spec: SweepSpec, arm: str, number: int) -> dict[str, Value]:
    """The hyperparameters that trial `number` of an arm starts with."""
    return completed(spec, arm, drawn(spec, number))


def trained_with(values: Mapping[str, Any]) -> Hyperparameters:
    """What the fine-tuning function is given of them; the weights, it is given themselves."""
    return Hyperparameters(**{name: values[name] for name in Hyperparameters.model_fields if name in values})


def configuration(spec: SweepSpec, number: int) -> Hyperparameters:
    """What trial `number` of the main arm starts with."""
    return trained_with(starting_values(spec, MAIN_ARM, number))
