"""The `model:` section: the network and the weights it starts from."""

from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Discriminator, Field, Tag, field_validator, model_validator
from pydantic_core import PydanticCustomError

from tlsweep.spec.augmentation import with_preset
from tlsweep.spec.base import SpecModel
from tlsweep.spec.data import DataSpec
from tlsweep.spec.federation.fitting import changed_of_federation
from tlsweep.spec.hyperparameters import Hyperparameters
from tlsweep.text import shortened


class SourceTask(SpecModel):
    """A task to pretrain on, once; the weights are kept under a hash of everything that made them."""

    name: str | None = Field(None, min_length=1)
    """What it is called in tables; default: the data set's name."""
    data: DataSpec
    """The source images."""
    epochs: int = Field(20, ge=1)
    """Passes over the source's training split."""
    train: Hyperparameters = Hyperparameters(lr=1e-3, batch_size=64, optimizer="adam", lr_schedule="cosine")
    """How to pretrain; constants only."""

    @model_validator(mode="before")
    @classmethod
    def _augmentation_by_name(cls, values: Any) -> Any:
        return with_preset(values, cls.model_fields["train"].default.model_dump(exclude_unset=True))

    @field_validator("train")
    @classmethod
    def _trained_by_nobody_else(cls, train: Hyperparameters) -> Hyperparameters:
        if changed := changed_of_federation(dict(train)):
            raise ValueError(f"a source task is no federation, and has no {changed[0]}; it belongs to train:")
        return train

    @field_validator("data")
    @classmethod
    def _trained_once(cls, data: DataSpec) -> DataSpec:
        if data.folds is not None or data.repeats > 1:
            raise ValueError("a source task is trained on once: leave folds and repeats out; they belong to data:")
        if data.normalize == "weights":
            raise ValueError("a source task starts from random weights, which no normalize: weights is known of")
        return data


WEIGHTS = "weights"
"""The hyperparameter, and the column, that names the weights a trial starts from."""
NO_WEIGHTS = "none"
"""What random weights are called."""


def _weights_tag(value: Any) -> str:
    """Tell text from mappings, so that a mistake in a source task is reported as that, not also as 'no string'."""
    if isinstance(value, WeightsChoice) or (isinstance(value, dict) and "choice" in value):
        return "weights as choice"
    if isinstance(value, dict | SourceTask):
        return "weights as mapping"
    return "weights as text"


def _none_is_none(value: Any) -> Any:
    # YAML's own null is `null` or `~` (1.2, 10.3.2), and `none` a text like any other.
    if isinstance(value, str) and value.lower() in (NO_WEIGHTS, "scratch", ""):
        return None
    return value


Origin = Annotated[
    Annotated[str, Tag("weights as text")] | Annotated[SourceTask, Tag("weights as mapping")],
    Discriminator(_weights_tag),
]
"""Where weights come from."""


def origin_name(origin: str | SourceTask | None) -> str:
    """What weights are called in tables, and as a value of the hyperparameter `weights`."""
    if not isinstance(origin, SourceTask):
        return origin or NO_WEIGHTS
    return origin.name or origin.data.short_name


class WeightsChoice(SpecModel):
    """Several weights, of which each trial starts from one: the hyperparameter `weights`."""

    choice: tuple[Annotated[Origin | None, BeforeValidator(_none_is_none)], ...] = Field(max_length=1000)
    """The weights, each written as in `model.weights`; `none` among them for random weights."""

    @field_validator("choice")
    @classmethod
    def _names_differ(cls, origins: tuple[str | SourceTask | None, ...]) -> tuple[str | SourceTask | None, ...]:
        if len(origins) < 2:
            raise PydanticCustomError("choice", "takes at least two; or write the one without choice")
        names = [origin_name(origin) for origin in origins]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(
                f"two of the weights are called '{shortened(twice[0])}'; give each source task a name of its own"
            )
        return origins


WeightsSpec = Annotated[
    Annotated[str, Tag("weights as text")]
    | Annotated[SourceTask, Tag("weights as mapping")]
    | Annotated[WeightsChoice, Tag("weights as choice")],
    Discriminator(_weights_tag),
]


TIMM: Final = "timm/"
"""What the name of a network of timm begins with."""


class ModelSpec(SpecModel):
    """Backbone and weights; the head is always new."""

    name: str = "cnn"
    """`cnn`, `mlp`, any classification network of torchvision.models, one of timm as `timm/vit_small_patch16_224`
    (`pip install tlsweep[timm]`), or your own `package.module:function`, called with (num_classes, in_channels,
    image_size, **args); the last Linear or Conv2d that makes the classes is its head."""
    weights: WeightsSpec | None = None
    """`DEFAULT` or another name of torchvision's or timm's (a tag, as `augreg_in1k`); for timm `hf-hub:owner/name`,
    what anybody put on its hub; a `.pth` or `.safetensors` file; a source task (a mapping with `data:`); `none` for
    random weights; or `{choice: [A, B, …]}` of these, searched like any hyperparameter (never mutated: a copy of
    another member goes on from that member's)."""
    args: dict[str, Any] = {}
    """Keyword arguments of the network: `cnn` takes `channels` [32, 64, 64] and `dense` [64]; `mlp` takes
    `hidden` [128, 64]; both take `dropout` 0."""

    @field_validator("weights", mode="before")
    @classmethod
    def _no_weights(cls, value: Any) -> Any:
        return _none_is_none(value)

    @property
    def packages(self) -> tuple[str, ...]:
        """Packages of an extra that every node needs for it."""
        return ("timm",) if self.name.startswith(TIMM) else ()

    @property
    def origins(self) -> dict[str, str | SourceTask | None]:
        """What a trial may start from, by name; one unless there is a choice."""
        weights = self.weights
        return {
            origin_name(origin): origin
            for origin in (weights.choice if isinstance(weights, WeightsChoice) else (weights,))
        }

    def starting_from(self, origin: str | SourceTask | None) -> "ModelSpec":
        """The same network with these weights."""
        return self.model_copy(update={"weights": origin})
