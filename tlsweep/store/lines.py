"""The lines of a journal.

A line is a transaction: eight hexadecimal digits of a CRC-32, a space, and JSON: one record or a list of them, such as
a report and what was decided on it. A line that was cut short, as by a kill while it was written, fails the check: its
records never were.
"""

import json
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

from tlsweep.errors import ResultsError
from tlsweep.store.objects import ObjectPath
from tlsweep.store.places import Place

Record = dict[str, Any]
"""`type` is "report" or "event"; the other keys are columns of that table (store/schema.py)."""


def encode(records: Sequence[Record]) -> bytes:
    """A transaction as a line."""
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


def whole_lines(content: bytes, place: Place) -> Iterator[tuple[bytes, list[Record]]]:
    """The lines of a journal's content, each with its records, up to a torn one at the end.

    Raises:
        ResultsError: a line before the end is damaged, so that stopping there would lose others.
    """
    lines = content.split(b"\n")[:-1]
    for number, line in enumerate(lines, 1):
        records = _decode(line + b"\n")
        if records is None:
            if any(_decode(later + b"\n") for later in lines[number:]):
                away = f"; or give up what follows with: head -n {number - 1} {place.name} > sound.jsonl"
                raise ResultsError(
                    f"'{place}' is damaged in line {number}, and whole lines follow; put a sound copy of it in its "
                    f"place{'' if isinstance(place, ObjectPath) else away}"
                )
            return
        yield line + b"\n", records
