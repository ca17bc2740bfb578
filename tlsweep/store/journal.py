"""The journal: every report and event, in order, on disk before it has an effect. The log is the truth.

A line is a transaction: eight hexadecimal digits of a CRC-32, a space, and JSON: one record or a list of them, such as
a report and what was decided on it. A line that was cut short, as by a kill while it was written, fails the check: its
records never were.
"""

import json
import math
import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from tlsweep.errors import ResultsError
from tlsweep.store.files import cannot_write

Record = dict[str, Any]
"""`type` is "report" or "event"; the other keys are columns of that table (store/schema.py)."""


def _encode(records: Sequence[Record]) -> bytes:
    body = json.dumps(records[0] if len(records) == 1 else records, separators=(",", ":"), default=_plain).encode()
    return b"%08x %b\n" % (zlib.crc32(body), body)


def _plain(value: Any) -> Any:
    """Numpy numbers as Python's."""
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"{value!r} cannot be written to the journal")


def _decode(line: bytes) -> list[Record] | None:
    """The records of a line; None where the line is not whole."""
    if not line.endswith(b"\n") or line[8:9] != b" ":
        return None
    body = line[9:-1]
    if line[:8] != b"%08x" % zlib.crc32(body):
        return None
    records = json.loads(body)
    return records if isinstance(records, list) else [records]


class Journal:
    """Append records; each call returns when they are on disk (fsync).

    Opening a journal whose end is torn cuts it back to the last whole line.

    Raises:
        ResultsError: a line before the end is damaged, so that cutting there would lose others.
    """

    def __init__(self, path: Path) -> None:
        whole = sum(len(line) for line, _ in _lines(path)) if path.exists() else 0
        self._path, self._size = path, whole
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        os.ftruncate(self._file, whole)

    def append(self, *records: Record) -> None:
        """Write `records`: after a crash they are all there, or none is.

        Raises:
            ResultsError: the disk does not take them; none of them is in the journal.
        """
        data = _encode(records)
        try:
            self._write(data)
        except OSError as error:
            with suppress(OSError):  # what came after a torn line would never be read
                os.ftruncate(self._file, self._size)
            raise cannot_write(self._path, error) from error
        self._size += len(data)

    def _write(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._file, data) :]
        os.fdatasync(self._file)

    def close(self) -> None:
        """Release the file."""
        os.close(self._file)


def _lines(path: Path) -> Iterator[tuple[bytes, list[Record]]]:
    # Read at once: what a writer appends meanwhile must not look like whole lines behind a torn one.
    lines = path.read_bytes().split(b"\n")[:-1]
    for number, line in enumerate(lines, 1):
        records = _decode(line + b"\n")
        if records is None:
            if any(_decode(later + b"\n") for later in lines[number:]):
                raise ResultsError(
                    f"'{path}' is damaged in line {number}, and whole lines follow; put a sound copy of it in its "
                    f"place, or give up what follows with: head -n {number - 1} {path.name} > sound.jsonl"
                )
            return
        yield line + b"\n", records


def read_journal(path: Path) -> Iterator[Record]:
    """The whole records, in order; may be called while the journal is being written.

    Raises:
        ResultsError: a line before the end is damaged.
    """
    if path.exists():
        for _, records in _lines(path):
            yield from records


def is_finite(value: Any) -> bool:
    """Whether a metric is a number that can be compared: NaN, infinity and None are not."""
    return value is not None and math.isfinite(value)
