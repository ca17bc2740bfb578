"""Decoding: every image once, into a square of uint8 pixels."""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt

from tlsweep.data.depth import FULL_DEPTH, depth_in_use
from tlsweep.data.hashing import difference_hashes
from tlsweep.data.image_files import odd_metadata
from tlsweep.data.items import Items, Pixels
from tlsweep.data.moments import moments_of
from tlsweep.data.rendering import Rendering, render
from tlsweep.errors import DataError
from tlsweep.text import one_line

if TYPE_CHECKING:
    from PIL.Image import Image

Progress = Callable[[int, int], None]
T = TypeVar("T")
_CHUNK = 32
_PLAIN = Rendering()


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
    sizes: npt.NDArray[np.int64]
    """Shape (N, 2): width and height of each upright image, or what a quick decoding left of them; 0 of bad ones."""
    bits: int
    """Bits that images of more than 8 bits a channel use (`Rendering.bits`)."""
    brightest: Pixels
    """Shape (N,): the highest value of each image's pixels; 0 of bad ones."""
    hashes: npt.NDArray[np.uint64]
    """Shape (N,): of each image, for `tlsweep.data.duplicates`."""


@dataclass(frozen=True)
class _Chunk:
    labels: list[int]
    moments: npt.NDArray[np.int64]
    bad: list[str]
    digest: bytes
    sizes: npt.NDArray[np.int64]
    bits: int
    """The depth of its brightest image of more than 8 bits a channel; 0 where it has none."""
    brightest: Pixels
    hashes: npt.NDArray[np.uint64]


def to_square(image: "Image", side: int, channels: int, rendering: Rendering = _PLAIN) -> Pixels:
    """Render `image`, upright, as a square of pixels: shape (side, side, channels). `image` itself is used up.

    Raises:
        Exception: whatever Pillow raises where the image does not decode; OSError for most.
    """
    return render(image, side, channels, rendering).pixels


def decode_all(
    items: Items,
    side: int,
    channels: int,
    rendering: Rendering = _PLAIN,
    *,
    into: Pixels | None = None,
    progress: Progress | None = None,
) -> Survey:
    """Decode every item, into the array `into` (N, side, side, channels) if given.

    Images of more than 8 bits a channel are decoded again where the set turns out to use less than all 16.

    Raises:
        DataError: an item that is no pair of image and label.
    """
    with odd_metadata():
        survey, bits = _decode_pass(items, side, channels, replace(rendering, bits=FULL_DEPTH), into, progress)
        if bits and depth_in_use(bits) < FULL_DEPTH:
            rendering = replace(rendering, bits=depth_in_use(bits))
            survey, _ = _decode_pass(items, side, channels, rendering, into, progress)
    return survey


def decode_some(
    items: Items, indices: Sequence[int], side: int, channels: int, rendering: Rendering
) -> list[Pixels | str]:
    """Decode some items as another set was, whose depth is known; for each its pixels, or why it does not decode."""

    def decode(index: int) -> Pixels | str:
        try:
            with items.open(index)[0] as image:
                return to_square(image, side, channels, rendering)
        except Exception as error:  # as in `_decode_chunk`
            return one_line(_reason(error))

    with odd_metadata():
        return list(in_threads(decode, indices, threads=_cores()))


def _decode_pass(
    items: Items,
    side: int,
    channels: int,
    rendering: Rendering,
    into: Pixels | None,
    progress: Progress | None,
) -> tuple[Survey, int]:
    """Every item once; and the bits that the brightest image of more than 8 bits a channel takes, 0 without any."""

    def decode(start: int) -> _Chunk:
        indices = range(start, min(start + _CHUNK, len(items)))
        return _decode_chunk(items, indices, side, channels, rendering, into)

    labels: list[int] = []
    chunks: list[_Chunk] = []
    digest = hashlib.sha256(f"{len(items)} {side} {channels}".encode())
    for chunk in in_threads(decode, range(0, len(items), _CHUNK), threads=_cores() if items.thread_safe else 1):
        labels += chunk.labels
        chunks.append(chunk)
        digest.update(chunk.digest)
        if progress:
            progress(len(labels), len(items))
    survey = Survey(
        labels=np.asarray(labels, np.int64),
        moments=np.concatenate([chunk.moments for chunk in chunks]),
        bad=tuple(line for chunk in chunks for line in chunk.bad),
        digest=digest.hexdigest(),
        sizes=np.concatenate([chunk.sizes for chunk in chunks]),
        bits=rendering.bits,
        brightest=np.concatenate([chunk.brightest for chunk in chunks]),
        hashes=np.concatenate([chunk.hashes for chunk in chunks]),
    )
    return survey, max(chunk.bits for chunk in chunks)


def _decode_chunk(
    items: Items, indices: range, side: int, channels: int, rendering: Rendering, into: Pixels | None
) -> _Chunk:
    pixels = np.zeros((len(indices), side, side, channels), np.uint8)
    sizes = np.zeros((len(indices), 2), np.int64)
    labels, bad = [-1] * len(indices), []
    bits = 0
    for at, index in enumerate(indices):
        try:
            image, label = items.open(index)
            with image:
                rendered = render(image, side, channels, rendering)
        except DataError:
            raise
        except Exception as error:  # Pillow's decoders raise nearly everything on damaged files
            if not items.collects_errors:
                raise
            bad.append(f"{one_line(items.name(index))}: {one_line(_reason(error))}")
            continue
        pixels[at], sizes[at] = rendered.pixels, rendered.size
        labels[at] = label
        bits = max(bits, rendered.bits)
    if into is not None:
        into[indices.start : indices.stop] = pixels
    digest = hashlib.sha256(pixels.data)
    digest.update(np.asarray(labels, np.int64).data)
    brightest = pixels.max(axis=(1, 2, 3))
    return _Chunk(labels, moments_of(pixels), bad, digest.digest(), sizes, bits, brightest, difference_hashes(pixels))


def _reason(error: Exception) -> str:
    """Say why, without the path, which the message has already."""
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return "not an image"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def in_threads(function: Callable[[int], T], arguments: Iterable[int], threads: int) -> Iterator[T]:
    """Threads, not processes: Pillow lets go of the interpreter while it decodes and resizes."""
    if threads == 1:
        yield from map(function, arguments)
        return
    with ThreadPoolExecutor(threads) as pool:
        # In their order, whichever is done first: the digest of the set depends on it.
        yield from pool.map(function, arguments)


def _cores() -> int:
    """Cores that this process may use (`os.cpu_count` ignores Slurm's and Docker's pinning)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
