"""The `search:` section: which configurations are tried, which go on, and when the sweep ends."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Final, Literal, Union, get_args

from pydantic import AfterValidator, Field

from tlsweep.spec.base import SpecModel
from tlsweep.spec.search.common import MAX_TRIALS, HalvingSearch, Perturbed, PopulationSearch, Sampled, SearchCommon
from tlsweep.spec.search.space import Value
from tlsweep.spec.search.study import MAIN_ARM, SOUP_ARM, Control
from tlsweep.text import shortened

if TYPE_CHECKING:
    from tlsweep.spec.sweep import SweepSpec


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
            raise ValueError(
                f"search.strategy grid needs a distribution in {spec.SECTION}, such as lr: {{choice: [0.01, 0.1]}}"
            )
        if spec.trials_per_arm > MAX_TRIALS:
            raise ValueError(
                f"search.points {self.points} makes a grid of {spec.trials_per_arm:.3g} trials, more than "
                f"{MAX_TRIALS:,}: take fewer points, or search.strategy random"
            )

    def configurations(self, axes: Mapping[str, list[Value]]) -> int:
        return math.prod(len(values) for values in axes.values())

    def start(self, spec: "SweepSpec", number: int) -> dict[str, Value]:
        return spec.grid_point(number)


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
        if not self.min_epochs <= self.last_rung(spec.epochs) < spec.epochs:
            raise ValueError(
                f"search.screening_epochs {self.last_rung(spec.epochs)} must lie from search.min_epochs "
                f"{self.min_epochs} to below {spec.EPOCHS} {spec.epochs}: the population trains the rest"
            )

    def most_epochs(self, trials: int, epochs: int) -> int:
        return (trials - self.population) * self.last_rung(epochs) + self.population * epochs

    def in_words(self, trials: int) -> str:
        return f"{Sampled.in_words(self, trials)}, then {self.population} members"


class RecipeStep(SpecModel):
    """A stretch of training with the same values."""

    to_epoch: int = Field(ge=1)
    """The epoch with which it ends, since the beginning."""
    number: int | None = Field(None, ge=0)
    """The trial, by its number, whose random choices are made again; left out: others are made."""
    values: dict[str, float | int | str | bool] = {}
    """Hyperparameters of this step; the others are as in `train`."""


def _ascending(steps: tuple[RecipeStep, ...]) -> tuple[RecipeStep, ...]:
    ends = [step.to_epoch for step in steps]
    if ends != sorted(set(ends)):
        raise ValueError(f"each step must end after the one before it, not at epochs {shortened(str(ends))}")
    return steps


Steps = Annotated[tuple[RecipeStep, ...], Field(min_length=1), AfterValidator(_ascending)]


def step_after(steps: Sequence[RecipeStep], epoch: int) -> RecipeStep:
    """The step by which training goes on after an epoch; the last one where it does not."""
    return next((step for step in steps if step.to_epoch > epoch), steps[-1])


class Claim(SpecModel):
    """What a sweep says of its own winner, which a confirmation looks into."""

    sweep: str = Field(max_length=300)
    """Its name."""
    trial: str = Field(max_length=300)
    """The winner."""
    networks: int = Field(1, ge=1)
    """Repeats (`data.repeats`) behind the figures, which then are means."""
    val_accuracy: float | None = None
    """Of what it handed over; of an average of several trials, that of the best one alone, in its best epoch."""
    test_accuracy: float | None = None
    """Of the same network."""


_RIVAL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
"""A name that folders, trials and arms can have."""


class RecipeSearch(SearchCommon):
    """No search: a schedule that an earlier sweep found is trained again, with other seeds (`tlsweep confirm`) or with
    its own (`tlsweep replay`)."""

    strategy: Literal["recipe"]
    """How configurations are chosen, and which of them go on."""
    schedule: Steps
    """The steps of the recipe, one after another."""
    rivals: dict[str, Steps] = {}
    """Other recipes, by name, such as those of the next best trials: each is an arm, with the same seeds."""
    claim: Claim | None = None
    """What the sweep that found the recipe says of it (`tlsweep confirm`)."""

    @property
    def rivals_start(self) -> Mapping[str, Mapping[str, Value]]:
        return {name: steps[0].values for name, steps in self.rivals.items()}

    def steps_of(self, arm: str) -> tuple[RecipeStep, ...]:
        """The steps that the trial of an arm follows."""
        return self.rivals.get(arm, self.schedule)

    def check(self, spec: "SweepSpec") -> None:
        super().check(spec)
        self.refuse_patience()
        if spec.space:
            raise ValueError(f"search.strategy recipe draws nothing, but {', '.join(spec.space)} are distributions")
        taken = {MAIN_ARM, SOUP_ARM, *get_args(Control)} | {arm for arm in spec.arms if spec.arms.count(arm) > 1}
        for name in self.rivals:
            if name in taken or not _RIVAL.fullmatch(name):
                raise ValueError(
                    f"search.rivals: {shortened(repr(name))} must be letters, digits, _ and -, at most 100, and no "
                    "other arm's name; give it another"
                )
        schedules = {"search.schedule": self.schedule}
        schedules |= {f"search.rivals.{name}": steps for name, steps in self.rivals.items()}
        for path, steps in schedules.items():
            if steps[-1].to_epoch > spec.epochs:
                raise ValueError(f"{path} ends at epoch {steps[-1].to_epoch}, after {spec.EPOCHS} {spec.epochs}")
            for step in steps:
                spec.completed(MAIN_ARM, dict(step.values))

    def configurations(self, axes: Mapping[str, list[Value]]) -> int:
        return self.trials

    def start(self, spec: "SweepSpec", number: int) -> dict[str, Value]:
        return dict(self.schedule[0].values)

    def step_after(self, epoch: int) -> RecipeStep:
        """The step by which training goes on after an epoch; the last one where it does not."""
        return step_after(self.schedule, epoch)

    @property
    def trials(self) -> int:
        """One; its repeats have other seeds."""
        return 1


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
