"""What strategies of `search:` share: what is compared, how configurations are drawn, rungs, populations."""

import sys
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from pydantic import Field, PlainSerializer, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from tlsweep.spec.base import SpecModel
from tlsweep.spec.metrics import Metric, metric_sign
from tlsweep.spec.model import WEIGHTS
from tlsweep.spec.search.low_discrepancy import sobol_values
from tlsweep.spec.search.space import Distribution, Uniform, Value
from tlsweep.spec.search.study import NO_EXPLORE_ARM
from tlsweep.spec.seeds import generator
from tlsweep.text import shortened

if TYPE_CHECKING:
    from tlsweep.spec.sweep import SweepSpec

MAX_TRIALS = 100_000
"""The most trials of an arm. Counting and listing them must end within a second."""


def _as_text(value: Any) -> str:
    return str(value)  # not `str` itself, of which older versions of pydantic look for a signature


class SearchCommon(SpecModel):
    """What every strategy has."""

    if TYPE_CHECKING:  # each strategy has its own, after the fields that all have
        strategy: str

    metric: Annotated[Metric, PlainSerializer(_as_text, return_type=str)] = "val_accuracy"
    """What is compared, on the validation split: `val_recall` is the balanced accuracy, and `tlsweep columns` explains
    the others. `val_loss` and `val_ece` are better when lower, the others when higher. `val_worst_client`, the least
    accuracy of a client, is of federations (`train.federated`)."""
    mode: Literal["min", "max"] | None = None
    """Whether a lower or a higher metric is better, where a function of your own (`trial`) reports it: `min` or `max`.
    It may be left out where the metric is one of ours."""
    patience: int | None = Field(None, ge=1)
    """A trial ends when the metric has not got better for so many epochs. Not for members of a population, which go on
    from a better one."""

    @field_validator("metric", mode="wrap")
    @classmethod
    def _of_any_name_in_an_own_function(cls, value: Any, known: Callable[[Any], Metric], info: ValidationInfo) -> Any:
        if not (info.context and info.context.get("own")):
            return known(value)
        if not isinstance(value, str) or not value.isidentifier() or len(value) > 100:
            raise PydanticCustomError("metric", "must be the name with which your function reports it: trial.report(…)")
        return value

    @model_validator(mode="after")
    def _mode_is_known(self) -> "SearchCommon":
        known = self.metric in get_args(Metric)
        if self.mode is None and not known:
            raise ValueError(f"mode is missing; write min where a lower {self.metric} is better, else max")
        if self.mode and known and metric_sign(self.metric) != (1 if self.mode == "max" else -1):
            raise ValueError(
                f"mode {self.mode}: {self.metric} is better when {'lower' * (self.mode == 'max') or 'higher'}"
            )
        return self

    @property
    def sign(self) -> int:
        """Whether a higher metric is better: 1, or -1 where a lower one is."""
        if self.mode is None:
            return metric_sign(self.metric)
        return 1 if self.mode == "max" else -1

    @property
    def trials_wait(self) -> bool:
        """Whether trials wait for one another, their checkpoints kept."""
        return False

    @property
    def rivals_start(self) -> Mapping[str, Mapping[str, Value]]:
        """What other recipes begin with that are trained beside the main arm, each as an arm, by name."""
        return {}

    def check(self, spec: "SweepSpec") -> None:
        """Refuse a spec in which the strategy cannot work.

        Raises:
            ValueError: what is wrong, in words.
        """
        if NO_EXPLORE_ARM in spec.controls:
            raise ValueError(
                f"controls: no-explore is for search.strategy pbt and pb2; {self.strategy} mutates nothing"
            )

    def refuse_patience(self) -> None:
        """Refuse `patience`, for strategies in which no trial ends because it has stopped getting better.

        Raises:
            ValueError: it was written.
        """
        if self.patience is not None:
            raise ValueError(
                f"search.patience = {self.patience}: with search.strategy {self.strategy} no trial ends because it has "
                "stopped getting better; leave it out, or take strategy random, grid or asha"
            )

    @abstractmethod
    def configurations(self, axes: Mapping[str, list[Value]]) -> int:
        """How many are tried; `axes` are the values of what is searched, where these are listed."""

    def given(self, spec: "SweepSpec", number: int) -> Mapping[str, Value]:
        """What the spec itself says of trial `number`, in place of what is drawn."""
        return {}

    def start(self, spec: "SweepSpec", number: int) -> dict[str, Value]:
        """What is searched, for trial `number`; each drawn by a generator of its own, equal in all arms."""
        return {name: space.sample(generator(spec.seed, "sample", number, name)) for name, space in spec.space.items()}

    def most_epochs(self, trials: int, epochs: int) -> int:
        """The epochs that `trials` trials take together if none is stopped early."""
        return trials * epochs

    def in_words(self, trials: int) -> str:
        """How many trials there are, in a heading."""
        return f"{trials} trial{'' if trials == 1 else 's'}"


