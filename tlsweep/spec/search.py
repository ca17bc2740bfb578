"""The `search:` section: which configurations are tried, which go on, and when the sweep ends."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from tlsweep.spec.base import Seconds, SpecModel

Metric = Literal["val_accuracy", "val_loss", "val_f1", "val_precision", "val_recall"]


class SearchCommon(SpecModel):
    """What every strategy has."""

    metric: Metric = "val_accuracy"
    """What is compared, on the validation split. `val_loss` is better when lower, the others when higher."""

    @property
    def sign(self) -> int:
        """+1 where a higher metric is better, -1 where a lower one is: sign × metric is to be maximised."""
        return -1 if self.metric == "val_loss" else 1


class Sampled(SearchCommon):
    """What strategies that draw configurations have."""

    trials: int = Field(20, ge=1)
    """Configurations to try."""
    sampler: Literal["random", "tpe"] = "random"
    """`random`: each configuration by itself. `tpe`: Optuna's Tree-structured Parzen Estimator proposes what did well
    so far (Bergstra et al. 2011; Falkner et al. 2018 for trials that were stopped early); the first ten are random.
    Each arm learns from its own trials."""


class RandomSearch(Sampled):
    """Independent configurations, each trained to the end."""

    strategy: Literal["random"]
    """`random`, `grid`, `asha`, `pbt`, `pb2`, `asha_then_pbt` or `recipe`."""


class GridSearch(SearchCommon):
    """Every combination of the searched hyperparameters, each trained to the end."""

    strategy: Literal["grid"]
    """`random`, `grid`, `asha`, `pbt`, `pb2`, `asha_then_pbt` or `recipe`."""
    points: int = Field(5, ge=2)
    """Values taken of each continuous distribution; lists are taken whole."""


class HalvingSearch(Sampled):
    """What strategies that compare trials at rungs have."""

    min_epochs: int = Field(1, ge=1)
    """The first rung: no trial is stopped before it."""
    reduction_factor: float = Field(3.0, gt=1)
    """eta: about 1/eta of the trials that reach a rung go on, and each rung lies eta times higher."""
    min_reports: int = Field(3, ge=1)
    """So many trials must have reached a rung before any is cut (stopping) or goes on (promotion) there."""


class AshaSearch(HalvingSearch):
    """Many configurations, compared at rungs; the weak ones get no more epochs (Li et al. 2020)."""

    strategy: Literal["asha"]
    """`random`, `grid`, `asha`, `pbt`, `pb2`, `asha_then_pbt` or `recipe`."""
    form: Literal["stopping", "promotion"] = "promotion"
    """`promotion` (the paper's algorithm 2): every trial waits at each rung, and goes on only when it is among the best
    1/eta there. `stopping` (Ray Tune's): it goes on at once unless it is below the best 1/eta of those before it."""


class PopulationSearch(SearchCommon):
    """What PBT and PB2 share: a population trained side by side, in which weak members copy strong ones."""

    population: int = Field(8, ge=2)
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
    (`sqrt`, for Adam), inside the bounds of lr. Not where lr was chosen anew: resampled (PBT), or proposed (PB2 with lr
    in mutate)."""
    explore: bool = True
    """Off: selection alone, a copy keeps the donor's values."""
    mutate: tuple[str, ...] = ("lr", "batch_size")
    """Hyperparameters that change during training, where they are searched."""


class Perturbed(PopulationSearch):
    """How PBT mutates."""

    resample_probability: float = Field(0.25, ge=0, le=1)
    """Chance that a mutated value is drawn anew instead of perturbed."""
    factors: tuple[float, ...] = (0.8, 1.25)
    """A continuous value is multiplied by one of these; a value on a lattice moves to a neighbour."""

    @model_validator(mode="after")
    def _factors_are_positive(self) -> "Perturbed":
        if not self.factors or min(self.factors) <= 0:
            raise ValueError(f"factors needs numbers above 0, not {list(self.factors)}")
        return self


class PbtSearch(Perturbed):
    """Population Based Training (Jaderberg et al. 2017): weak members copy strong ones, and mutate, as they train."""

    strategy: Literal["pbt"]
    """`random`, `grid`, `asha`, `pbt`, `pb2`, `asha_then_pbt` or `recipe`."""


class Pb2Search(PopulationSearch):
    """Population Based Bandits (Parker-Holder et al. 2020): as PBT, but a Gaussian process over all that the population
    has seen proposes the new values."""

    strategy: Literal["pb2"]
    """`random`, `grid`, `asha`, `pbt`, `pb2`, `asha_then_pbt` or `recipe`."""


class AshaThenPbtSearch(HalvingSearch, Perturbed):
    """ASHA screens many configurations; the best go on with their weights and optimizer state, as the first generation
    of a PBT population."""

    strategy: Literal["asha_then_pbt"]
    """`random`, `grid`, `asha`, `pbt`, `pb2`, `asha_then_pbt` or `recipe`."""
    screening_epochs: int | None = Field(None, ge=1)
    """The last rung of the screening: there a trial waits for the population to form. Default: a third of
    train.epochs, at least min_epochs."""
    screening_share: float = Field(0.5, gt=0, lt=1)
    """The screening ends at the latest when it has used this share of a budget (of epochs, device hours, wall time)."""

    def last_rung(self, epochs: int) -> int:
        """Epochs that the screening trains a trial for at most, where the population trains up to `epochs`."""
        return self.screening_epochs or max(self.min_epochs, epochs // 3)


class RecipeStep(SpecModel):
    """A stretch of training with the same values."""

    to_epoch: int = Field(ge=1)
    """Where it ends: epochs since the beginning."""
    values: dict[str, float | int | str | bool] = {}
    """Hyperparameters of this step; the others are as in `train`."""


class RecipeSearch(SearchCommon):
    """No search: a schedule that an earlier sweep found is trained again (`tlsweep confirm`), with other seeds."""

    strategy: Literal["recipe"]
    """`random`, `grid`, `asha`, `pbt`, `pb2`, `asha_then_pbt` or `recipe`."""
    schedule: tuple[RecipeStep, ...] = Field(min_length=1)
    """The steps of the recipe, one after another."""

    @property
    def trials(self) -> int:
        """One; its repeats have other seeds."""
        return 1

    @field_validator("schedule")
    @classmethod
    def _steps_ascend(cls, schedule: tuple[RecipeStep, ...]) -> tuple[RecipeStep, ...]:
        ends = [step.to_epoch for step in schedule]
        if ends != sorted(set(ends)):
            raise ValueError(f"each step must end after the one before it, not at epochs {ends}")
        return schedule


SearchSpec = Annotated[
    RandomSearch | GridSearch | AshaSearch | PbtSearch | Pb2Search | AshaThenPbtSearch | RecipeSearch,
    Field(discriminator="strategy"),
]


class Budget(SpecModel):
    """When the sweep ends, beside having run all its trials; whichever comes first."""

    epochs: int | None = Field(None, ge=1)
    """Epochs over all trials of an arm together."""
    device_hours: float | None = Field(None, gt=0)
    """Hours of GPUs over all trials of an arm together, where trials have GPUs; of CPU cores where they have none.
    Half a GPU for two hours is one. Training, validation and waiting between epochs count."""
    wall_time: Seconds | None = None
    """Seconds, or '90s', '15m', '1h30m', from when a worker takes the first trial."""
    target: float | None = None
    """Stop as soon as a trial's metric is this good."""


class Faults(SpecModel):
    """What to do with a trial that fails."""

    max_failures: int = Field(2, ge=0)
    """A trial that raises, hangs or loses its process goes on from its last checkpoint so many times; then it has
    failed, and the sweep goes on without it. The loss of a whole node is not counted."""
    report_timeout: Seconds | None = None
    """A trial that sends no report for so long hangs, and fails: seconds, or '30s', '10m'. Longer than any epoch,
    its validation and checkpoint included, and than a worker takes to import torch and build the network."""


class Resources(SpecModel):
    """What one trial gets; how many run at once follows from what there is."""

    cpus: float = Field(1.0, gt=0)
    """CPU cores; the trial uses as many threads (at least one)."""
    gpus: float | Literal["auto"] = "auto"
    """GPUs, fractions allowed; `auto`: one where the cluster has any, else none."""
    concurrent: int | None = Field(None, ge=1)
    """Run at most so many trials at once."""

    @field_validator("gpus", mode="before")
    @classmethod
    def _gpu_fractions(cls, value: Any) -> Any:
        number = isinstance(value, int | float) and (0 <= value <= 1 or (value > 1 and float(value).is_integer()))
        if value != "auto" and not number:
            raise ValueError("must be 'auto', 0, a fraction up to 1, or a whole number")
        return value
