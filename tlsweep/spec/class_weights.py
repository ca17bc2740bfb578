"""`train.class_weights`: how much the images of each class count in training."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import Discriminator, Field, Tag

Weight = Annotated[float, Field(gt=0)]


def _tag(value: Any) -> str:
    """Tell words from mappings, so that a mistake in one is not reported as one in both."""
    return CLASS_WEIGHTS_TAGS[isinstance(value, Mapping)]


CLASS_WEIGHTS_TAGS: Final = ("class weights as word", "class weights as mapping")
ClassWeights = Annotated[
    Annotated[Literal["none", "balanced"], Tag(CLASS_WEIGHTS_TAGS[0])]
    | Annotated[dict[str, Weight], Tag(CLASS_WEIGHTS_TAGS[1])],
    Discriminator(_tag),
]