class Drawn(SearchCommon):
    """What strategies that draw configurations have."""

    if TYPE_CHECKING:  # what each can do differs
        sampler: str

    points_to_evaluate: tuple[dict[str, float | int | str | bool], ...] = ()
    """Configurations that are tried first, such as a recipe that is known to be good: values of what is searched. Those
    that one leaves out, or that the bounds leave out, are drawn."""

    def check(self, spec: "SweepSpec") -> None:
        super().check(spec)
        self._check_points(spec)

    def _check_points(self, spec: "SweepSpec") -> None:
        if len(self.points_to_evaluate) > spec.trials_per_arm:
            raise ValueError(
                f"search.points_to_evaluate lists {len(self.points_to_evaluate)} configurations, but only "
                f"{spec.trials_per_arm} are tried"
            )
        for number, point in enumerate(self.points_to_evaluate):
            if unknown := [name for name in point if name not in spec.hyperparameters]:
                raise ValueError(
                    f"search.points_to_evaluate[{number}] names {shortened(str(unknown))}, which is no hyperparameter "
                    f"of {spec.SECTION}"
                )

    def start(self, spec: "SweepSpec", number: int) -> dict[str, Value]:
        if self.sampler == "sobol":
            return sobol_values(spec.space, spec.seed, number)
        return super().start(spec, number)

    def given(self, spec: "SweepSpec", number: int) -> Mapping[str, Value]:
        if number >= len(self.points_to_evaluate):
            return {}
        point = self.points_to_evaluate[number]
        return {name: value for name, value in point.items() if name in spec.space and _fits(spec, name, value)}

    def left_out(self, spec: "SweepSpec") -> Iterator[str]:
        """What is written in `points_to_evaluate` and cannot be tried, in words: bounds may be narrower than when it
        was written, or a hyperparameter a constant."""
        for number, point in enumerate(self.points_to_evaluate):
            for name, value in point.items():
                path = f"search.points_to_evaluate[{number}].{name} = {shortened(repr(value))}"
                if name not in spec.space:
                    if spec.constant(name) != value:
                        yield f"{path}: {name} is not searched, and is what train says"
                elif not _fits(spec, name, value):
                    yield f"{path} is outside of {spec.space[name].to_yaml()}; it is drawn instead"


def _fits(spec: "SweepSpec", name: str, value: Value) -> bool:
    if name == "lr" and spec.scaling.per:
        # It is written as it is in force, and the bounds are those at another batch size.
        return _is_in(Uniform(sys.float_info.min, sys.float_info.max), value)
    return _is_in(spec.space[name], value)


def _is_in(space: Distribution, value: Value) -> bool:
    try:
        return space.clip(value) == value
    except ValueError:  # text where numbers are searched
        return False


class Sampled(Drawn):
    """What strategies have that try a number of configurations."""

    trials: int = Field(20, ge=1, le=MAX_TRIALS)
    """Configurations to try."""
    sampler: Literal["random", "sobol", "tpe"] = "random"
    """`random`: each configuration by itself. `sobol`: they cover the space evenly, which few random ones do not.
    `tpe`: Optuna's Tree-structured Parzen Estimator proposes what did well so far (Bergstra et al. 2011; Falkner et al.
    2018 for trials that were stopped early); the first ten are random. Each arm learns from its own trials."""

    def configurations(self, axes: Mapping[str, list[Value]]) -> int:
        return self.trials


