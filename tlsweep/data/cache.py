"""Decoded images on disk: decoded once a machine, memory-mapped by everyone after that.

An entry is a folder that appears whole or not at all: `survey.npz`, and `images.npy` unless the set is streamed.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from tlsweep.data.decode import Progress, Survey, decode_all
from tlsweep.data.geometry import Geometry
from tlsweep.data.items import Items, Pixels
from tlsweep.data.rendering import Rendering
from tlsweep.data.streamed import Streamed
from tlsweep.errors import DataError, ResultsError

_VERSION = 3
"""Raised whenever decoding gives other pixels than before, so that older entries are not used."""


@dataclass(frozen=True)
class Decoded:
    """Decoded images and what is known of them."""

    images: Any
    """uint8 array (N, side, side, C), memory-mapped; or `Streamed`."""
    survey: Survey


def default_cache() -> Path:
    """TLSWEEP_CACHE, or the user's cache folder.

    Raises:
        ResultsError: there is neither.
    """
    from platformdirs import user_cache_path

    override = os.environ.get("TLSWEEP_CACHE")
    try:
        if override:
            return Path(os.path.expanduser(override))
        return user_cache_path("tlsweep")
    except RuntimeError:  # in a container with a user of its own: neither HOME nor a line in /etc/passwd
        raise ResultsError(
            "decoded images cannot be kept: neither HOME nor /etc/passwd names a home for this user; set HOME, or "
            "TLSWEEP_CACHE to a folder for them"
        ) from None


def decode_cached(
    items: Items,
    geometry: Geometry,
    rendering: Rendering,
    *,
    streamed: bool,
    cache: Path,
    progress: Progress | None = None,
) -> Decoded:
    """Decode `items`, or read what was decoded before; of several processes one works and the others wait.

    Raises:
        DataError: the cache cannot be written, or `items` are no labelled images.
    """
    side, channels = geometry.side, geometry.channels
    form = "streamed" if streamed else "stored"
    key = f"{_VERSION} {items.key} {side} {channels} {form} {rendering.fit} {rendering.background}"
    if rendering.interpolation != "bilinear":  # which was the only one, of entries that are there
        key += f" {rendering.interpolation}"
    entry = cache / "images" / hashlib.sha256(key.encode()).hexdigest()[:32]
    shape = (len(items), side, side, channels)
    with _disk_errors(entry.parent):
        entry.parent.mkdir(parents=True, exist_ok=True)
        # By flock(2), which the kernel takes back from a process that dies: nobody has to clear locks away.
        lock = FileLock(entry.with_suffix(".lock"))
        lock.acquire()
    try:
        decoded = _read(entry, items, shape, rendering, streamed)
        if decoded is None:
            _build(entry, items, shape, rendering, streamed, progress)
            decoded = _read(entry, items, shape, rendering, streamed)
    finally:
        lock.release()
    if decoded is None:
        raise DataError(f"decoded images in '{entry}' do not read back; delete that folder and check the disk")
    return decoded


def _read(
    entry: Path, items: Items, shape: tuple[int, int, int, int], rendering: Rendering, streamed: bool
) -> Decoded | None:
    """Read an entry; None where it is missing or damaged."""
    try:
        # Opened here, because np.load leaves a file that is no archive open.
        with open(entry / "survey.npz", "rb") as archive, np.load(archive, allow_pickle=False) as file:
            bad = tuple(str(line) for line in file["bad"])
            survey = Survey(
                labels=file["labels"],
                moments=file["moments"],
                bad=bad,
                digest=str(file["digest"]),
                sizes=file["sizes"],
                bits=int(file["bits"]),
                brightest=file["brightest"],
                hashes=file["hashes"],
            )
        if streamed:
            return Decoded(Streamed(items, shape, replace(rendering, bits=survey.bits)), survey)
        images: Pixels = np.load(entry / "images.npy", mmap_mode="r", allow_pickle=False)
    except Exception:  # a damaged archive raises nearly everything: BadZipFile, ValueError, EOFError, KeyError, …
        return None
    whole = images.shape == shape and images.dtype == np.uint8 and len(survey.labels) == len(survey.moments) == shape[0]
    # A plain array, because Ray and pickle copy the subclass `memmap` but not its base.
    return Decoded(np.asarray(images), survey) if whole else None


def _build(
    entry: Path,
    items: Items,
    shape: tuple[int, int, int, int],
    rendering: Rendering,
    streamed: bool,
    progress: Progress | None,
) -> None:
    with _disk_errors(entry.parent):
        # Beside the entry, as a rename is one moment only within a file system (rename(2)).
        work = Path(tempfile.mkdtemp(prefix=f"{entry.name}.", dir=entry.parent))
    try:
        into = None if streamed else _allocate(work / "images.npy", shape)
        survey = decode_all(items, shape[1], shape[3], rendering, into=into, progress=progress)
        with _disk_errors(entry.parent):
            np.savez(
                work / "survey.npz",
                labels=survey.labels,
                moments=survey.moments,
                bad=np.asarray(survey.bad, dtype=np.str_),
                digest=np.asarray(survey.digest),
                sizes=survey.sizes,
                bits=np.asarray(survey.bits),
                brightest=survey.brightest,
                hashes=survey.hashes,
            )
            # A folder cannot be renamed over one that holds files (rename(2), ENOTEMPTY); the lock keeps others away
            # meanwhile.
            shutil.rmtree(entry, ignore_errors=True)
            os.replace(work, entry)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _allocate(path: Path, shape: tuple[int, int, int, int]) -> Pixels:
    """A new array file. Its blocks are reserved, because writing to a memory map on a full disk ends the process."""
    with _disk_errors(path.parent.parent):
        array = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
        if hasattr(os, "posix_fallocate"):
            with open(path, "r+b") as file:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array


@contextmanager
def _disk_errors(folder: Path) -> Iterator[None]:
    """Says what a full or read-only disk means here; errors of decoding must not pass through it."""
    try:
        yield
    except OSError as error:
        raise DataError(
            f"cannot keep decoded images in '{folder}': {error}; make room there, or name another folder in the "
            "environment variable TLSWEEP_CACHE"
        ) from error
