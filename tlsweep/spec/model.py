"""The `model:` section: the network and the weights it starts from."""

from typing import Annotated, Any

from pydantic import Discriminator, Field, Tag, field_validator

from tlsweep.spec.base import SpecModel
from tlsweep.spec.data import DataSpec
from tlsweep.spec.hyperparameters import Hyperparameters


class SourceTask(SpecModel):
    """A task to pretrain on, once; the weights are kept under a hash of everything that made them."""

    data: DataSpec
    """The source images."""
    epochs: int = Field(20, ge=1)
    """Passes over the source's training split."""
    train: Hyperparameters = Hyperparameters(lr=1e-3, batch_size=64, optimizer="adam", lr_schedule="cosine")
    """How to pretrain; constants only."""


def _weights_tag(value: Any) -> str:
    """So that a mistake in a source task is reported as that, not also as 'no string'."""
    return "weights as mapping" if isinstance(value, dict | SourceTask) else "weights as text"


WeightsSpec = Annotated[
    Annotated[str, Tag("weights as text")] | Annotated[SourceTask, Tag("weights as mapping")],
    Discriminator(_weights_tag),
]


class ModelSpec(SpecModel):
    """Backbone and weights; the head is always new."""

    name: str = "cnn"
    """`cnn`, `mlp`, any classification network of torchvision.models, or your own `package.module:function`, called
    with (num_classes, in_channels, image_size, **args); the last Linear or Conv2d of what it returns is the head."""
    weights: WeightsSpec | None = None
    """`DEFAULT` or another name of torchvision's; a `.pth` or `.safetensors` file; a source task (a mapping with
    `data:`); or `none` for random weights."""
    args: dict[str, Any] = {}
    """Keyword arguments of the network: `cnn` takes `channels` [32, 64, 64] and `dense` [64]; `mlp` takes
    `hidden` [128, 64]; both take `dropout` 0."""

    @field_validator("weights", mode="before")
    @classmethod
    def _none_is_none(cls, value: Any) -> Any:
        return None if isinstance(value, str) and value.lower() in ("none", "scratch", "") else value
