"""The spec of a sweep that fine-tunes networks on images."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from tlsweep.errors import SpecError
from tlsweep.spec.augmentation import with_preset
from tlsweep.spec.data import DataSpec
from tlsweep.spec.federation.fitting import check_federation
from tlsweep.spec.hyperparameters import Hyperparameters, TrainSettings, TrainSpec
from tlsweep.spec.model import NO_WEIGHTS, WEIGHTS, ModelSpec
from tlsweep.spec.search.hyperrule import BATCH_SIZE, hyperrule
from tlsweep.spec.search.per_batch_size import Scaling
from tlsweep.spec.search.space import Choice, Distribution, Value
from tlsweep.spec.search.study import HYPERRULE_ARM, PROBE_ARM, SCRATCH_ARM, Arm, Control, Study, arms_of
from tlsweep.spec.sweep import SweepSpec


class ImageSpec(SweepSpec):
    """A sweep over images: data, model, how to train, what to search, when to stop."""

    SECTION = "train"
    EPOCHS = "train.epochs"

    data: DataSpec
    """The labelled images."""
    model: ModelSpec = ModelSpec()
    """The network and its weights."""
    train: TrainSpec = TrainSpec()
    """How a trial is trained. A hyperparameter is one value, or a distribution that is searched: `{choice: [A, B]}`,
    `{uniform: [0, 0.5]}`, `{loguniform: [1e-4, 0.1]}`, `{powers_of_two: [8, 128]}`."""
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
    train_images: int | None = Field(None, ge=2)
    """Images in the training split, from which `controls: hyperrule` follows. A launch fills it in."""
    usual_layer_decay: float | None = Field(None, gt=0, le=1)
    """What `train.layer_decay: auto` is for this network where it begins with weights, unless 1. A launch fills
    it in."""
    study: Study = Study()
    """More arms, at the main one's budget each: `freeze`, `federation`, or `{few_labels: [5, 10, 25]}`."""

    @model_validator(mode="before")
    @classmethod
    def _augmentation_by_name(cls, values: Any) -> Any:
        return with_preset(values)

    @field_validator("soup", mode="before")
    @classmethod
    def _soup_is_a_number_or_start(cls, value: Any) -> Any:
        number = isinstance(value, int) and not isinstance(value, bool)
        if value is not None and value != "start" and not (number and 2 <= value <= 100):
            raise PydanticCustomError("soup", "must be a whole number from 2 to 100, or start")
        return value

    @model_validator(mode="after")
    def _parts_fit_together(self) -> "ImageSpec":
        self.search.check(self)
        if self.resources.processes > 1:
            raise ValueError(
                f"resources.processes = {self.resources.processes}: one process trains a network on images; write 1, "
                "or name a function of yours (trial)"
            )
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
        check_federation(self)
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

    def settings_in(self, arm: str) -> TrainSettings:
        """What all trials of an arm share."""
        settings, own = self.train.settings(), self.arm(arm).federated
        return settings.model_copy(update={"federated": own}) if own else settings

    @property
    def epochs(self) -> int:
        """Epochs that a trial gets at most."""
        return self.train.epochs

    @property
    def space(self) -> dict[str, Distribution]:
        """The hyperparameters that are searched, by name."""
        names = tuple(self.model.origins)
        return self.train.space() | ({WEIGHTS: Choice(names)} if len(names) > 1 else {})

    @property
    def origins(self) -> Mapping[str, object]:
        return self.model.origins

    @property
    def runs(self) -> int:
        return self.data.runs

    @property
    def labels_per_class(self) -> int | None:
        return self.data.labels_per_class

    @property
    def few_labels(self) -> tuple[int, ...]:
        return self.study.few_labels

    @property
    def scaling(self) -> Scaling:
        return self.train.scaling

    @property
    def hyperparameters(self) -> Sequence[str]:
        return (*Hyperparameters.model_fields, WEIGHTS)

    def constant(self, name: str) -> Value | None:
        value: Value | None = None if name == WEIGHTS else getattr(self.train, name)
        return value

    def completed(self, arm: str, values: Mapping[str, Value]) -> dict[str, Value]:
        here = self.arm(arm)
        origin = values.get(WEIGHTS, next(iter(self.model.origins))) if here.pretrained else NO_WEIGHTS
        searched = {name: value for name, value in values.items() if name != WEIGHTS}
        usual = self.usual_layer_decay if origin != NO_WEIGHTS else None
        resolved = self.train.resolve(searched | dict(here.hyperparameters), layer_decay=usual or 1.0)
        return resolved.model_dump() | {WEIGHTS: origin}

    def space_in(self, arm: str) -> dict[str, Distribution]:
        """The searched hyperparameters that differ between the trials of an arm."""
        fixed = () if self.arm(arm).pretrained else (WEIGHTS,)
        return {name: distribution for name, distribution in super().space_in(arm).items() if name not in fixed}

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
            federated=self.train.settings().federated,
            soup=self.soup_trials > 0,
        )


def require_images(spec: SweepSpec, what: str) -> ImageSpec:
    """The spec of a sweep over images, for `what` knows of no other.

    Raises:
        SpecError: the sweep trains what a function of the user's own trains.
    """
    if isinstance(spec, ImageSpec):
        return spec
    raise SpecError(
        f"'{spec.name}' trains what a function of yours trains (trial), and {what} is for networks that tlsweep builds "
        "itself"
    )
