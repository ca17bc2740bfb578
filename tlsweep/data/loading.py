"""From the `data:` section of a spec to a task."""

import hashlib
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path

import numpy as np

from tlsweep.data.cache import Decoded, decode_cached, default_cache
from tlsweep.data.decode import Survey
from tlsweep.data.folds import make_runs
from tlsweep.data.geometry import Geometry, choose_geometry
from tlsweep.data.items import ArrayItems, Found
from tlsweep.data.moments import channel_statistics, moments_of
from tlsweep.data.task import Indices, Run, Task
from tlsweep.errors import DataError
from tlsweep.spec import DataSpec, DigitsData, FolderData, TorchvisionData


def load_task(
    data: DataSpec, seed: int, *, cache: Path | None = None, progress: Callable[[int, int], None] | None = None
) -> Task:
    """Find, decode (once a machine) and split the images of a spec.

    Args:
        data: the `data:` section.
        seed: decides the splits that the source does not give, and which few labels are kept.
        cache: folder for decoded images; default: TLSWEEP_CACHE, or the user's cache folder.
        progress: called with (done, total) while images are decoded.

    Raises:
        DataError: images or labels that cannot be trained on; the message tells how to mend it.
    """
    found = _find(data)
    geometry = choose_geometry(found.items, data)
    decoded = _decode(found, geometry, data, cache or default_cache(), progress)
    survey = decoded.survey
    if survey.bad and not found.skip_bad:
        raise _bad_images(survey)
    given = _given_splits(found, survey.labels)
    labels, classes = _number_classes(survey.labels, given, found)
    splits, runs = make_runs(labels, given, classes, data, seed)
    mean, std = channel_statistics(survey.moments[splits["train"]], geometry.side**2)
    return Task(
        images=decoded.images,
        labels=labels,
        splits=splits,
        classes=classes,
        mean=mean,
        std=std,
        moments=survey.moments,
        image_size=geometry.image_size,
        augment=data.augment,
        fingerprint=_fingerprint(survey.digest, splits, runs, classes, geometry, data),
        skipped=survey.bad,
        runs=runs,
    )


def _find(data: DataSpec) -> Found:
    if isinstance(data, DigitsData):
        from tlsweep.data.sources.digits import find_digits

        return find_digits(data.domain)
    if isinstance(data, FolderData):
        from tlsweep.data.sources.folder import find_folder

        return find_folder(data)
    if isinstance(data, TorchvisionData):
        from tlsweep.data.sources.torchvision_sets import find_torchvision

        return find_torchvision(data)
    from tlsweep.data.sources.python_function import find_python

    return find_python(data)


def _decode(
    found: Found, geometry: Geometry, data: DataSpec, cache: Path, progress: Callable[[int, int], None] | None
) -> Decoded:
    items, side = found.items, geometry.side
    if isinstance(items, ArrayItems) and items.images.shape[1:] == (side, side, geometry.channels):
        images = np.ascontiguousarray(items.images)
        return Decoded(images, Survey(items.labels, moments_of(images), (), items.key))
    streamed = len(items) * side * side * geometry.channels > data.memory_limit
    return decode_cached(items, geometry, streamed=streamed, cache=cache, progress=progress)


def _given_splits(found: Found, labels: Indices) -> dict[str, Indices]:
    """Indices of the images of each split of the source, without those that do not decode (label -1)."""
    ends = list(accumulate(found.counts.values()))
    given = {
        split: np.arange(end - count, end, dtype=np.int64)
        for (split, count), end in zip(found.counts.items(), ends, strict=True)
    }
    good = {split: indices[labels[indices] >= 0] for split, indices in given.items()}
    if empty := [split for split, indices in good.items() if not len(indices)]:
        raise DataError(f"the split '{empty[0]}' holds no images; add some or remove it")
    return good


def _number_classes(labels: Indices, given: dict[str, Indices], found: Found) -> tuple[Indices, tuple[str, ...]]:
    """Labels 0, 1, … without gaps, and their names. A source may name classes that it has no images of (EMNIST)."""
    present = np.unique(labels[given["train"]])
    names = {int(label): found.classes[label] if found.classes else str(label) for label in _named(labels, found)}
    for split, indices in given.items():
        if unseen := np.setdiff1d(labels[indices], present).tolist():
            raise DataError(f"the split '{split}' has the class '{names[unseen[0]]}', which the training images lack")
    if found.skip_bad and found.classes and len(present) < len(found.classes):
        lost = int(np.setdiff1d(np.arange(len(found.classes)), present)[0])
        raise DataError(f"class '{found.classes[lost]}' has no training image that decodes; add some")
    if len(present) < 2:
        raise DataError(f"all images are of the class '{names[int(present[0])]}'; classifying takes at least two")
    return np.searchsorted(present, labels).astype(np.int64), tuple(names[int(label)] for label in present)


def _named(labels: Indices, found: Found) -> Indices:
    """The labels that occur."""
    occurring = np.unique(labels[labels >= 0])
    if found.classes and occurring[-1] >= len(found.classes):
        raise DataError(
            f"label {occurring[-1]} has no name: {len(found.classes)} classes are named, and labels count from 0"
        )
    return occurring


def _bad_images(survey: Survey) -> DataError:
    shown = "\n  ".join(survey.bad[:10])
    more = f"\n  and {len(survey.bad) - 10} more" if len(survey.bad) > 10 else ""
    return DataError(
        f"{len(survey.bad)} of {len(survey.labels)} files are no images or do not decode; remove them, or set "
        f"data.on_bad_image: skip\n  {shown}{more}"
    )


def _fingerprint(
    digest: str,
    splits: dict[str, Indices],
    runs: tuple[Run, ...],
    classes: tuple[str, ...],
    geometry: Geometry,
    data: DataSpec,
) -> str:
    """Hash of content, splits and recipe."""
    total = hashlib.sha256(f"{digest} {classes} {geometry} {data.augment}".encode())
    for name, indices in splits.items():
        total.update(name.encode())
        total.update(indices.data)
    for run in runs:
        total.update(f"run {run.fold} {run.repeat}".encode())
        total.update(run.train.data)
        total.update(run.val.data)
    return total.hexdigest()
