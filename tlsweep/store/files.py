"""Files appear whole or not at all."""

import errno
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tlsweep.errors import ResultsError
from tlsweep.store.folder import command
from tlsweep.store.objects import ObjectPath, ObjectStoreError
from tlsweep.store.places import Place, files_below


@contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`; when the block ends well it takes its place, else it is removed."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_whole(place: Place, content: bytes) -> None:
    """Write a whole file; missing folders are made. Not synced: a crash of the machine may leave it damaged."""
    if isinstance(place, ObjectPath):
        place.write_bytes(content)
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    with replace_file(place) as temporary:
        temporary.write_bytes(content)


def write_text(place: Place, text: str) -> None:
    """Write a whole text file."""
    write_whole(place, text.encode())


def write_json(place: Place, value: Any) -> None:
    """Write a whole JSON file, readable by people."""
    write_text(place, json.dumps(value, indent=2) + "\n")


@contextmanager
def log_to_upload(place: Place) -> Iterator[Path]:
    """A path to write a log to while the block runs: `place` itself, or one that is uploaded after the block.

    What cannot be uploaded is given up: no log is worth the error that it would hide.
    """
    if isinstance(place, Path):
        yield place
        return
    with tempfile.TemporaryDirectory(prefix="tlsweep-") as folder:
        log = Path(folder) / place.name
        try:
            yield log
        finally:
            if log.exists() and log.stat().st_size:
                with suppress(OSError):
                    place.write_bytes(log.read_bytes(), patience=0)


@contextmanager
def folder_to_fill(place: Place) -> Iterator[Path]:
    """A folder to write files to: `place` itself, or one whose files are uploaded when the block ends well.

    They are uploaded in the order in which they were written: where the last is, the others are.
    """
    if isinstance(place, Path):
        yield place
        return
    with tempfile.TemporaryDirectory(prefix="tlsweep-") as folder:
        yield Path(folder)
        files = files_below(Path(folder))
        for name in sorted(files, key=lambda one: files[one].changed):
            (place / name).write_bytes((Path(folder) / name).read_bytes())


def storage_fault(error: OSError) -> bool:
    """Whether a file could not be written, or read, for a reason that no code and no trial can help."""
    return isinstance(error, ObjectStoreError) or error.errno in (errno.ENOSPC, errno.EDQUOT)


def cannot_write(place: Place, error: OSError) -> ResultsError:
    """What to say when a file of a sweep cannot be written: nothing that was reported before is lost."""
    go_on = command("launch --resume", place.parent)
    if isinstance(place, ObjectPath):
        return ResultsError(
            f"cannot write '{place}': {error.strerror or error}; then go on with '{go_on}': everything until now is "
            "kept"
        )
    reason = os.strerror(error.errno) if error.errno else str(error)
    return ResultsError(
        f"cannot write '{place}': {reason}; put that right (make room, if the disk is full), and go on with '{go_on}' "
        "(launch again if no trial had begun): everything until now is kept"
    )
