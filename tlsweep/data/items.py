"""Labelled images that still have to be decoded: what every source hands over."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from tlsweep.data.samples import as_image, as_label, describe
from tlsweep.data.task import Indices
from tlsweep.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

Pixels = npt.NDArray[np.uint8]


class Items(Protocol):
    """A sequence of labelled images, opened one at a time."""

    @property
    def thread_safe(self) -> bool:
        """Whether `open` may run in several threads at once."""

    @property
    def collects_errors(self) -> bool:
        """Whether an exception of `open` means one bad image; otherwise it is the user's own and is not caught."""

    @property
    def key(self) -> str:
        """Names the content: what is decoded from items with the same key is the same."""

    def __len__(self) -> int: ...

    def name(self, index: int) -> str:
        """What a message calls the image."""

    def open(self, index: int) -> "tuple[Image, int]":
        """Image, to be closed and changed at will, and label; only the file's header need be read by now."""


@dataclass(frozen=True)
class Found:
    """What a source found: the items of the training split first, then those of the other splits that it has."""

    items: Items
    counts: Mapping[str, int]
    """Items of each split that the source gives, in their order; `train` is always there."""
    classes: tuple[str, ...] | None
    """Names of the labels 0, 1, …; None where the source names none."""
    skip_bad: bool = False
    """Leave out images that do not decode, instead of stopping."""
    notes: tuple[str, ...] = ()
    """What the user should know: folders that are not used, links that are not followed."""
    folders: tuple[str, ...] | None = None
    """The names on disk of classes that are folders, which the fingerprint is made of; else None."""
    groups: Indices | None = None
    """Shape (items,): the number of each item's group, which no split divides; None where each may be anywhere."""


@dataclass(frozen=True)
class ArrayItems:
    """Images of one size in an array: (N, H, W, C), uint8."""

    images: Pixels
    labels: Indices
    thread_safe: bool = field(default=True, init=False)
    collects_errors: bool = field(default=False, init=False)

    @cached_property
    def key(self) -> str:
        digest = hashlib.sha256(f"array {self.images.shape}".encode())
        digest.update(np.ascontiguousarray(self.images).data)
        digest.update(np.ascontiguousarray(self.labels).data)
        return digest.hexdigest()

    def __len__(self) -> int:
        return len(self.images)

    def name(self, index: int) -> str:
        return f"image {index}"

    def open(self, index: int) -> "tuple[Image, int]":
        return as_image(self.images[index]), int(self.labels[index])


@dataclass(frozen=True)
class DatasetItems:
    """Torch data sets of (PIL image or array, label), one after the other."""

    parts: Mapping[str, Sequence[Any]]
    origin: str
    """Names the data sets, in messages and in the key."""
    thread_safe: bool
    published: bool
    """The files are as somebody published them: they do not change, and may be damaged."""

    @property
    def collects_errors(self) -> bool:
        return self.published

    @cached_property
    def key(self) -> str:
        """A digest of labels and pixels: of 64 images, evenly spaced, which tell published sets apart, or else of
        all."""
        digest = hashlib.sha256(f"{self.origin} {[len(part) for part in self.parts.values()]}".encode())
        # A published set changes with its name alone; one of the user's may have another image anywhere.
        samples = min(64, len(self)) if self.published else len(self)
        for index in np.linspace(0, len(self) - 1, samples, dtype=int):
            try:
                image, label = self.open(int(index))
            except Exception:
                if not self.collects_errors:
                    raise
                continue  # decoding will report it
            digest.update(f"{index} {image.mode} {image.size} {label}".encode())
            digest.update(image.tobytes())
        return digest.hexdigest()

    def __len__(self) -> int:
        return sum(len(part) for part in self.parts.values())

    def _locate(self, index: int) -> tuple[str, int]:
        for split, part in self.parts.items():
            if index < len(part):
                return split, index
            index -= len(part)
        raise IndexError(index)

    def name(self, index: int) -> str:
        split, at = self._locate(index)
        return f"{split}[{at}]"

    def open(self, index: int) -> "tuple[Image, int]":
        split, at = self._locate(index)
        sample = self.parts[split][at]
        wanted = "tlsweep takes pairs (image, whole-number label)"
        if not isinstance(sample, tuple | list) or len(sample) != 2:
            raise DataError(f"{self.origin}: {split}[{at}] is {describe(sample)}; {wanted}")
        try:
            return as_image(sample[0]), as_label(sample[1])
        except DataError as error:
            raise DataError(f"{self.origin}: {split}[{at}]: {error}; {wanted}") from None
