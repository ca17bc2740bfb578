"""The journal: every report and event, in order, kept safe before it counts. The log is the truth.

In a folder it is a file, and on disk before it has an effect; on object storage see journal_parts.py.
"""

import io
import math
import os
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from tlsweep.errors import ResultsError
from tlsweep.files import open_own
from tlsweep.store.files import cannot_write
from tlsweep.store.journal_parts import read_objects
from tlsweep.store.lease import Lease
from tlsweep.store.lines import FIRST, Record, check_of, decode, encode, whole_lines
from tlsweep.store.locations import Location
from tlsweep.store.object_journal import ObjectJournal
from tlsweep.store.objects import ObjectPath
from tlsweep.store.records import check_record
from tlsweep.text import one_line

__all__ = ["LAUNCHES", "AnyJournal", "Journal", "Record", "is_finite", "open_journal", "read_events", "read_journal"]


LAUNCHES = ("launched", "resumed")
"""The kinds of events with which a launch begins."""


class Journal:
    """Append records to a file; each call returns when they are on disk (fsync).

    Opening a journal whose end is torn cuts it back to the last whole line.

    Raises:
        ResultsError: a line before the end is damaged, so that cutting there would lose others; or it cannot be
            written.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._size = path, 0
        self._last = FIRST
        try:
            self._file = open_own(path, os.O_RDWR | os.O_APPEND)
        except OSError as error:
            raise cannot_write(path, error) from error
        try:
            for line in whole_lines(_stored(path), path):
                self._size += len(line.content)
                self._last = line.check
            os.ftruncate(self._file, self._size)
        except BaseException:
            os.close(self._file)
            raise

    def append(self, *records: Record) -> None:
        """Write `records`: after a crash they are all there, or none is.

        Raises:
            ResultsError: the disk does not take them; none of them is in the journal.
        """
        data = encode(records, self._last)
        try:
            self._write(data)
        except OSError as error:
            with suppress(OSError):  # what came after a torn line would never be read
                os.ftruncate(self._file, self._size)
            raise cannot_write(self._path, error) from error
        self._size += len(data)
        self._last = check_of(data)

    def _write(self, data: bytes) -> None:
        while data:
            # write(2) may take less than it is given, as on a disk that is nearly full.
            data = data[os.write(self._file, data) :]
        # The size is written with it, as reading back needs it; only the times are not (man 2 fdatasync).
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


def open_journal(location: Location, lease: Lease | None, records: int) -> AnyJournal:
    """The journal of a sweep, to go on with.

    Args:
        location: the file, or the folder on object storage.
        lease: the right to write there, on object storage.
        records: how many the caller has read.

    Raises:
        ResultsError: it is damaged before its end, or cannot be written.
    """
    if isinstance(location, ObjectPath):
        return ObjectJournal(location, lease, records)
    return Journal(location)


def read_journal(location: Location) -> Iterator[Record]:
    """The whole records, in order; may be called while the journal is being written.

    Raises:
        ResultsError: it is damaged before its end, or names what lies outside the sweep's folder.
    """
    for line in whole_lines(_stored(location), location):
        yield from line.records


def read_events(location: Location, kinds: Collection[str]) -> list[Record]:
    """The events of some kinds, in order; what else there is, is passed over unseen, which is quick.

    Raises:
        ResultsError: one of them names what lies outside the sweep's folder.
    """
    found: list[Record] = []
    named = [b'"%b"' % kind.encode() for kind in kinds]
    for content in _stored(location):
        line = decode(content) if any(name in content for name in named) else None
        for record in line.records if line else ():
            check_record(record, f"'{one_line(str(location))}'")
            if record.get("kind") in kinds:
                found.append(record)
    return found


def _stored(location: Location) -> Iterator[bytes]:
    """The lines of a journal, of which the last may be torn; none where there is no journal."""
    if isinstance(location, ObjectPath):
        yield from io.BytesIO(read_objects(location))
        return
    try:
        with location.open("rb") as file:
            # Up to here: what a writer appends meanwhile must not look like whole lines behind a torn one.
            left = os.fstat(file.fileno()).st_size
            while line := file.readline(left):
                left -= len(line)
                yield line
    except FileNotFoundError:
        return
    except OSError as error:
        raise ResultsError(
            f"'{one_line(str(location))}' cannot be read ({error.strerror}), and all else is made from it; put a "
            "sound copy of it in its place"
        ) from None


def is_finite(value: Any) -> bool:
    """Whether a metric is a number that can be compared: NaN, infinity and None are not."""
    return value is not None and math.isfinite(value)
