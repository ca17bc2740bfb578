"""The whole spec of a sweep."""

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from tlsweep.spec.augmentation import with_preset
from tlsweep.spec.base import SpecModel
from tlsweep.spec.data import DataSpec
from tlsweep.spec.hyperparameters import TrainSpec
from tlsweep.spec.limits import Budget, Faults, Resources
from tlsweep.spec.model import WEIGHTS, ModelSpec
from tlsweep.spec.search.hyperrule import BATCH_SIZE, hyperrule
from tlsweep.spec.search.space import Choice, Distribution, Value
from tlsweep.spec.search.strategies import GridSearch, SearchSpec
from tlsweep.spec.search.study import HYPERRULE_ARM, PROBE_ARM, SCRATCH_ARM, Arm, Control, Study, arms_of

NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"
"""What a sweep, and so its folder, may be called."""

Tracker = Literal["tensorboard", "mlflow", "wandb"]

FOUND_OUT = ("train_images", "usual_layer_decay")
"""Fields that a launch fills in, and that a resume takes as they are."""


class SweepSpec(SpecModel):
    """A sweep: data, model, how to train, what to search, when to stop."""

    name: str | None = Field(None, pattern=f"^{NAME}$", max_length=200)
    """Name of the results folder; default: the preset's or file's name, numbered."""
    seed: int = Field(0, ge=0)
    """All random choices follow from it."""
    data: DataSpec
    """The labelled images."""
    model: ModelSpec = ModelSpec()
    """The network and its weights."""
    train: TrainSpec = TrainSpec()
    """How a trial is trained. A hyperparameter is one value, or a distribution that is searched: `{choice: [A, B]}`,
    `{uniform: [0, 0.5]}`, `{loguniform: [1e-4, 0.1]}`, `{powers_of_two: [8, 128]}`."""
    search: SearchSpec
    """Which configurations are tried, and which go on."""
    budget: Budget = Budget()
    """When to stop early."""
    resources: Resources = Resources()
    """What a trial gets."""
    faults: Faults = Faults()
    """What to do with a trial that fails."""
    controls: tuple[Control, ...] = ()
    """Control arms, run beside the main one at the same budget with the same configurations and seeds:
    `scratch` starts from random weights; `no-explore` is PBT or PB2 with explore off, to see what mutation adds;
    `hyperrule` is one trial with what the BiT HyperRule chooses for that number of images (Kolesnikov et al. 2020): the
    baseline without a search; `probe` is what the trials begin with, the linear probe on the frozen features of
    `model.weights`, evaluated without any training; `tutorial` is one trial as in PyTorch's tutorial on transfer
    learning: a random head, SGD, lr 0.001 divided by 10 every 7 epochs, batches of 4."""
    soup: Annotated[int, Field(ge=2, le=100)] | Literal["start"] | None = None
    """In the end the weights of the best trials, at most so many, are averaged: of those that make the average no worse
    on one half of the validation images (greedy soup, Wortsman et al. 2022), with a share of what trials begin with
    where that is better still. The arm `soup` shows it beside `main`; it is handed over where it is better on the other
    half too. So many checkpoints are kept. `start`: the best trial alone, with as large a share of what trials begin
    with, up to one half, as the validation images cannot tell apart from none: the loss by one standard error, the
    accuracy by two; with repeats, each network its own. With random weights or heads, and with folds, there is no such
    average. Left out: no average."""
    track: tuple[Tracker, ...] = ()
    """Programs that also get what trials report, a run for each trial: `tensorboard` (event files), `mlflow`, `wandb`
    (Weights & Biases). They write below the sweep's folder, unless MLFLOW_TRACKING_URI, WANDB_MODE or WANDB_DIR say
    otherwise. One that fails stops, and the sweep goes on. A resume may change it."""
    train_images: int | None = Field(None, ge=2)
    """Images in the training split, from which `controls: hyperrule` follows. A launch fills it in."""
    usual_layer_decay: float | None = Field(None, gt=0, le=1)
    """What `train.layer_decay: auto` is for this network where it begins with weights, unless 1. A launch fills
    it in."""
    study: Study = Study()
    """More arms, at the main one's budget each: `freeze`, or `{few_labels: [5, 10, 25]}`."""

    @model_validator(mode="before")
    @classmethod
    def _augmentation_by_name(cls, values: Any) -> Any:
        return with_preset(values)

    @field_validator("controls", "track", mode="before")
    @classmethod
    def _one_name_is_a_list(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @field_validator("controls", "track")
    @classmethod
    def _names_differ(cls, names: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if len(set(names)) < len(names):
            what = "controls" if info.field_name == "controls" else "trackers"
            raise PydanticCustomError("twice", f"one of the {what} stands twice")
        return names

    @field_validator("soup", mode="before")
    @classmethod
    def _soup_is_a_number_or_start(cls, value: Any) -> Any:
        number = isinstance(value, int) and not isinstance(value, bool)
        if value is not None and value != "start" and not (number and 2 <= value <= 100):
            raise PydanticCustomError("soup", "must be a whole number from 2 to 100, or start")
        return value

    @model_validator(mode="after")
    def _parts_fit_together(self) -> "SweepSpec":
        self.search.check(self)
        if SCRATCH_ARM in self.controls and self.model.weights is None:
            raise ValueError("controls: scratch compares with random weights, but model.weights is none already")
        self._probe_fits()
        if self.data.normalize == "weights" and self.model.weights is None:
            raise ValueError(
                "data.normalize: weights takes what model.weights were trained with, but they are none; write train, "
                "or give weights"
            )
        if self.train.settings().head == "probe" and self.model.weights is None:
            raise ValueError(
                "train.head: probe solves for the features of model.weights, but they are none; write zero or random, "
                "or give weights"
            )
        self._study_fits()
        self._soup_fits()
        return self

    @property
    def soup_trials(self) -> int:
        """How many trials may be averaged in the end; 0 where no average is made."""
        if self.soup != "start":
            return self.soup or 0
        one_start = self.model.weights is not None and self.train.settings().head != "random"
        return int(one_start and self.data.folds is None)

    def _soup_fits(self) -> None:
        if self.soup in (None, "start"):
            return
        if self.model.weights is None:
            raise ValueError(
                "soup averages networks that were trained from one start, but model.weights are none, and random ones "
                "are others in each trial; leave it out, or give weights"
            )
        if self.train.settings().head == "random":
            raise ValueError(
                "soup averages networks that were trained from one start, but with train.head random the head of each "
                "trial begins elsewhere; leave it out, or write probe or zero"
            )
        if self.data.runs > 1:
            raise ValueError(
                "soup averages the networks of different trials, but data.folds and data.repeats make several of each; "
                "leave it out, or take them out"
            )

    def _probe_fits(self) -> None:
        if PROBE_ARM not in self.controls:
            return
        if self.model.weights is None:
            raise ValueError("controls: probe is solved for the features of model.weights, but they are none")
        if (head := self.train.settings().head) not in ("auto", "probe"):
            raise ValueError(
                f"controls: probe is what trials begin with where train.head is probe, but it is {head}; write probe, "
                "or take the control out"
            )

    def _study_fits(self) -> None:
        if self.study.freeze and self.model.weights is None:
            raise ValueError("study: freeze compares how much of model.weights is trained, but they are none")
        if self.study.freeze and "freeze" in self.space:
            raise ValueError("study: freeze compares the values of train.freeze, which is searched; make it a constant")
        if self.study.few_labels:
            labels = self.data.model_copy(update={"labels_per_class": max(self.study.few_labels)})
            object.__setattr__(self, "data", labels)  # it is frozen for its users, not yet for itself

    @property
    def space(self) -> dict[str, Distribution]:
        """The hyperparameters that are searched, by name."""
        names = tuple(self.model.origins)
        return self.train.space() | ({WEIGHTS: Choice(names)} if len(names) > 1 else {})

    def space_in(self, arm: str) -> dict[str, Distribution]:
        """The searched hyperparameters that differ between the trials of an arm."""
        here = self.arm(arm)
        fixed = {*here.hyperparameters, *(() if here.pretrained else (WEIGHTS,))}
        return {name: distribution for name, distribution in self.space.items() if name not in fixed}

    @property
    def arms(self) -> tuple[str, ...]:
        """The names of the main arm and of those beside it."""
        return tuple(arm.name for arm in self._arms())

    @property
    def trained_arms(self) -> tuple[str, ...]:
        """The names of those in which something is trained."""
        return tuple(arm.name for arm in self._arms() if arm.trials != 0)

    def arm(self, name: str) -> Arm:
        """What is special about the trials of an arm."""
        return next(arm for arm in self._arms() if arm.name == name)

    def trials_in(self, arm: str) -> int:
        """How many configurations are tried in an arm."""
        own = self.arm(arm).trials
        return self.trials_per_arm if own is None else own

    def epochs_in(self, arm: str) -> int:
        """Epochs of all trials of an arm if none is stopped early, or the budget's if that is less."""
        own, epochs = self.arm(arm).trials, self.train.epochs
        most = self.search.most_epochs(self.trials_per_arm, epochs) if own is None else own * epochs
        return min(most, self.budget.epochs or most)

    def _arms(self) -> tuple[Arm, ...]:
        weights = self.model.weights is not None
        rule: dict[str, Any] = {}
        if HYPERRULE_ARM in self.controls:
            # Before a launch the number of images is not known, and the names of the arms do not depend on it.
            images, gamma = self.train_images or BATCH_SIZE, dict(self.train)["focal_gamma"]
            constant = gamma if isinstance(gamma, float) else None
            rule = hyperrule(images, self.train.epochs, constant).model_dump()
        return arms_of(
            self.controls,
            self.study,
            weights=weights,
            freeze=dict(self.train)["freeze"],
            rule=rule,
            rivals=self.search.rivals_start,
            soup=self.soup_trials > 0,
        )

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
