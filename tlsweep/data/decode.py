"""Decoding: every image once, into a square of uint8 pixels."""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tlsweep.data.items import Items, Pixels
from tlsweep.data.moments import moments_of
from tlsweep.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

Progress = Callable[[int, int], None]
_CHUNK = 32


@dataclass(frozen=True)
class Survey:
    """What is known of decoded images besides their pixels. N counts all items; bad ones have label -1."""

    labels: npt.NDArray[np.int64]
    """Shape (N,): as the source has them."""
    moments: npt.NDArray[np.int64]
    """Shape (N, 2, C): for each image and channel, the sum of the pixels and the sum of their squares."""
    bad: tuple[str, ...]
    """Name and reason of each image that does not decode."""
    digest: str
    """Hash of all pixels and labels."""


@dataclass(frozen=True)
class _Chunk:
    labels: list[int]
    moments: npt.NDArray[np.int64]
    bad: list[str]
    digest: bytes


def to_square(image: "Image", side: int, channels: int) -> Pixels:
    """The centre square of `image`, upright, resized: shape (side, side, channels). `image` itself is used up.

    Raises:
        Exception: whatever Pillow raises where the image does not decode; OSError for most.
    """
    from PIL import Image, ImageOps

    # A JPEG is decoded at 1/2, 1/4 or 1/8 where that leaves twice the side: much faster, and the rest is antialiased.
    image.draft(None, (2 * side, 2 * side))
    ImageOps.exif_transpose(image, in_place=True)
    plain = _plain(image, "L" if channels == 1 else "RGB")
    if plain.size != (side, side):
        width, height = plain.size
        short = min(width, height)
        left, top = (width - short) / 2, (height - short) / 2
        box = (left, top, left + short, top + short)
        plain = plain.resize((side, side), Image.Resampling.BILINEAR, box=box)
    return np.asarray(plain).reshape(side, side, channels)


def _plain(image: "Image", mode: str) -> "Image":
    from PIL import Image

    if image.mode == mode:
        image.load()
        return image
    if image.mode.startswith("I;16"):
        # Pillow would clip at 255.
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert(mode)
    if image.mode in ("I", "F"):
        raise ValueError(f"its pixels are 32-bit (mode {image.mode}), which have no fixed range")
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert(mode)


def decode_all(
    items: Items, side: int, channels: int, *, into: Pixels | None = None, progress: Progress | None = None
) -> Survey:
    """Decode every item, into the array `into` (N, side, side, channels) if given.

    Raises:
        DataError: an item that is no pair of image and label.
    """

    def decode(start: int) -> _Chunk:
        return _decode_chunk(items, range(start, min(start + _CHUNK, len(items))), side, channels, into)

    labels: list[int] = []
    bad: list[str] = []
    moments: list[npt.NDArray[np.int64]] = []
    digest = hashlib.sha256(f"{len(items)} {side} {channels}".encode())
    for chunk in _map(decode, range(0, len(items), _CHUNK), threads=_cores() if items.thread_safe else 1):
        labels += chunk.labels
        bad += chunk.bad
        moments.append(chunk.moments)
        digest.update(chunk.digest)
        if progress:
            progress(len(labels), len(items))
    return Survey(np.asarray(labels, np.int64), np.concatenate(moments), tuple(bad), digest.hexdigest())


def _decode_chunk(items: Items, indices: range, side: int, channels: int, into: Pixels | None) -> _Chunk:
    pixels = np.zeros((len(indices), side, side, channels), np.uint8)
    labels, bad = [-1] * len(indices), []
    for at, index in enumerate(indices):
        try:
            image, label = items.open(index)
            with image:
                pixels[at] = to_square(image, side, channels)
            labels[at] = label
        except DataError:
            raise
        except Exception as error:  # Pillow's decoders raise nearly everything on damaged files
            if not items.collects_errors:
                raise
            bad.append(f"{items.name(index)}: {_reason(error)}")
    if into is not None:
        into[indices.start : indices.stop] = pixels
    digest = hashlib.sha256(pixels.data)
    digest.update(np.asarray(labels, np.int64).data)
    return _Chunk(labels, moments_of(pixels), bad, digest.digest())


def _reason(error: Exception) -> str:
    """Without the path, which the message has already."""
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return "not an image"
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)


def _map(function: Callable[[int], _Chunk], arguments: Iterable[int], threads: int) -> Iterator[_Chunk]:
    """Threads, not processes: Pillow lets go of the interpreter while it decodes and resizes."""
    if threads == 1:
        yield from map(function, arguments)
        return
    with ThreadPoolExecutor(threads) as pool:
        yield from pool.map(function, arguments)


def _cores() -> int:
    """Cores that this process may use (`os.cpu_count` ignores Slurm's and Docker's pinning)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
