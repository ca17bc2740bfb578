"""One sample of somebody's own data set: a Pillow image and a whole number, or a message that says what came
instead."""

from typing import TYPE_CHECKING, Any

import numpy as np

from tlsweep.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image


def as_image(value: Any) -> "Image":
    """A new PIL image from one, or from a uint8 array of shape (H, W), (H, W, 1) or (H, W, 3).

    Raises:
        DataError: anything else.
    """
    from PIL import Image

    if isinstance(value, Image.Image):
        return value.copy()  # decoding changes an image in place, and this one may be kept by its data set
    if hasattr(value, "__array__"):
        array = np.asarray(value)
        if array.ndim == 3 and array.shape[2] == 1:
            array = array[:, :, 0]
        if array.dtype == np.uint8 and (array.ndim == 2 or array.shape[2:] == (3,)):
            return Image.fromarray(np.ascontiguousarray(array))
    raise DataError(f"the image is {describe(value)}, not a PIL image or a uint8 array of shape (H, W) or (H, W, 3)")


def as_label(value: Any) -> int:
    """A whole number from 0, from an int or an array that holds one.

    Raises:
        DataError: anything else.
    """
    if hasattr(value, "__array__") and np.size(array := np.asarray(value)) == 1:
        value = array.item()
    if isinstance(value, bool) or not isinstance(value, int):
        raise DataError(f"the label is {describe(value)}")
    if value < 0:
        raise DataError(f"the label is {value}; labels count from 0")
    return value


def describe(value: Any) -> str:
    """Type, and for arrays kind and shape, of what came instead of what was wanted."""
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"a {value.dtype} array of shape {tuple(value.shape)}"
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)}"
    return f"a {type(value).__name__}"
