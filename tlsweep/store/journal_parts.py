"""The journal on object storage, where no object can grow: each upload is one more object.

    journal/LAUNCH/FIRST-LAST.jsonl             what is accepted: lines FIRST to LAST; the base of a launch begins at 0
    journal/LAUNCH/tail-N/FIRST-LAST.jsonl      what was appended since; now and then merged into one object

A launch begins by writing all that it accepted of the earlier ones as its base, under the next number: the highest
launch that has a base is the journal. Whatever a driver still writes that was cut off has a lower one, and is ignored.
Within a launch the lines follow one another by their numbers; a gap ends them: what came behind it was never confirmed.

What is lost when the machine of the driver vanishes: what was appended since the last upload began, a fraction of a
second. Those epochs are trained again, from checkpoints that are only removed when the record is safe that makes them
superfluous; nothing else is lost.
"""

import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from tlsweep.store.lines import whole_lines
from tlsweep.store.objects import ObjectPath

PARALLEL = 16
"""Requests at once."""
_READS = 20
"""How often a reader begins anew whose objects are merged under its hands."""


class Part(NamedTuple):
    launch: int
    first: int
    last: int
    path: str


def chain(names: Mapping[str, object]) -> list[Part]:
    """The objects that make up the journal, in order, of all that there are."""
    matches = [re.fullmatch(r"(\d+)/(?:tail-\d+/)?(\d+)-(\d+)\.jsonl", name) for name in names]
    known = [Part(int(one[1]), int(one[2]), int(one[3]), one[0]) for one in matches if one]
    launch = max((one.launch for one in known if one.first == 0), default=None)
    # Where a merged object and its parts are both there, the longer one.
    at = {one.first: one for one in sorted(known, key=lambda one: one.last) if one.launch == launch}
    found, number = [], 0
    while part := at.get(number):
        found.append(part)
        number = part.last + 1
    return found


def read_objects(place: ObjectPath) -> bytes:
    """The lines of a journal, in order; may be called while it is being written."""
    with ThreadPoolExecutor(PARALLEL, "journal") as executor:
        for attempt in range(_READS):
            parts = chain(place.files())
            try:
                return b"".join(executor.map(lambda part: (place / part.path).read_bytes(), parts))
            except FileNotFoundError:
                if attempt == _READS - 1:
                    raise
    return b""


def highest_launch(place: ObjectPath) -> int:
    """The last launch that wrote anything."""
    return max((int(name) for name in place.children() if name.isdigit()), default=0)


def accepted(place: ObjectPath, records: int | None) -> tuple[bytes, int]:
    """The first lines of a journal, as many as hold so many records; and how many lines."""
    lines, known = [], 0
    for line, found in whole_lines(read_objects(place), place):
        if records is not None and known >= records:
            break
        known += len(found)
        lines.append(line)
    return b"".join(lines), len(lines)


def part_name(first: int, last: int) -> str:
    return f"{first:09d}-{last:09d}.jsonl"
