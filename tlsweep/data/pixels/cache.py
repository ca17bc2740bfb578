"""Decoded images on disk: decoded once a machine, memory-mapped by everyone after that.

An entry is a folder that appears whole or not at all: `survey.npz`, and `images.npy` unless the set is streamed.
"""

import errno
import hashlib
import math
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
from tlsweep.data.items import Pixels
from tlsweep.data.pixels.streamed import Streamed
from tlsweep.errors import DataError, ResultsError
from tlsweep.files import NoRoomError, require_room

_VERSION = 3
"""Raised whenever decoding gives other pixels than before, so that older entries are not used."""
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What a system says that has no room for a file: also where the disk has some, and the user may not take it."""


@dataclass(frozen=True)
class Decoded:
    """Decoded images and what is known of them."""

    images: Any
    """uint8 array (N, side, side, C), memory-mapped; `Mapped` or `Streamed` where it is larger than memory allows."""
    survey: Survey
    notes: tuple[str, ...] = ()
    """What the user should know of where they are kept, a line each."""


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


def entry_of(source: Streamed, cache: Path, *, streamed: bool) -> Path:
    """The folder in `cache` for what decoding `source` gives."""
    _, side, _, channels = source.shape
    rendering, form = source.rendering, "streamed" if streamed else "stored"
    key = f"{_VERSION} {source.items.key} {side} {channels} {form} {rendering.fit} {rendering.background}"
    if rendering.interpolation != "bilinear":  # which was the only one, of entries that are there
        key += f" {rendering.interpolation}"
    return cache / "images" / hashlib.sha256(key.encode()).hexdigest()[:32]


def decode_cached(
    source: Streamed,
    *,
    streamed: bool,
    cache: Path,
    large: bool = False,
    digest: str | None = None,
    progress: Progress | None = None,
) -> Decoded:
    """Decode `source`, or read what was decoded before; of several processes one works and the others wait.

    Args:
        source: the images.
        streamed: keep no pixels.
        cache: the folder of all entries.
        large: the pixels may be more than there is room for; they survive a crash of the machine.
        digest: what the survey must have, where another machine has made one.
        progress: called with (done, total).

    Raises:
        NoRoomError: the pixels are `large`, and the disk has no room for them; nothing was decoded.
        DataError: the cache cannot be written, `source` is no labelled images, or has another digest.
    """
    entry = entry_of(source, cache, streamed=streamed)
    with _disk_errors(entry.parent):
        entry.parent.mkdir(parents=True, exist_ok=True)
        # By flock(2), which the kernel takes back from a process that dies: nobody has to clear locks away.
        lock = FileLock(entry.with_suffix(".lock"))
        lock.acquire()
    try:
        decoded = read_entry(entry, source, streamed=streamed)
        if decoded is None:
            _clear(entry)
            _build(entry, source, streamed, large, digest, progress)
            decoded = read_entry(entry, source, streamed=streamed)
    finally:
        lock.release()
    if decoded is None:
        raise DataError(f"decoded images in '{entry}' do not read back; delete that folder and check the disk")
    return decoded


def read_entry(entry: Path, source: Streamed, *, streamed: bool = False) -> Decoded | None:
    """Read an entry; None where it is missing or damaged."""
    shape = source.shape
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
            return Decoded(replace(source, rendering=replace(source.rendering, bits=survey.bits)), survey)
        images = open_pixels(entry)
    except Exception:  # a damaged archive raises nearly everything: BadZipFile, ValueError, EOFError, KeyError, …
        return None
    whole = images.shape == shape and images.dtype == np.uint8 and len(survey.labels) == len(survey.moments) == shape[0]
    # A plain array, because Ray and pickle copy the subclass `memmap` but not its base.
    return Decoded(np.asarray(images), survey) if whole else None


def open_pixels(entry: Path) -> Pixels:
    """Map the pixels of an entry.

    Raises:
        OSError, ValueError: there are none, or they are cut short.
    """
    images: Pixels = np.load(entry / "images.npy", mmap_mode="r", allow_pickle=False)
    return images


def _clear(entry: Path) -> None:
    """Remove what processes left behind that were killed while they built: gigabytes, of which nobody would know."""
    for work in entry.parent.glob("*.*/"):
        name = work.name.partition(".")[0]
        if name == entry.name:  # whose lock this process has
            shutil.rmtree(work, ignore_errors=True)
            continue
        try:
            with FileLock(work.with_name(name).with_suffix(".lock"), timeout=0):
                shutil.rmtree(work, ignore_errors=True)
        except OSError:  # among them filelock.Timeout: somebody is at work there
            continue


def _build(
    entry: Path, source: Streamed, streamed: bool, large: bool, digest: str | None, progress: Progress | None
) -> None:
    _, side, _, channels = source.shape
    with _disk_errors(entry.parent):
        # Beside the entry, as a rename is one moment only within a file system (rename(2)).
        work = Path(tempfile.mkdtemp(prefix=f"{entry.name}.", dir=entry.parent))
    try:
        into = None if streamed else _allocate(work / "images.npy", source.shape, large)
        survey = decode_all(source.items, side, channels, source.rendering, into=into, progress=progress)
        if digest is not None and survey.digest != digest:
            raise DataError("the images here are not those that the sweep began with")
        with _disk_errors(entry.parent):
            _save(work / "survey.npz", survey)
            if large and isinstance(into, np.memmap):
                into.flush()  # after a crash of the machine the new name must not have zeros behind it (msync(2))
            # A folder cannot be renamed over one that holds files (rename(2), ENOTEMPTY); the lock keeps others away
            # meanwhile.
            shutil.rmtree(entry, ignore_errors=True)
            os.replace(work, entry)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _save(path: Path, survey: Survey) -> None:
    np.savez(
        path,
        labels=survey.labels,
        moments=survey.moments,
        bad=np.asarray(survey.bad, dtype=np.str_),
        digest=np.asarray(survey.digest),
        sizes=survey.sizes,
        bits=np.asarray(survey.bits),
        brightest=survey.brightest,
        hashes=survey.hashes,
    )


def _allocate(path: Path, shape: tuple[int, int, int, int], large: bool) -> Pixels:
    """Make an array file. Its blocks are reserved, because writing to a memory map on a full disk ends the process."""
    folder, what = path.parent.parent, f"{shape[0]:,} decoded images"
    with _disk_errors(folder):
        if large:
            require_room(folder, math.prod(shape), what)
        try:
            array = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
            if hasattr(os, "posix_fallocate"):
                with open(path, "r+b") as file:
                    os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
        except OSError as error:
            if large and error.errno in _FULL:
                raise NoRoomError(f"{what} cannot be kept in '{folder}' ({error})") from error
            raise
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
