"""The same picture in two splits or under two classes: good results that mean nothing.

Equal pictures are found by the sums that each one has already, then told by a digest of their pixels; pictures that are
nearly the same by their difference hashes, then told by how their thumbnails correlate.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tlsweep.data.findings import Some
from tlsweep.data.hashing import SMALLEST_SIDE, Hashes, Pairs, near_pairs, shrunk
from tlsweep.text import one_line

if TYPE_CHECKING:
    from tlsweep.data.decode import Survey
    from tlsweep.data.items import Items
    from tlsweep.data.task import Task

Indices = npt.NDArray[np.int64]

_CORRELATION = 0.97
"""How alike thumbnails must be. 99 photographs of ants and bees have 0.974 or more after they were saved again at
quality 30, at half the size, or brighter by 30 %; of the 78,606 pairs of different ones none is even as near by its
hash."""
_PAIRS_LOOKED_AT = 20_000
_NAMED = 3


@dataclass(frozen=True)
class Duplicates:
    """Images that are there more than once."""

    across_splits: Some = field(default=Some())
    """Images of validation and test whose picture is in another split before them, pixel for pixel."""
    across_classes: Some = field(default=Some())
    """Images whose picture is under another class as well, pixel for pixel."""
    near: Some = field(default=Some())
    """Images of validation and test that are nearly the same as one in a split before them, without equal ones."""
    near_across_classes: Some = field(default=Some())
    """Images that are nearly the same as one under another class, without equal ones."""
    in_source: int = 0
    """Images of validation and test that are, at least nearly, among the images of the source task."""
    dropped: int = 0
    """Training images that were left out for it (`data.on_duplicate: drop`)."""

    def in_words(self) -> tuple[str, ...]:
        """What should be known, a line each."""
        dropped = f"; dropped from training: {self.dropped:,}" if self.dropped else ""
        texts = (
            (self.across_splits, "in val or test and in a split before it, pixel for pixel"),
            (self.across_classes, "under two classes, pixel for pixel"),
            (self.near, "in val or test nearly the same as in a split before it"),
            (self.near_across_classes, "nearly the same under another class"),
        )
        found = [f"duplicates: {copies.in_words(text)}" for copies, text in texts if copies.count]
        if self.in_source:
            found.append(f"duplicates: in val or test and among the source task's images: {self.in_source:,}")
        return tuple([f"{found[0]}{dropped}", *found[1:]] if found else [])

    def counts(self) -> dict[str, int]:
        """The counts by kind, for environment.json."""
        kinds = ("across_splits", "across_classes", "near", "near_across_classes")
        return {kind: getattr(self, kind).count for kind in kinds} | {
            "in_source": self.in_source,
            "dropped": self.dropped,
        }


def same_pictures(images: Any, survey: "Survey") -> Indices:
    """A number for each image, the same for all with the same pixels: shape (N,). Bad images have numbers of their own.

    Args:
        images: The pixels, as in `Task`.
        survey: What is known of these images.
    """
    pictures = np.arange(len(survey.labels))
    sums = _sums(survey.moments, survey.hashes)
    good = np.flatnonzero(survey.labels >= 0)
    _, inverse, members = np.unique(sums[good], return_inverse=True, return_counts=True)
    first: dict[bytes, int] = {}
    for index in good[members[inverse] > 1].tolist():
        pictures[index] = first.setdefault(sums[index].tobytes() + _digest(images, index), index)
    return pictures


def _sums(moments: Indices, hashes: Hashes) -> Hashes:
    """What equal pictures have in common, and few others."""
    values = moments.reshape(len(moments), -1).view(np.uint64)
    # Random odd factors: two rows that differ have the same sum once in 2^63 times.
    factors = np.random.default_rng(0).integers(0, 2**63, values.shape[1], dtype=np.uint64) | np.uint64(1)
    sums: Hashes = (values * factors).sum(axis=1, dtype=np.uint64)
    return sums ^ hashes


def _digest(images: Any, index: int) -> bytes:
    """Digest an image's pixels. Streamed photographs would be decoded again: there the sums are digest enough."""
    if not isinstance(images, np.ndarray):
        return b""
    return hashlib.blake2b(np.ascontiguousarray(images[index]).data, digest_size=16).digest()


def without_copies(train: Indices, others: Indices, pictures: Indices, labels: Indices) -> Indices:
    """Leave out of `train` pictures that are in `others`, and all that are under two classes: who is right?"""
    rows = np.unique(np.stack([pictures[train], labels[train]], axis=1), axis=0)[:, 0]
    named_twice = rows[1:][rows[1:] == rows[:-1]]
    return train[~np.isin(pictures[train], np.concatenate([pictures[others], named_twice]))]


