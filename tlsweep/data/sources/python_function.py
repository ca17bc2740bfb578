"""Images and labels from the user's own function."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from tlsweep.data.items import ArrayItems, DatasetItems, Found
from tlsweep.data.samples import describe
from tlsweep.errors import DataError
from tlsweep.own_code import import_function
from tlsweep.spec import PythonData

_SPLITS = ("train", "val", "test")
_WANTED = (
    "wanted: (images, labels), uint8 of shape (N, H, W) or (N, H, W, C) and whole numbers of shape (N,), "
    "or a torch data set of (image, label), or a mapping from train, val, test to one of these"
)


def find_python(data: PythonData) -> Found:
    """Call the function; what it raises itself passes through untouched.

    Raises:
        DataError: it cannot be imported, or returns something else than labelled images.
    """
    function = import_function(data.function, f"data.function '{data.function}'", DataError)
    result = function(**data.args)
    classes = _classes(getattr(result, "classes", getattr(function, "classes", None)), data.function)
    parts = dict(result) if isinstance(result, Mapping) else {"train": result}
    unknown = [name for name in parts if name not in _SPLITS]
    if unknown or "train" not in parts:
        raise DataError(f"{data.function} returned a mapping with the keys {list(parts)}; {_WANTED}")
    parts = {name: parts[name] for name in _SPLITS if name in parts}
    if all(_is_pair(part) for part in parts.values()):
        arrays = {split: _arrays(part, f"{data.function} ({split})") for split, part in parts.items()}
        items: ArrayItems | DatasetItems = _concatenated(arrays, data.function)
        counts = {split: len(part) for split, part in arrays.items()}
    else:
        for split, part in parts.items():
            if not (hasattr(part, "__getitem__") and hasattr(part, "__len__")) or isinstance(part, tuple | list):
                raise DataError(f"{data.function} ({split}) returned {describe(part)}; {_WANTED}")
        # Somebody's own data set may share a file handle between calls, so one thread.
        items = DatasetItems(parts, data.function, thread_safe=False, published=False)
        counts = {split: len(part) for split, part in parts.items()}
        classes = classes or _classes(getattr(parts["train"], "classes", None), data.function)
    if empty := [split for split, count in counts.items() if not count]:
        raise DataError(f"{data.function} ({empty[0]}) returned no images; {_WANTED}")
    return Found(items, counts, classes)


def _classes(names: Any, origin: str) -> tuple[str, ...] | None:
    if names is None:
        return None
    if (
        isinstance(names, str)
        or not isinstance(names, tuple | list)
        or not all(isinstance(name, str) for name in names)
    ):
        raise DataError(f"{origin}: `classes` is {names!r:.80}; wanted: a list of names")
    return tuple(names)


def _is_pair(part: Any) -> bool:
    return isinstance(part, tuple | list) and len(part) == 2 and all(hasattr(item, "__len__") for item in part)


def _arrays(part: Any, origin: str) -> ArrayItems:
    images, labels = np.asarray(part[0]), np.asarray(part[1])
    if images.ndim == 3:
        images = images[..., None]
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3) or 0 in images.shape[1:]:
        raise DataError(f"{origin} returned as images {describe(np.asarray(part[0]))}; {_WANTED}, C = 1 or 3")
    if labels.dtype.kind not in "iu" or labels.shape != (len(images),):
        raise DataError(f"{origin} returned as labels of {len(images)} images {describe(labels)}; {_WANTED}")
    if len(labels) and labels.min() < 0:
        raise DataError(f"{origin} returned the label {labels.min()}; labels count from 0")
    return ArrayItems(images, labels.astype(np.int64))


def _concatenated(arrays: Mapping[str, ArrayItems], origin: str) -> ArrayItems:
    shapes = {part.images.shape[1:] for part in arrays.values()}
    if len(shapes) > 1:
        raise DataError(f"{origin} returned splits with images of different shapes, {sorted(shapes)}; make them alike")
    if len(arrays) == 1:
        return arrays["train"]
    return ArrayItems(
        np.concatenate([part.images for part in arrays.values()]),
        np.concatenate([part.labels for part in arrays.values()]),
    )
