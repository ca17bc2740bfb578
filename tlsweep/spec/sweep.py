"""What every sweep says, and what all that runs, keeps and shows a sweep asks of it."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, Self

from pydantic import Field, ValidationInfo, field_validator
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from tlsweep.spec.base import SpecModel
from tlsweep.spec.limits import Budget, Faults, Resources
from tlsweep.spec.search.per_batch_size import Scaling
from tlsweep.spec.search.space import Distribution, Value
from tlsweep.spec.search.strategies import GridSearch, SearchSpec
from tlsweep.spec.search.study import MAIN_ARM, Arm, Control

NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"
"""What a sweep, and so its folder, may be called."""

Tracker = Literal["tensorboard", "mlflow", "wandb"]

FOUND_OUT = ("train_images", "usual_layer_decay")
"""Fields that a launch fills in, and that a resume takes as they are."""

IN_ORDER: Final = (
    *(
        "name",
        "seed",
        "trial",
        "space",
        "epochs",
        "finalise",
        "data",
        "model",
        "train",
        "search",
        "budget",
        "resources",
        "faults",
    ),
    *("controls", "soup", "track", "train_images", "usual_layer_decay", "study"),
)
"""The fields of all sweeps in the order in which they are written and listed."""


class SweepSpec(SpecModel):
    """A sweep, whatever it trains: `ImageSpec` says how networks are fine-tuned on images, `FunctionSpec` names a
    function that does what it likes."""

    name: str | None = Field(None, pattern=f"^{NAME}$", max_length=200)
    """Name of the results folder; default: the preset's or file's name, numbered."""
    seed: int = Field(0, ge=0)
    """All random choices follow from it."""
    search: SearchSpec
    """Which configurations are tried, and which go on."""
    budget: Budget = Budget()
    """When to stop early."""
    resources: Resources = Resources()
    """What a trial gets."""
    faults: Faults = Faults()
    """What to do with a trial that fails."""
    track: tuple[Tracker, ...] = ()
    """Programs that also get what trials report, a run for each trial: `tensorboard` (event files), `mlflow`, `wandb`
    (Weights & Biases). They write below the sweep's folder, unless MLFLOW_TRACKING_URI, WANDB_MODE or WANDB_DIR say
    otherwise. One that fails stops, and the sweep goes on. A resume may change it."""

    SECTION: ClassVar[str]
    """The field with the hyperparameters."""
    EPOCHS: ClassVar[str]
    """The field that says how long a trial is trained."""

    if TYPE_CHECKING:  # fields of the one, properties of the other

        @property
        def epochs(self) -> int:
            """Epochs that a trial gets at most."""

        @property
        def controls(self) -> tuple[Control, ...]:
            """Control arms."""

    @field_validator("controls", "track", mode="before", check_fields=False)
    @classmethod
    def _one_name_is_a_list(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @field_validator("controls", "track", check_fields=False)
    @classmethod
    def _names_differ(cls, names: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if len(set(names)) < len(names):
            what = "controls" if info.field_name == "controls" else "trackers"
            raise PydanticCustomError("twice", f"one of the {what} stands twice")
        return names

    def model_dump(self, **options: Any) -> dict[str, Any]:
        """Plain values by the names with which they are written."""
        # Pydantic lists the fields of a base before those of its subclass, which people would not look for there.
        dumped = super().model_dump(**{"by_alias": True, **options})
        return {name: dumped[name] for name in IN_ORDER if name in dumped}

    @classmethod
    def fields(cls) -> Mapping[str, FieldInfo]:
        """The fields by the names with which they are written, in the order of `IN_ORDER`."""
        written = {field.alias or name: field for name, field in cls.model_fields.items()}
        return {name: written[name] for name in IN_ORDER if name in written}

    @property
    @abstractmethod
    def space(self) -> dict[str, Distribution]:
        """The hyperparameters that are searched, by name."""

    @property
    @abstractmethod
    def scaling(self) -> Scaling:
        """How what is drawn becomes what is in force."""

    @property
    @abstractmethod
    def hyperparameters(self) -> Sequence[str]:
        """The names of all hyperparameters that trials have, searched or not."""

    @abstractmethod
    def constant(self, name: str) -> Value | None:
        """What a hyperparameter is that is not searched; None of weights, which trials are told otherwise."""

    @abstractmethod
    def completed(self, arm: str, values: Mapping[str, Value]) -> dict[str, Value]:
        """All hyperparameters of a trial: `values` for what is searched, constants, what is the arm's own.

        Raises:
            ValidationError: they do not go together.
        """

    @abstractmethod
    def _arms(self) -> tuple[Arm, ...]:
        """All arms, the main one first."""

    @cached_property
    def _all_arms(self) -> tuple[Arm, ...]:
        return self._arms()  # once: a sweep asks for each report

    def __copy__(self) -> Self:
        """Without the arms that are known, as `model_copy` then changes fields, on which they depend."""
        copied = super().__copy__()
        copied.__dict__.pop("_all_arms", None)
        return copied

    @property
    def origins(self) -> Mapping[str, object]:
        """What trials may start from, by name; empty where a function of the user's own knows."""
        return {}

    @property
    def finalises(self) -> str | None:
        """The function of the user's own that is called with the winner, in the end."""
        return None

    @property
    def runs(self) -> int:
        """Networks that a trial trains side by side."""
        return 1

    @property
    def labels_per_class(self) -> int | None:
        """Training images of each class; None: all of them."""
        return None

    @property
    def few_labels(self) -> tuple[int, ...]:
        """The numbers of labels of each class that arms are compared by."""
        return ()

    @property
    def soup_trials(self) -> int:
        """How many trials may be averaged in the end; 0 where no average is made."""
        return 0

    def space_in(self, arm: str) -> dict[str, Distribution]:
        """The searched hyperparameters that differ between the trials of an arm."""
        fixed = self.arm(arm).hyperparameters
        return {name: distribution for name, distribution in self.space.items() if name not in fixed}

    @property
    def arms(self) -> tuple[str, ...]:
        """The names of the main arm and of those beside it."""
        return tuple(arm.name for arm in self._all_arms)

    @property
    def trained_arms(self) -> tuple[str, ...]:
        """The names of those in which something is trained."""
        return tuple(arm.name for arm in self._all_arms if arm.trials != 0)

    def arm(self, name: str) -> Arm:
        """What is special about the trials of an arm."""
        return next(arm for arm in self._all_arms if arm.name == name)

    def trials_in(self, arm: str) -> int:
        """How many configurations are tried in an arm."""
        own = self.arm(arm).trials
        return self.trials_per_arm if own is None else own

    def epochs_in(self, arm: str) -> int:
        """Epochs of all trials of an arm if none is stopped early, or the budget's if that is less."""
        own = self.arm(arm).trials
        most = self.search.most_epochs(self.trials_per_arm, self.epochs) if own is None else own * self.epochs
        return min(most, self.budget.epochs or most)

    @property
    def trials_per_arm(self) -> int:
        """How many configurations are tried in the main arm, and in each other that has no number of its own."""
        return self.search.configurations(self._axes())

    def grid_point(self, number: int) -> dict[str, Value]:
        """Combination `number` of the searched hyperparameters (grid search); the last name varies fastest."""
        point: dict[str, Value] = {}
        for name, values in reversed(self._axes().items()):
            number, at = divmod(number, len(values))
            point[name] = values[at]
        return point

    def _axes(self) -> dict[str, list[Value]]:
        points = self.search.points if isinstance(self.search, GridSearch) else 1
        return {name: distribution.grid(points) for name, distribution in self.space.items()}


MAIN_ALONE: Final = (Arm(MAIN_ARM, control_of=None),)
"""The arms of a sweep that has no other."""
