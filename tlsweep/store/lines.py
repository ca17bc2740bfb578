"""The lines of a journal.

A line is a transaction: eight hexadecimal digits of a CRC-32, a space, and JSON: one record or a list of them, such as
a report and what was decided on it. A line that was cut short, as by a kill while it was written, fails the check: its
records never were. The first record of a line also says which line it `follows`, by the digits of that one: so a line
that was lost, doubled or moved is known. Earlier versions wrote lines without it; such lines come first.
"""

import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from tlsweep.errors import ResultsError
from tlsweep.store.locations import Location
from tlsweep.store.objects import ObjectPath
from tlsweep.store.records import check_record
from tlsweep.text import one_line

Record = dict[str, Any]
"""`type` is "report" or "event"; the other keys are columns of that table (store/schema.py)."""


FIRST = "00000000"
"""What the first line has in place of the check of the one before it."""
_FOLLOWS = "follows"


class Line(NamedTuple):
    """A line of a journal that is whole."""

    content: bytes
    follows: str | None
    """Check of the line before it; None in a line of an earlier version."""
    records: list[Record]

    @property
    def check(self) -> str:
        """What the next line says that it follows."""
        return check_of(self.content)


def check_of(line: bytes) -> str:
    """The eight digits that a line begins with."""
    return line[:8].decode()


def encode(records: Sequence[Record], follows: str = FIRST) -> bytes:
    """A transaction as a line; `follows` is the check of the line before it."""
    chained = [{_FOLLOWS: follows} | records[0], *records[1:]]
    body = json.dumps(chained[0] if len(chained) == 1 else chained, separators=(",", ":"), default=_plain).encode()
    # A CRC finds lines that were torn, and is no seal: what a record may say is checked by itself (records.py).
    return b"%08x %b\n" % (zlib.crc32(body), body)


def _plain(value: Any) -> Any:
    """Numpy numbers as Python's."""
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"{value!r} cannot be written to the journal")


def decode(content: bytes) -> Line | None:
    """A line with its records; None where it is not whole."""
    if not content.endswith(b"\n") or content[8:9] != b" ":
        return None
    body = content[9:-1]
    if content[:8] != b"%08x" % zlib.crc32(body):
        return None
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):  # whole, and yet no JSON: no sweep wrote it, and `check_record` says so
        found = [None]
    records = found if isinstance(found, list) else [found]
    first = records[0] if records else None
    return Line(content, first.pop(_FOLLOWS, None) if isinstance(first, dict) else None, records)


def whole_lines(content: Iterable[bytes], location: Location) -> Iterator[Line]:
    """The lines of a journal, up to a torn one at the end.

    Args:
        content: The lines, each with its line feed; JSON escapes those of a text.
        location: Where they were read; a message names it.

    Raises:
        ResultsError: a line before the end is damaged, so that stopping there would lose others; one was lost, doubled
            or moved; or it says what no sweep writes.
    """
    lines = iter(content)
    before: Line | None = None
    for number, text in enumerate(lines, 1):
        line = decode(text)
        if line is None:
            if any(map(decode, lines)):
                raise _damaged(location, number, f"is damaged in line {number}, and whole lines follow")
            return
        if not _in_order(before, line):
            what = f"is damaged: line {number} does not follow the line before it: one was lost, doubled or moved"
            raise _damaged(location, number, what)
        for record in line.records:
            check_record(record, f"'{one_line(str(location))}', line {number}")
        yield line
        before = line


def _in_order(before: Line | None, line: Line) -> bool:
    if line.follows is None:  # of an earlier version, which came before this one
        return before is None or before.follows is None
    return line.follows == (before.check if before else FIRST)


def _damaged(location: Location, number: int, what: str) -> ResultsError:
    away = f"; or give up what follows with: head -n {number - 1} {location.name} > sound.jsonl"
    return ResultsError(
        f"'{one_line(str(location))}' {what}; put a sound copy of it in its "
        f"place{'' if isinstance(location, ObjectPath) else away}"
    )
