"""The `train:` section: how one trial is trained.

`Hyperparameters` holds plain values, the ones in force in a trial. In a spec each of them may also be a distribution;
`TrainSpec`, the section itself, is derived from it so that nothing is written twice.
"""

from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from tlsweep.spec.base import SpecModel, searchable
from tlsweep.spec.space import Distribution, Value


class Hyperparameters(SpecModel):
    """What can be searched: one value each."""

    lr: float = Field(1e-3, gt=0)
    """Base learning rate of the backbone; the schedule multiplies it."""
    batch_size: int = Field(32, ge=1)
    """Effective batch size: samples for each step of the optimizer."""
    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"
    """`sgd` (with momentum), `adam`, or `adamw` (decoupled weight decay)."""
    momentum: float = Field(0.9, ge=0, lt=1)
    """SGD's momentum; Adam's beta1."""
    nesterov: bool = False
    """Nesterov's form of momentum (SGD only)."""
    weight_decay: float = Field(0.0, ge=0)
    """L2 penalty (SGD, Adam) or decoupled decay (AdamW)."""
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    """Part of each target that is spread over all classes (training only)."""
    lr_schedule: Literal["constant", "exponential", "step", "cosine"] = "cosine"
    """`constant`; `exponential`: lr × lr_gamma after each epoch; `step`: lr × lr_gamma after every lr_step_epochs;
    `cosine`: down to 0 at the last epoch. All follow progress in samples, not steps."""
    lr_gamma: float = Field(0.95, gt=0, le=1)
    """Factor of the schedules `exponential` and `step`."""
    lr_step_epochs: float = Field(10.0, gt=0)
    """Epochs between two drops of the schedule `step`."""
    warmup_epochs: float = Field(0.0, ge=0)
    """Epochs over which lr rises linearly from 0 before the schedule takes over."""
    freeze: Literal["nothing", "backbone", "gradual"] = "nothing"
    """`backbone`: train the new head only. `gradual`: start with the head, thaw one layer group after another, from the
    head down, all by half of the training (Howard & Ruder 2018)."""
    head_lr_multiplier: float = Field(1.0, gt=0)
    """The new head learns with lr times this."""
    layer_decay: float = Field(1.0, gt=0, le=1)
    """Each layer group learns with this times the lr of the group above it."""


class TrainSettings(SpecModel):
    """What is the same for all trials of a sweep."""

    epochs: int = Field(10, ge=1)
    """Passes over the training split that a trial gets at most."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """`bf16`: autocast; `auto`: bf16 on GPUs that have it, else fp32."""
    channels_last: bool | Literal["auto"] = "auto"
    """Memory format of convolutions; `auto`: on for GPUs."""
    batch_norm: Literal["train", "frozen"] = "train"
    """`frozen`: batch norm keeps the statistics of the weights that the trial starts from. Then a batch that memory
    divides gives the same gradient as a whole one; with `train`, each part is normalised by itself."""
    compile: bool = False
    """torch.compile the network (GPU only; pays off in trials of many minutes)."""


class TrainSection(TrainSettings):
    """What the `train:` section can do; its fields are those of TrainSettings and Hyperparameters."""

    def settings(self) -> TrainSettings:
        """The part that is no hyperparameter."""
        return TrainSettings(**{name: getattr(self, name) for name in TrainSettings.model_fields})

    def space(self) -> dict[str, Distribution]:
        """The hyperparameters that are searched."""
        return {name: value for name, value in self if hasattr(value, "sample")}

    def resolve(self, values: dict[str, Value]) -> Hyperparameters:
        """The hyperparameters of a trial: constants of the spec, and `values` for what is searched."""
        constants = {name: getattr(self, name) for name in Hyperparameters.model_fields}
        return Hyperparameters(**constants | values)

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> "TrainSection":
        if True in self._extremes("nesterov") and 0 in self._extremes("momentum"):
            raise ValueError("nesterov: true needs momentum above 0, in every trial")
        return self

    def _extremes(self, name: str) -> tuple[Value, ...]:
        """Of a distribution; of a constant, its value."""
        value = getattr(self, name)
        return value.extremes if hasattr(value, "extremes") else (value,)


if TYPE_CHECKING:
    TrainSpec = TrainSection
else:
    TrainSpec = searchable(
        Hyperparameters,
        name="TrainSpec",
        base=TrainSection,
        doc="The `train:` section of a spec: settings, and hyperparameters as constants or distributions.",
    )
