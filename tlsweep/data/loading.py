"""Makes a task from the `data:` section of a spec."""

import hashlib
import math
from collections.abc import Callable
from dataclasses import replace
from itertools import accumulate
from pathlib import Path

import numpy as np

from tlsweep.data.decode import Survey
from tlsweep.data.depth import FULL_DEPTH
from tlsweep.data.duplicates import Duplicates, find_duplicates, same_pictures
from tlsweep.data.findings import find_oddities
from tlsweep.data.folds import drop_copies, make_runs
from tlsweep.data.geometry import Geometry, choose_geometry
from tlsweep.data.hashing import difference_hashes
from tlsweep.data.items import ArrayItems, Found, Pixels
from tlsweep.data.moments import check_channels, moments_of, normalisation
from tlsweep.data.pixels.cache import Decoded, decode_cached, default_cache
from tlsweep.data.pixels.mapped import decode_large
from tlsweep.data.pixels.streamed import Streamed
from tlsweep.data.rendering import Rendering
from tlsweep.data.sources import find_images
from tlsweep.data.task import Indices, Run, Task
from tlsweep.errors import DataError
from tlsweep.spec import DataSpec, Normalisation
from tlsweep.text import one_line


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
    found = find_images(data)
    _check_before_decoding(found, data, seed)
    geometry = choose_geometry(found.items, data)
    check_channels(data.normalize, geometry.channels)
    decoded = _decode(found, geometry, data, cache or default_cache(), progress)
    survey = decoded.survey
    if survey.bad and not found.skip_bad:
        raise _bad_images(survey)
    given = _given_splits(found, survey.labels)
    present = _present_classes(survey.labels, given, found)
    # A bad image (-1) becomes label 0 here, and is in no split.
    labels = np.searchsorted(present, survey.labels).astype(np.int64)
    classes = tuple(map(one_line, _names(present, found.classes)))
    splits, runs = make_runs(labels, given, classes, data, seed, found.groups)
    pictures = same_pictures(decoded.images, survey)
    duplicates = find_duplicates(found.items, decoded.images, survey, splits, pictures)
    if data.on_duplicate == "stop":
        _stop_at(duplicates)
    if data.on_duplicate == "drop":
        before = len(splits["train"])
        splits, runs = drop_copies(splits, runs, pictures, labels, classes)
        duplicates = replace(duplicates, dropped=before - len(splits["train"]))
    on_disk = _names(present, found.folders or found.classes)
    mean, std = normalisation(data.normalize, survey.moments[splits["train"]], geometry.side**2)
    return Task(
        images=decoded.images,
        labels=labels,
        splits=splits,
        classes=classes,
        mean=mean,
        std=std,
        moments=survey.moments,
        normalize=data.normalize,
        image_size=geometry.image_size,
        augment=data.augment,
        fingerprint=_fingerprint(survey.digest, splits, runs, on_disk, geometry, data),
        skipped=survey.bad,
        set_aside=_set_aside(given, data),
        runs=runs,
        rendering=replace(_rendering(data), bits=survey.bits),
        findings=find_oddities(found.items, survey, geometry.side**2, data.fit),
        notes=(*found.notes, *decoded.notes),
        duplicates=duplicates,
        hashes=survey.hashes,
        pixels=survey.digest,
    )


def _set_aside(given: dict[str, Indices], data: DataSpec) -> tuple[str, ...]:
    """The splits that are made of images that were given for training."""
    made = ("test",) if data.folds else ("val", "test")
    return tuple(split for split in made if split not in given)


def _rendering(data: DataSpec) -> Rendering:
    # Without weights that say otherwise (tlsweep/models/resizing.py): those of a source task are made of nothing.
    interpolation = "bilinear" if data.interpolation == "auto" else data.interpolation
    return Rendering(data.fit, data.background, interpolation=interpolation)


def _check_before_decoding(found: Found, data: DataSpec, seed: int) -> None:
    """Refuse splits that cannot be made: the labels of files are known by now, and decoding takes minutes."""
    if isinstance(found.items, ArrayItems) or not hasattr(found.items, "labels"):
        return
    labels = np.asarray(found.items.labels, np.int64)
    given = _given_splits(found, labels)
    present = _present_classes(labels, given, found)
    classes = tuple(map(one_line, _names(present, found.classes)))
    make_runs(np.searchsorted(present, labels).astype(np.int64), given, classes, data, seed, found.groups)


def _decode(
    found: Found, geometry: Geometry, data: DataSpec, cache: Path, progress: Callable[[int, int], None] | None
) -> Decoded:
    items, side = found.items, geometry.side
    if isinstance(items, ArrayItems) and items.images.shape[1:] == (side, side, geometry.channels):
        images = np.ascontiguousarray(items.images)
        return Decoded(images, _survey_of(items, images))
    source = Streamed(items, (len(items), side, side, geometry.channels), _rendering(data))
    if math.prod(source.shape) > data.memory_limit:
        return decode_large(source, limit=data.disk_limit, cache=cache, progress=progress)
    return decode_cached(source, streamed=False, cache=cache, progress=progress)


def _survey_of(items: ArrayItems, images: Pixels) -> Survey:
    """Survey an array that is used as it is."""
    sizes = np.full((len(images), 2), images.shape[1], np.int64)
    return Survey(
        labels=items.labels,
        moments=moments_of(images),
        bad=(),
        digest=items.key,
        sizes=sizes,
        bits=FULL_DEPTH,
        brightest=images.max(axis=(1, 2, 3)),
        hashes=difference_hashes(images),
    )


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


def _present_classes(labels: Indices, given: dict[str, Indices], found: Found) -> Indices:
    """Labels of the source that have images, sorted. It may name classes that it has no images of (EMNIST)."""
    present = np.unique(labels[given["train"]])
    named = _named(labels, found)
    names = dict(zip(named.tolist(), _names(named, found.classes), strict=True))
    for split, indices in given.items():
        if unseen := np.setdiff1d(labels[indices], present).tolist():
            raise DataError(f"the split '{split}' has the class '{names[unseen[0]]}', which the training images lack")
    if found.skip_bad and found.classes and len(present) < len(found.classes):
        lost = int(np.setdiff1d(np.arange(len(found.classes)), present)[0])
        raise DataError(f"class '{found.classes[lost]}' has no training image that decodes; add some")
    if len(present) < 2:
        raise DataError(f"all images are of the class '{names[int(present[0])]}'; classifying takes at least two")
    return present


def _names(labels: Indices, classes: tuple[str, ...] | None) -> tuple[str, ...]:
    return tuple(classes[label] if classes else str(label) for label in labels.tolist())


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


def _stop_at(duplicates: Duplicates) -> None:
    if duplicates.across_splits.count or duplicates.across_classes.count:
        found = "\n  ".join(duplicates.in_words())
        raise DataError(
            "pictures are there more than once; remove their copies, or set data.on_duplicate to drop (which trains "
            f"without them) or warn\n  {found}"
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
    # What follows from the images or from the weights needs no mention; so the tasks of earlier versions are the same.
    if isinstance(data.normalize, Normalisation):
        total.update(f"{data.normalize}".encode())
    for name, indices in splits.items():
        total.update(name.encode())
        total.update(indices.data)
    for run in runs:
        total.update(f"run {run.fold} {run.repeat}".encode())
        total.update(run.train.data)
        total.update(run.val.data)
    return total.hexdigest()
