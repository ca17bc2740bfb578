"""The `search:` section: which configurations are tried, which go on, and when the sweep ends."""

import math
import sys
from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Final, Literal, Union

from pydantic import Field, field_validator, model_validator

from tlsweep.spec.base import SpecModel
from tlsweep.spec.hyperparameters import Hyperparameters
from tlsweep.spec.low_discrepancy import sobol_values
from tlsweep.spec.metrics import Metric, metric_sign
from tlsweep.spec.seeds import generator
from tlsweep.spec.space import Distribution, Uniform, Value
from tlsweep.spec.study import NO_EXPLORE_ARM
from tlsweep.text import shortened

if TYPE_CHECKING:
    from tlsweep.spec.sweep import SweepSpec

MAX_TRIALS = 100_000
"""The most trials of an arm. Counting and listing them must end within a second."""


class SearchCommon(SpecModel):
    """What every strategy has."""

    if TYPE_CHECKING:  # each strategy has its own, after the fields that all have
        strategy: str

    metric: Metric = "val_accuracy"
    """What is compared, on the validation split: `val_recall` is the balanced accuracy, and `tlsweep columns` explains
    the others. `val_loss` and `val_ece` are better when lower, the others when higher."""
    patience: int | None = Field(None, ge=1)
    """A trial ends when the metric has not got better for so many epochs. Not for members of a population, which go on
    from a better one."""

    @property
    def sign(self) -> int:
        """Whether a higher metric is better, as `metric_sign`."""
        return metric_sign(self.metric)

    @property
    def trials_wait(self) -> bool:
        """Whether trials wait for one another, their checkpoints kept."""
        return False

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

    def given(self, number: int) -> Mapping[str, Value]:
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
    """Configurations that are tried first, such as a recipe that is known to be good: values of what is searched; those
    that one leaves out are drawn."""

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
            for name, value in point.items():
                path = f"search.points_to_evaluate[{number}].{name}"
                if name not in spec.space:
                    searched = ", ".join(spec.space) or "nothing"
                    raise ValueError(
                        f"{path}: {shortened(name)} is not searched; write it in train (searched: {searched})"
                    )
                space = spec.space[name]
                if name == "lr" and spec.train.scaling.per:
                    # It is written as it is in force, and the bounds are those at another batch size.
                    space = Uniform(sys.float_info.min, sys.float_info.max)
                if not _is_in(space, value):
                    raise ValueError(f"{path}: {shortened(repr(value))} is outside of {spec.space[name].to_yaml()}")

    def start(self, spec: "SweepSpec", number: int) -> dict[str, Value]:
        if self.sampler == "sobol":
            return sobol_values(spec.space, spec.seed, number)
        return super().start(spec, number)

    def given(self, number: int) -> Mapping[str, Value]:
        return self.points_to_evaluate[number] if number < len(self.points_to_evaluate) else {}


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


class RandomSearch(Sampled):
    """Independent configurations, each trained to the end."""

    strategy: Literal["random"]
    """How configurations are chosen, and which of them go on."""


class GridSearch(SearchCommon):
    """Every combination of the searched hyperparameters, each trained to the end."""

    strategy: Literal["grid"]
    """How configurations are chosen, and which of them go on."""
    points: int = Field(5, ge=2, le=1000)
    """Values taken of each continuous distribution; lists are taken whole."""

    def check(self, spec: "SweepSpec") -> None:
        super().check(spec)
        if not spec.space:
            raise ValueError("search.strategy grid needs a distribution in train, such as lr: {choice: [0.01, 0.1]}")
        if spec.trials_per_arm > MAX_TRIALS:
            raise ValueError(
                f"search.points {self.points} makes a grid of {spec.trials_per_arm:.3g} trials, more than "
                f"{MAX_TRIALS:,}: take fewer points, or search.strategy random"
            )

    def configurations(self, axes: Mapping[str, list[Value]]) -> int:
        return math.prod(len(values) for values in axes.values())

    def start(self, spec: "SweepSpec", number: int) -> dict[str, Value]:
        return spec.grid_point(number)


class HalvingSearch(Sampled):
    """What strategies that compare trials at rungs have."""

    min_epochs: int = Field(1, ge=1)
    """The first rung: no trial is stopped before it."""
    # Not down to 1, with which no rung would lie above the first, and there would be no end to them.
    reduction_factor: float = Field(3.0, ge=1.01)
    """eta: about 1/eta of the trials that reach a rung go on, and each rung lies eta times higher."""
    min_reports: int = Field(3, ge=1)
    """How many trials must have reached a rung before any is cut (stopping) or goes on (promotion) there."""