class HalvingSearch(Sampled):
    """What strategies that compare trials at rungs have."""

    min_epochs: int = Field(1, ge=1)
    """The first rung: no trial is stopped before it."""
    # Not down to 1, with which no rung would lie above the first, and there would be no end to them.
    reduction_factor: float = Field(3.0, ge=1.01)
    """eta: about 1/eta of the trials that reach a rung go on, and each rung lies eta times higher."""
    min_reports: int = Field(3, ge=1)
    """How many trials must have reached a rung before any is cut (stopping) or goes on (promotion) there."""


class PopulationSearch(Drawn):
    """What PBT and PB2 share: a population trained side by side, in which weak members copy strong ones."""

    sampler: Literal["random", "sobol"] = "random"
    """`random`: each member begins with values by itself. `sobol`: they cover the space evenly, which few random ones
    do not."""
    population: int = Field(8, ge=2, le=10_000)
    """Members trained side by side; more than the machine has slots for take turns."""
    interval: int = Field(1, ge=1)
    """Epochs between two decisions on a member."""
    quantile: float = Field(0.25, gt=0, le=0.5)
    """The lowest part of the population copies a member of the highest part."""
    synchronous: bool = False
    """All members wait for each other at every decision; else each is decided on as it comes, against the last score of
    the others."""
    couple_lr: Literal["none", "sqrt", "linear"] = "none"
    """When a batch size changes by a factor, lr changes by it too (`linear`: Goyal et al. 2017, for SGD) or by its root
    (`sqrt`, for Adam), inside the bounds of lr. Not where lr was chosen on its own: resampled (PBT), or proposed (PB2
    with lr in mutate). An lr that is searched per batch size follows it in any case, and takes no other coupling."""
    explore: bool = True
    """Off: selection alone, a copy keeps the donor's values."""
    mutate: tuple[str, ...] = ("lr", "batch_size")
    """Hyperparameters that change during training, where they are searched."""

    @property
    def trials_wait(self) -> bool:
        return True

    def check(self, spec: "SweepSpec") -> None:
        self.refuse_patience()
        self._check_points(spec)
        known = [name for name in spec.hyperparameters if name != WEIGHTS]
        if unknown := [name for name in self.mutate if name not in known]:
            raise ValueError(
                f"search.mutate names {shortened(str(unknown))}, which are no hyperparameters of {spec.SECTION}"
            )
        if not any(name in spec.space for name in self.mutate):
            raise ValueError(
                f"search.strategy {self.strategy} mutates {list(self.mutate)}, but none of them is a "
                f"distribution; write, for example, {spec.SECTION}.lr: {{loguniform: [1e-4, 0.1]}}"
            )
        if self.couple_lr != "none":
            self._check_coupling(spec)
        if NO_EXPLORE_ARM in spec.controls and not self.explore:
            raise ValueError("controls: no-explore compares with search.explore, but that is off already")

    def _check_coupling(self, spec: "SweepSpec") -> None:
        if spec.scaling.per:
            raise ValueError(
                f"search.couple_lr {self.couple_lr}: {spec.SECTION}.lr is searched per batch_size, and follows it "
                "already; write couple_lr: none, or lr without per"
            )
        if not {"lr", "batch_size"} <= spec.space.keys():
            raise ValueError(
                f"search.couple_lr {self.couple_lr} scales lr with the batch size, inside the bounds of lr: "
                f"{spec.SECTION}.lr and {spec.SECTION}.batch_size must both be distributions; or write couple_lr: none"
            )
        if "batch_size" not in self.mutate:
            raise ValueError(
                f"search.couple_lr {self.couple_lr} follows changes of the batch size, which search.mutate "
                f"{list(self.mutate)} does not make; add batch_size there, or write couple_lr: none"
            )

    def configurations(self, axes: Mapping[str, list[Value]]) -> int:
        return self.population

    def in_words(self, trials: int) -> str:
        return f"{self.population} members"


class Perturbed(PopulationSearch):
    """How PBT mutates."""

    resample_probability: float = Field(0.25, ge=0, le=1)
    """Chance that a mutated value is drawn from its distribution instead of perturbed."""
    factors: tuple[float, ...] = (0.8, 1.25)
    """A continuous value is multiplied by one of these; a value on a lattice moves to a neighbour."""

    @model_validator(mode="after")
    def _factors_are_positive(self) -> "Perturbed":
        if not self.factors or min(self.factors) <= 0:
            raise ValueError(f"factors needs numbers above 0, not {shortened(str(list(self.factors)))}")
        return self
