"""The journal: every report and event, in order, kept safe before it counts. The log is the truth.

In a folder it is a file, and on disk before it has an effect; on object storage see journal_parts.py.
"""

import math
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from tlsweep.store.files import cannot_write
from tlsweep.store.journal_parts import read_objects
from tlsweep.store.lease import Lease
from tlsweep.store.lines import Record, encode, whole_lines
from tlsweep.store.object_journal import ObjectJournal
from tlsweep.store.objects import ObjectPath
from tlsweep.store.places import Place

__all__ = ["AnyJournal", "Journal", "Record", "is_finite", "open_journal", "read_journal"]


class Journal:
    """Append records to a file; each call returns when they are on disk (fsync).

    Opening a journal whose end is torn cuts it back to the last whole line.

    Raises:
        ResultsError: a line before the end is damaged, so that cutting there would lose others.
    """

    def __init__(self, path: Path) -> None:
        whole = sum(len(line) for line, _ in whole_lines(path.read_bytes(), path)) if path.exists() else 0
        self._path, self._size = path, whole
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        os.ftruncate(self._file, whole)

    def append(self, *records: Record) -> None:
        """Write `records`: after a crash they are all there, or none is.

        Raises:
            ResultsError: the disk does not take them; none of them is in the journal.
        """
        data = encode(records)
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

    def when_durable(self, action: Callable[[], None]) -> None:
        """Do what must not happen before all that was appended is safe: that is now."""
        action()

    def flush(self) -> None:
        """Everything appended is on disk already."""

    def close(self) -> None:
        """Release the file."""
        os.close(self._file)


AnyJournal = Journal | ObjectJournal


def open_journal(place: Place, lease: Lease | None, records: int) -> AnyJournal:
    """The journal of a sweep, to go on with.

    Args:
        place: where it lies.
        lease: on object storage, the right to write there.
        records: how many the caller has read.

    Raises:
        ResultsError: it is damaged before its end, or cannot be written.
    """
    return ObjectJournal(place, lease, records) if isinstance(place, ObjectPath) else Journal(place)


def read_journal(place: Place) -> Iterator[Record]:
    """The whole records, in order; may be called while the journal is being written.

    Raises:
        ResultsError: a line before the end is damaged.
    """
    content = b""
    if isinstance(place, ObjectPath):
        content = read_objects(place)
    elif place.exists():
        # Read at once: what a writer appends meanwhile must not look like whole lines behind a torn one.
        content = place.read_bytes()
    for _, records in whole_lines(content, place):
        yield from records


def is_finite(value: Any) -> bool:
    """Whether a metric is a number that can be compared: NaN, infinity and None are not."""
    return value is not None and math.isfinite(value)
