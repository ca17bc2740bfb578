"""One row of numbers for each image of a data set, on disk: filled as rows are needed, memory-mapped by everyone."""

import io
import os
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import numpy as np
import numpy.typing as npt
from filelock import FileLock

from tlsweep.data.task import Indices
from tlsweep.errors import ResultsError
from tlsweep.files import kept_in, require_room, write_whole

Array = npt.NDArray[np.float32]
Receive = Callable[[Indices, Array], None]
"""Takes rows and the indices of their images."""
Compute = Callable[[Indices, Receive], None]
"""Computes the rows of these images, and passes them on as they come."""

_ABSENT = -1
_SECONDS = 30.0
"""How often what has been computed is written down for good: so much is computed again after a kill."""


class Rows:
    """Rows in `<path>.npy`, of which those are there that have their checksum in `<path>.sums`.

    A row is written once and never moves, so that those who read may go on while others are added. Their order on disk
    is that of the images, whatever the splits: other seeds, folds and few labels of the same images find theirs.

    Args:
        path: without a suffix; its folder is made if it is missing.
        images: how many rows there are when all are.
        tell: says what was found damaged.
    """

    def __init__(self, path: Path, images: int, tell: Callable[[str], None] = lambda line: None) -> None:
        self._values, self._sums = path.with_suffix(".npy"), path.with_suffix(".sums")
        self._images, self._tell = images, tell

    def found(self, wanted: Indices) -> Array | None:
        """All rows, memory-mapped, if those that are wanted are there."""
        values, sums = self._open()
        if values is None or len(self._missing(values, sums, wanted)):
            return None
        # A plain array, because torch and pickle know no more of the subclass `memmap`.
        return np.asarray(values)

    def filled(self, wanted: Indices, compute: Compute) -> Array:
        """All rows, memory-mapped; of those that are wanted what is missing is computed. Of several processes one
        computes, the others wait for it.

        Raises:
            NoRoomError: they would take too much of the disk; nothing was computed but the first few.
            ResultsError: the folder cannot be written.
        """
        if (found := self.found(wanted)) is not None:
            return found
        with kept_in(self._values.parent, "features"):
            self._values.parent.mkdir(parents=True, exist_ok=True)
            # By flock(2), which the kernel takes back from a process that dies.
            lock = FileLock(self._values.with_suffix(".lock"))
            lock.acquire()
        try:
            values, sums = self._open()
            missing = wanted if values is None else self._missing(values, sums, wanted)
            self._tell_damage(values, sums, missing)
            if len(missing):
                writer = _Writer(self._values, self._sums, values, sums, len(missing))
                compute(missing, writer.write)
                writer.write_down()
                values, sums = self._open()
            if values is None or len(self._missing(values, sums, wanted)):
                raise ResultsError(f"features in '{self._values}' do not read back; check the disk")
            return np.asarray(values)
        finally:
            lock.release()

    def _open(self) -> tuple[Array | None, npt.NDArray[np.int64]]:
        """What is there of the rows and of their checksums."""
        none = np.full(self._images, _ABSENT, np.int64)
        try:
            values = np.load(self._values, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError):  # missing, no array, or cut short
            return None, none
        if values.dtype != np.float32 or values.ndim < 2 or len(values) != self._images:
            return None, none
        try:
            sums = np.load(io.BytesIO(self._sums.read_bytes()), allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return values, none
        whole = sums.dtype == np.int64 and sums.shape == (self._images,)
        return values, sums if whole else none

    def _missing(self, values: Array, sums: npt.NDArray[np.int64], wanted: Indices) -> Indices:
        """Those of the rows that are not there, or damaged. Each is looked at once in a process: 137 MB take 0.1 s."""
        key = (str(self._values), os.stat(self._values).st_ino)
        sound = _sound.setdefault(key, np.zeros(self._images, bool))
        sound &= sums != _ABSENT  # a new file may have the number of one that was removed
        for row in wanted[~sound[wanted] & (sums[wanted] != _ABSENT)]:
            sound[row] = sums[row] == zlib.crc32(values[row])
        return wanted[~sound[wanted]]

    def _tell_damage(self, values: Array | None, sums: npt.NDArray[np.int64], missing: Indices) -> None:
        damaged = values is None and self._values.exists()
        if damaged or (sums[missing] != _ABSENT).any():
            self._tell(f"kept features are damaged, and computed again: '{self._values}'")


_sound: dict[tuple[str, int], npt.NDArray[np.bool_]] = {}
"""Which rows of each file have been compared with their checksums by this process."""


class _Writer:
    """Writes rows into their place in a file, under its lock."""

    def __init__(
        self, path: Path, sums_path: Path, values: Array | None, sums: npt.NDArray[np.int64], count: int
    ) -> None:
        self._path, self._sums_path = path, sums_path
        self._values, self._sums = values, sums.copy()
        self._count = count
        self._written_down = time.monotonic()

    def write(self, indices: Indices, rows: Array) -> None:
        """Write some; what is there already stays."""
        rows = np.ascontiguousarray(rows, np.float32)
        if self._values is None or self._values.shape[1:] != rows.shape[1:]:
            self._begin(rows)
        assert isinstance(self._values, np.memmap)
        offset, size = self._values.offset, rows[0].nbytes
        with kept_in(self._path.parent, "features"), open(self._path, "r+b", buffering=0) as file:
            for index, row in zip(indices.tolist(), rows, strict=True):
                # Not through the memory map: where the disk is full that ends the process.
                content = memoryview(row).cast("B")
                at = offset + index * size
                while content:
                    done = os.pwrite(file.fileno(), content, at)
                    content, at = content[done:], at + done
                self._sums[index] = zlib.crc32(row)
        if time.monotonic() - self._written_down > _SECONDS:
            self.write_down()

    def write_down(self) -> None:
        """Let the rows count that have been written."""
        content = io.BytesIO()
        np.save(content, self._sums, allow_pickle=False)
        with kept_in(self._path.parent, "features"):
            with open(self._path, "r+b") as file:
                os.fsync(file.fileno())  # a sum that survives a crash without its row would only call it damaged
            write_whole(self._sums_path, content.getvalue(), sync=True)
        self._written_down = time.monotonic()

    def _begin(self, rows: Array) -> None:
        """Make an empty file for all rows, sparse: only what is written takes room.

        Raises:
            NoRoomError: the rows would take too much.
        """
        folder = self._path.parent
        with kept_in(folder, "features"):
            require_room(folder, rows[0].nbytes * self._count, f"features of {self._count} images")
        temporary = self._path.with_name(f".{self._path.name}.{uuid4().hex}.tmp")
        shape = (len(self._sums), *rows.shape[1:])
        with kept_in(folder, "features"):
            try:
                np.lib.format.open_memmap(temporary, mode="w+", dtype=np.float32, shape=shape).flush()
                # A new file, as others may have mapped what was there before, which must stay as long as they do.
                self._sums_path.unlink(missing_ok=True)
                os.replace(temporary, self._path)
            finally:
                temporary.unlink(missing_ok=True)
        self._sums[:] = _ABSENT
        self._values = np.load(self._path, mmap_mode="r", allow_pickle=False)