class AshaSearch(HalvingSearch):
    """Many configurations, compared at rungs; the weak ones get no more epochs (Li et al. 2020)."""

    strategy: Literal["asha"]
    """How configurations are chosen, and which of them go on."""
    form: Literal["stopping", "promotion"] = "promotion"
    """`promotion` (the paper's algorithm 2): every trial waits at each rung, and goes on only when it is among the best
    1/eta there. `stopping` (Ray Tune's): it goes on at once unless it is below the best 1/eta of those before it."""

    @property
    def trials_wait(self) -> bool:
        return self.form == "promotion"


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
        if unknown := [name for name in self.mutate if name not in Hyperparameters.model_fields]:
            raise ValueError(f"search.mutate names {shortened(str(unknown))}, which are no hyperparameters of train")
        if not any(name in spec.space for name in self.mutate):
            raise ValueError(
                f"search.strategy {self.strategy} mutates {list(self.mutate)}, but none of them is a "
                "distribution; write, for example, train.lr: {loguniform: [1e-4, 0.1]}"
            )
        if self.couple_lr != "none":
            self._check_coupling(spec)
        if NO_EXPLORE_ARM in spec.controls and not self.explore:
            raise ValueError("controls: no-explore compares with search.explore, but that is off already")

    def _check_coupling(self, spec: "SweepSpec") -> None:
        if spec.train.scaling.per:
            raise ValueError(
                f"search.couple_lr {self.couple_lr}: train.lr is searched per batch_size, and follows it already; "
                "write couple_lr: none, or lr without per"
            )
        if not {"lr", "batch_size"} <= spec.space.keys():
            raise ValueError(
                f"search.couple_lr {self.couple_lr} scales lr with the batch size, inside the bounds of lr: "
                "train.lr and train.batch_size must both be distributions; or write couple_lr: none"
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


class PbtSearch(Perturbed):
    """Population Based Training (Jaderberg et al. 2017): weak members copy strong ones, and mutate, as they train."""

    strategy: Literal["pbt"]
    """How configurations are chosen, and which of them go on."""


class Pb2Search(PopulationSearch):
    """Population Based Bandits (Parker-Holder et al. 2020): as PBT, but a Gaussian process over all that the population
    has seen proposes the new values."""

    strategy: Literal["pb2"]
    """How configurations are chosen, and which of them go on."""

    def check(self, spec: "SweepSpec") -> None:
        super().check(spec)
        spaces = {name: spec.space[name] for name in self.mutate if name in spec.space}
        # A Gaussian process cannot take the others.
        words = [name for name, space in spaces.items() if any(isinstance(end, str | bool) for end in space.extremes)]
        if words:
            raise ValueError(f"search.strategy pb2 mutates numbers only, not {words}; take them out of search.mutate")


class AshaThenPbtSearch(HalvingSearch, Perturbed):
    """ASHA screens many configurations; the best go on with their weights and optimizer state, as the first generation
    of a PBT population."""

    strategy: Literal["asha_then_pbt"]
    """How configurations are chosen, and which of them go on."""
    screening_epochs: int | None = Field(None, ge=1)
    """The last rung of the screening: there a trial waits for the population to form. Default: a third of
    train.epochs, at least min_epochs."""
    screening_share: float = Field(0.5, gt=0, lt=1)
    """The screening ends at the latest when it has used this share of a budget (of epochs, device hours, wall time)."""

    def last_rung(self, epochs: int) -> int:
        """Epochs that the screening trains a trial for at most, where the population trains up to `epochs`."""
        return self.screening_epochs or max(self.min_epochs, epochs // 3)

    def check(self, spec: "SweepSpec") -> None:
        super().check(spec)
        if self.trials < self.population:
            raise ValueError(
                f"search.population {self.population} is chosen from search.trials {self.trials}: "
                "try more configurations than the population has members"
            )
        if not self.min_epochs <= self.last_rung(spec.train.epochs) < spec.train.epochs:
            raise ValueError(
                f"search.screening_epochs {self.last_rung(spec.train.epochs)} must lie from search.min_epochs "
                f"{self.min_epochs} to below train.epochs {spec.train.epochs}: the population trains the rest"
            )

    def most_epochs(self, trials: int, epochs: int) -> int:
        return (trials - self.population) * self.last_rung(epochs) + self.population * epochs

    def in_words(self, trials: int) -> str:
        return f"{Sampled.in_words(self, trials)}, then {self.population} members"


class RecipeStep(SpecModel):
    """A stretch of training with the same values."""

    to_epoch: int = Field(ge=1)
    """The epoch with which it ends, since the beginning."""
    values: dict[str, float | int | str | bool] = {}
    """Hyperparameters of this step; the others are as in `train`."""


class RecipeSearch(SearchCommon):
    """No search: a schedule that an earlier sweep found is trained again (`tlsweep confirm`), with other seeds."""

    strategy: Literal["recipe"]
    """How configurations are chosen, and which of them go on."""
    schedule: tuple[RecipeStep, ...] = Field(min_length=1)
    """The steps of the recipe, one after another."""

    def check(self, spec: "SweepSpec") -> None:
        super().check(spec)
        self.refuse_patience()
        if spec.space:
            raise ValueError(f"search.strategy recipe draws nothing, but {', '.join(spec.space)} are distributions")
        if self.schedule[-1].to_epoch > spec.train.epochs:
            raise ValueError(
                f"search.schedule ends at epoch {self.schedule[-1].to_epoch}, after train.epochs {spec.train.epochs}"
            )
        for step in self.schedule:
            spec.train.resolve(dict(step.values))

    def configurations(self, axes: Mapping[str, list[Value]]) -> int:
        return self.trials

    def start(self, spec: "SweepSpec", number: int) -> dict[str, Value]:
        return dict(self.schedule[0].values)

    @property
    def trials(self) -> int:
        """One; its repeats have other seeds."""
        return 1

    @field_validator("schedule")
    @classmethod
    def _steps_ascend(cls, schedule: tuple[RecipeStep, ...]) -> tuple[RecipeStep, ...]:
        ends = [step.to_epoch for step in schedule]
        if ends != sorted(set(ends)):
            raise ValueError(f"each step must end after the one before it, not at epochs {shortened(str(ends))}")
        return schedule


STRATEGIES: Final = (
    RandomSearch,
    GridSearch,
    AshaSearch,
    PbtSearch,
    Pb2Search,
    AshaThenPbtSearch,
    RecipeSearch,
)
"""What `search` may be, told apart by `strategy`."""

if TYPE_CHECKING:
    SearchSpec = SearchCommon
else:
    SearchSpec = Annotated[Union[STRATEGIES], Field(discriminator="strategy")]  # noqa: UP007  (a tuple of them)
