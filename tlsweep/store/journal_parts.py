"""The journal on object storage, where no object can grow: each upload is one more object.

    journal/LAUNCH/FIRST-LAST.jsonl             what is accepted: lines FIRST to LAST; the base of a launch begins at 0
    journal/LAUNCH/tail-N/FIRST-LAST.jsonl      what was appended since; now and then merged into one object

A launch begins by writing all that it accepted of the earlier ones as its base, under the next number: the highest
launch that has a base is the journal. Whatever a driver still writes that was cut off has a lower one, and is ignored.
Within a launch the lines follow one another by their numbers. One part is uploaded after the other, so a gap means that
one was lost.

What is lost when the machine of the driver vanishes: what was appended since the last upload began, a fraction of a
second. Those epochs are trained again, from checkpoints that are only removed when the record is safe that makes them
superfluous; nothing else is lost.
"""

import io
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from tlsweep.errors import ResultsError
from tlsweep.store.lines import Line, whole_lines
from tlsweep.store.objects import ObjectPath

PARALLEL = 16
"""Requests at once."""
_READS = 20
"""How often a reader starts again whose objects are merged while it reads them."""


class Part(NamedTuple):
    launch: int
    first: int
    last: int
    path: str


class PartsMissing(Exception):  # a reader may see it in passing, while parts are merged
    """Lines of a journal are missing before others."""

    def __init__(self, number: int, behind: list[str]) -> None:
        super().__init__(number, behind)
        self.number, self.behind = number, behind


def chain(names: Mapping[str, object]) -> list[Part]:
    """The objects that make up the journal, in order, of all that there are.

    Raises:
        PartsMissing: there is a gap between them.
    """
    matches = [re.fullmatch(r"(\d+)/(?:tail-\d+/)?(\d+)-(\d+)\.jsonl", name) for name in names]
    known = [Part(int(match[1]), int(match[2]), int(match[3]), match[0]) for match in matches if match]
    launch = max((part.launch for part in known if part.first == 0), default=None)
    # Where a merged object and its parts are both there, the longer one.
    at = {part.first: part for part in sorted(known, key=lambda part: part.last) if part.launch == launch}
    found, number = [], 0
    while part := at.get(number):
        found.append(part)
        number = part.last + 1
    if behind := [part.path for first, part in sorted(at.items()) if first > number]:
        raise PartsMissing(number, behind)
    return found


def read_objects(location: ObjectPath) -> bytes:
    """The lines of a journal, in order; may be called while it is being written.

    Raises:
        ResultsError: a part of it is missing.
    """
    with ThreadPoolExecutor(PARALLEL, "journal") as executor:
        for attempt in range(_READS):
            try:
                parts = chain(location.files())
                return b"".join(executor.map(lambda part: (location / part.path).read_bytes(), parts))
            # It was listed, and has been merged into a longer one since.
            except FileNotFoundError:
                if attempt == _READS - 1:
                    raise
            except PartsMissing as missing:
                if attempt == _READS - 1:
                    raise ResultsError(
                        f"'{location}' is damaged: line {missing.number} is missing, and others follow; put a sound "
                        f"copy of it in its place, or give up what follows: remove {', '.join(missing.behind)}"
                    ) from None
    return b""


def highest_launch(location: ObjectPath) -> int:
    """The last launch that wrote anything."""
    return max((int(name) for name in location.children() if name.isdigit()), default=0)


def accepted(location: ObjectPath, records: int | None) -> list[Line]:
    """The first lines of a journal, as many as hold `records` records."""
    lines, known = [], 0
    for line in whole_lines(io.BytesIO(read_objects(location)), location):
        if records is not None and known >= records:
            break
        known += len(line.records)
        lines.append(line)
    return lines


def part_name(first: int, last: int) -> str:
    return f"{first:09d}-{last:09d}.jsonl"
