"""What a journal may say: a sweep's folder may come from somebody else, so the names in it are checked before any is
used.

Only their form is checked, where records are read: a value has the type of its column (shapes.py), a name is a name and
no path, and a checkpoint lies where `SweepFolder.checkpoint` puts it. Whether links lead out of the folder is checked
where files are opened (boundary.py).
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from tlsweep.errors import ResultsError
from tlsweep.spec.sweep import NAME
from tlsweep.store.shapes import wrong_value
from tlsweep.text import one_line

_FILE = r"g\d+-e\d+(-[0-9a-f]{8})?\.pt"  # the first versions wrote no digest
_CHECKPOINT = re.compile(rf"checkpoints/{NAME}/{_FILE}")
_LEFT = re.compile(
    rf"checkpoints/({NAME}/\.{_FILE}\.[0-9a-f]+\.tmp"
    r"|preflight-[0-9a-f]{1,16}/(probe|\.probe\.[0-9a-f]+\.tmp))"
)
_NAME = re.compile(NAME)
_NAMES = ("trial", "arm", "parent_trial", "donor")
_LONGEST = 255
"""Characters of a name: file systems take no more."""
_SHOWN = 80
"""Characters of a wrong value that a message repeats."""


def is_checkpoint(path: object) -> bool:
    """Whether a path below a sweep's folder is one that a checkpoint can have; none leads out of it."""
    return isinstance(path, str) and _CHECKPOINT.fullmatch(path) is not None


def is_left_over(path: str) -> bool:
    """Whether a path below a sweep's folder is what a worker or a preflight leaves that is killed while it writes."""
    return _LEFT.fullmatch(path) is not None


def check_record(record: Any, where: str) -> None:
    """Refuse a record whose names and paths tlsweep cannot have written.

    Args:
        record: What was decoded.
        where: What the message calls it.

    Raises:
        ResultsError: it is no record, or a name, a path or another value in it is none.
    """
    if not isinstance(record, dict):
        raise _refused(where, "record", record)
    details = record.get("details")
    if details is not None and not isinstance(details, dict):
        raise _refused(where, "details", details)
    for part in (record, details or {}):
        for field in _NAMES:
            if part.get(field) is not None and not _is_name(part[field]):
                raise _refused(where, field, part[field])
    for field, path in _checkpoints(record, details or {}):
        if not is_checkpoint(path):
            raise _refused(where, field, path)
    _check_reopened(details or {}, where)
    if wrong := wrong_value(record):
        raise ResultsError(f"{where}: {wrong}; put a sound copy of the journal in its place, or do without this sweep")


def _checkpoints(record: Mapping[str, Any], details: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    """Every path in a record."""
    for part in (record, details):
        if part.get("checkpoint") is not None:
            yield "checkpoint", part["checkpoint"]
    passed_over = details.get("passed_over", ())
    if not isinstance(passed_over, list | tuple):
        yield "passed_over", passed_over
        return
    for entry in passed_over:  # of an evaluation each has a reason beside it
        yield "passed_over", entry.get("path") if isinstance(entry, dict) else entry


def _check_reopened(details: Mapping[str, Any], where: str) -> None:
    reopened = details.get("reopened", [])
    if not isinstance(reopened, list) or not all(map(_is_name, reopened)):
        raise _refused(where, "reopened", reopened)


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= _LONGEST and _NAME.fullmatch(value) is not None


def _refused(where: str, field: str, value: Any) -> ResultsError:
    shown = one_line(repr(value)[:_SHOWN])
    return ResultsError(
        f"{where}: {field} = {shown} is none that tlsweep writes, and may lead out of the sweep's folder; nothing was "
        "read or removed; put a sound copy of the journal in its place, or do without this sweep"
    )
