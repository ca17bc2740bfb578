"""Classification data sets of torchvision.datasets, by the name of the class."""

import difflib
import inspect
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import EpsImagePlugin

from tlsweep.data.items import ArrayItems, DatasetItems, Found, Pixels
from tlsweep.data.samples import as_image
from tlsweep.data.task import Indices
from tlsweep.errors import DataError
from tlsweep.lean_torchvision import import_torchvision
from tlsweep.spec import TorchvisionData
from tlsweep.text import in_words, one_line, shortened

_SPLITS = {"train": ("train", "trainval"), "val": ("val", "valid"), "test": ("test",)}
"""What torchvision calls the splits, in order of preference."""


def find_torchvision(data: TorchvisionData) -> Found:
    """The data sets of all splits that the class has; arrays where it keeps its images in arrays (MNIST, CIFAR, …).

    Raises:
        DataError: no such class, files that are missing, or samples that are not (image, whole number).
    """
    # torchvision opens files by Pillow's guess of their format, and for an EPS called x.jpg Pillow calls Ghostscript.
    EpsImagePlugin.gs_binary = False
    parts = _parts(data)
    # Opening files is safe in threads; FakeData draws its samples from torch's global generator.
    threads = not any(isinstance(part, _datasets().FakeData) for part in parts.values())
    items = DatasetItems(parts, f"torchvision {data.dataset}", thread_safe=threads, published=True)
    counts = {split: len(part) for split, part in parts.items()}
    if not counts["train"]:
        raise DataError(f"data.dataset '{data.dataset}' under '{data.root}' is empty; look at data.root")
    classes = getattr(parts["train"], "classes", None) or getattr(parts["train"], "categories", None)
    named = isinstance(classes, list | tuple) and all(isinstance(name, str) for name in classes)
    return Found(_as_arrays(parts) or items, counts, tuple(classes) if named and classes else None)


def _parts(data: TorchvisionData) -> dict[str, Any]:
    """One data set for each split that the class has, by the look of its constructor."""
    kind = _kind(data.dataset)
    parameters = inspect.signature(kind).parameters
    needed = [
        name
        for name, parameter in parameters.items()
        if parameter.default is parameter.empty
        and parameter.kind is parameter.POSITIONAL_OR_KEYWORD
        and name not in ("root", "split")
    ]
    if needed:
        raise DataError(
            f"data.dataset '{data.dataset}' takes {', '.join(needed)}, which a spec cannot give; make the data set in "
            "a function of your own (data.source: python)"
        )
    given = {"root": os.path.expanduser(data.root), "download": data.download}
    arguments = {name: value for name, value in given.items() if name in parameters}
    if "train" in parameters:
        options: dict[str, list[Any]] = {"train": [True], "test": [False]}
    elif "split" in parameters:
        options = {split: list(names) for split, names in _SPLITS.items()}
    else:
        return {"train": _make(kind, data, arguments)}
    argument = "train" if "train" in parameters else "split"
    made = {
        split: next((images for value in values if (images := _make(kind, data, arguments | {argument: value}))), None)
        for split, values in options.items()
    }
    if made["train"] is None:
        raise DataError(
            f"data.dataset '{data.dataset}' has no split called train; make the data set in a function of your own "
            "(data.source: python)"
        )
    return {split: part for split, part in made.items() if part is not None}


def _kind(name: str) -> type[Any]:
    datasets = _datasets()
    known = {key: value for key, value in vars(datasets).items() if key in datasets.__all__ and inspect.isclass(value)}
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
        hint = f"did you mean '{near[0]}'?" if near else "its page in torchvision's documentation lists them"
        raise DataError(f"data.dataset '{name}' is not a class of torchvision.datasets; {hint}")
    return known[name]


def _make(kind: type[Any], data: TorchvisionData, arguments: Mapping[str, Any]) -> Any:
    """Make a data set; None where the class has no such split (torchvision checks that before it looks for files)."""
    try:
        return kind(**arguments)
    except (RuntimeError, OSError, ValueError, ImportError) as error:
        # By its words: what torchvision raises for files that it cannot use is a ValueError too (datasets/utils.py,
        # `verify_str_arg`).
        if isinstance(error, ValueError) and str(error).startswith("Unknown value"):
            return None
        way_out = "put them there" if data.download else "set data.download: true"
        said = shortened(" ".join(in_words(error).split()), 200)  # of a download, several lines
        raise DataError(
            f"data.dataset '{data.dataset}': its files under '{one_line(data.root)}' cannot be used ({said}); "
            f"{way_out}, or name their folder with data.root"
        ) from error


def _as_arrays(parts: Mapping[str, Any]) -> ArrayItems | None:
    """All images of all parts in one array, where they have `data` arrays that agree with their own samples."""
    arrays = [_array_of(part) for part in parts.values()]
    found = [array for array in arrays if array is not None]
    if len(found) < len(arrays) or len({images.shape[1:] for images, _ in found}) > 1:
        return None
    return ArrayItems(np.concatenate([images for images, _ in found]), np.concatenate([labels for _, labels in found]))


def _array_of(part: Any) -> tuple[Pixels, Indices] | None:
    targets = getattr(part, "targets", getattr(part, "labels", None))
    if not hasattr(part, "data") or targets is None:
        return None
    images, labels = np.asarray(part.data), np.asarray(targets)
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or labels.shape != (len(part),):
        return None
    # (N, H, W), (N, H, W, C), or (N, C, H, W) as in SVHN and STL10: a sample tells which.
    layouts = [images[..., None]] if images.ndim == 3 else [images, images.transpose(0, 2, 3, 1)]
    for layout in layouts:
        if len(layout) == len(part) and all(_agrees(layout[at], labels[at], part[at]) for at in (0, len(part) - 1)):
            return layout, labels.astype(np.int64)
    return None


def _agrees(image: Pixels, label: Any, sample: Any) -> bool:
    other = np.asarray(as_image(sample[0]))
    return np.array_equal(image, other.reshape(*other.shape[:2], -1)) and int(label) == int(sample[1])


def _datasets() -> Any:
    import_torchvision()
    from torchvision import datasets

    return datasets