def find_duplicates(
    items: "Items", images: Any, survey: "Survey", splits: Mapping[str, Indices], pictures: Indices
) -> Duplicates:
    """Count what is in two splits, or under two classes.

    Args:
        items: Give the names.
        images, survey: What decoding gave.
        splits: `train`, `val`, `test`; others count as they come.
        pictures: The numbers that `same_pictures` gives.
    """
    used = np.concatenate(list(splits.values()))
    rank = np.repeat(np.arange(len(splits)), [len(indices) for indices in splits.values()])
    labels = survey.labels[used]
    _, same = np.unique(pictures[used], return_inverse=True)
    earliest = np.full(same.max() + 1, len(splits))
    # `earliest[same] = …` would keep the last of equal indices, not the least value (numpy.ufunc.at).
    np.minimum.at(earliest, same, rank)
    in_two = rank > earliest[same]
    in_classes = _least(same, labels) != -_least(same, -labels)
    near_split, near_class = _near(images, survey, used, rank, pictures)
    return Duplicates(
        across_splits=_some(items, used, in_two, pictures),
        across_classes=_some(items, used, in_classes, pictures),
        near=_some(items, used, near_split & ~in_two),
        near_across_classes=_some(items, used, near_class & ~in_classes),
    )


def _least(groups: Indices, values: Indices) -> Indices:
    """Find for each member the least value in its group."""
    least = np.full(groups.max() + 1, np.iinfo(np.int64).max)
    np.minimum.at(least, groups, values)
    return least[groups]


def _near(
    images: Any, survey: "Survey", used: Indices, rank: Indices, pictures: Indices
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Tell for each of `used` whether it is nearly one of an earlier split, and nearly one of another class."""
    in_split, in_class = np.zeros(len(used), bool), np.zeros(len(used), bool)
    if images.shape[1] < SMALLEST_SIDE:
        return in_split, in_class
    labels, hashes = survey.labels[used], survey.hashes[used]
    # Frames of one film have one hash: of each hash, split and class one image stands for all.
    keys = np.stack([hashes.view(np.int64), rank, labels], axis=1)
    _, chosen, inverse = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    pairs = chosen[near_pairs(hashes[chosen])]
    left, right = pairs.T
    worth = (rank[left] != rank[right]) | (labels[left] != labels[right])
    worth &= pictures[used[left]] != pictures[used[right]]
    pairs = pairs[worth][:_PAIRS_LOOKED_AT]
    left, right = pairs[look_alike(images, images, used[pairs])].T
    in_split[np.where(rank[left] > rank[right], left, right)[rank[left] != rank[right]]] = True
    in_class[np.concatenate([left, right])[np.tile(labels[left] != labels[right], 2)]] = True
    stands = chosen[inverse.reshape(-1)]
    return in_split[stands], in_class[stands]


def count_in_source(source: "Task", target: "Task") -> int:
    """Images of the target's validation and test that the source task has too, equal or nearly so."""
    held = np.concatenate([target.splits["val"], target.splits["test"]])
    found = np.zeros(len(held), bool)
    if source.images.shape[1:] == target.images.shape[1:]:
        found |= _equal_in(source, target, held)
    if min(source.images.shape[1], target.images.shape[1]) >= SMALLEST_SIDE:
        pairs = near_pairs(np.concatenate([source.hashes, target.hashes[held]])) - [0, len(source.hashes)]
        pairs = pairs[(pairs[:, 0] < len(source.hashes)) & (pairs[:, 1] >= 0)][:_PAIRS_LOOKED_AT]
        alike = look_alike(source.images, target.images, np.stack([pairs[:, 0], held[pairs[:, 1]]], axis=1))
        found[pairs[alike, 1]] = True
    return int(found.sum())


def _equal_in(source: "Task", target: "Task", held: Indices) -> npt.NDArray[np.bool_]:
    """Tell for each of `held` whether the source has the same pixels."""
    theirs, ours = _sums(source.moments, source.hashes), _sums(target.moments, target.hashes)[held]
    known = {(int(theirs[at]), _digest(source.images, at)) for at in np.flatnonzero(np.isin(theirs, ours)).tolist()}
    maybe = np.isin(ours, theirs)
    return np.array(
        [candidate and (int(own), _digest(target.images, at)) in known
         for candidate, own, at in zip(maybe, ours, held.tolist(), strict=True)],
        bool,
    )  # fmt: skip


def look_alike(lefts: Any, rights: Any, pairs: Pairs) -> npt.NDArray[np.bool_]:
    """Whether the thumbnails of each pair correlate: indices (M, 2) into `lefts` and `rights`."""
    return np.array([_correlation(_load(lefts, a), _load(rights, b)) >= _CORRELATION for a, b in pairs.tolist()], bool)


def _load(images: Any, index: int) -> Any:
    image = images[index : index + 1] if isinstance(images, np.ndarray) else images.load(np.array([index]))
    return shrunk(image, 32, 32).ravel()


def _correlation(left: Any, right: Any) -> float:
    left, right = left - left.mean(), right - right.mean()
    return float(left @ right / max(np.sqrt((left @ left) * (right @ right)), 1e-6))


def _some(items: "Items", used: Indices, which: npt.NDArray[np.bool_], pictures: Indices | None = None) -> Some:
    """How many, and the names of the first; where the pictures are given, each with its copy."""
    indices: Sequence[int] = used[which].tolist()
    return Some(len(indices), tuple(_name(items, index, used, pictures) for index in indices[:_NAMED]))


def _name(items: "Items", index: int, used: Indices, pictures: Indices | None) -> str:
    name = one_line(items.name(index))
    if pictures is None:
        return name
    copy = next(other for other in used[pictures[used] == pictures[index]].tolist() if other != index)
    return f"{name} = {one_line(items.name(copy))}"
