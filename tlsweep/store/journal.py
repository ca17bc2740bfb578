"""The journal: every report and event, in order, on disk before it has an effect. The log is the truth.

One record a line: eight hexadecimal digits of a CRC-32, a space, JSON. A line that was cut short, as by a kill while it
was written, fails the check and ends the journal.
"""

import json
import math
import os
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from tlsweep.errors import ResultsError

Record = dict[str, Any]
"""`type` is "report" or "event"; the other keys are columns of that table (store/schema.py)."""


def _encode(record: Record) -> bytes:
    body = json.dumps(record, separators=(",", ":"), default=_plain).encode()
    return b"%08x %b\n" % (zlib.crc32(body), body)


def _plain(value: Any) -> Any:
    """Numpy numbers as Python's."""
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"{value!r} cannot be written to the journal")


def _decode(line: bytes) -> Record | None:
    """The record of a line; None where the line is not whole."""
    if not line.endswith(b"\n") or line[8:9] != b" ":
        return None
    body = line[9:-1]
    if line[:8] != b"%08x" % zlib.crc32(body):
        return None
    record = json.loads(body)
    return record if isinstance(record, dict) else None


class Journal:
    """Append records; each call returns when they are on disk (fsync).

    Opening a journal whose end is torn cuts it back to the last whole record.
    """

    def __init__(self, path: Path) -> None:
        whole = sum(len(line) for line, _ in _lines(path)) if path.exists() else 0
        self._path, self._size = path, whole
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        os.ftruncate(self._file, whole)

    def append(self, *records: Record) -> None:
        """Write all `records`, or after a crash some of the first of them, never part of one.

        Raises:
            ResultsError: the disk does not take them; none of them is in the journal.
        """
        data = b"".join(map(_encode, records))
        try:
            self._write(data)
        except OSError as error:
            with suppress(OSError):  # what came after a torn line would never be read
                os.ftruncate(self._file, self._size)
            raise ResultsError(
                f"cannot write to '{self._path}': {error.strerror}; make room there and start the sweep again, "
                "everything until now is kept"
            ) from error
        self._size += len(data)

    def _write(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._file, data) :]
        os.fdatasync(self._file)

    def close(self) -> None:
        """Release the file."""
        os.close(self._file)


def _lines(path: Path) -> Iterator[tuple[bytes, Record]]:
    with path.open("rb") as file:
        for line in file:
            record = _decode(line)
            if record is None:
                return
            yield line, record


def read_journal(path: Path) -> Iterator[Record]:
    """The whole records, in order; may be called while the journal is being written."""
    if path.exists():
        for _, record in _lines(path):
            yield record


def is_finite(value: Any) -> bool:
    """Whether a metric is a number that can be compared: NaN, infinity and None are not."""
    return value is not None and math.isfinite(value)
