"""Files of a sweep, in a folder or on object storage: they appear whole or not at all."""

import errno
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tlsweep import files
from tlsweep.errors import ResultsError
from tlsweep.files import StorageError, storing
from tlsweep.store.folder import command
from tlsweep.store.locations import Location, files_below
from tlsweep.store.objects import ObjectPath
from tlsweep.text import one_line


def write_whole(location: Location, content: bytes | Iterable[bytes], *, folders: bool = True) -> None:
    """Write a whole file. Not synced: a crash of the machine may leave it damaged.

    Args:
        location: The file.
        content: What it holds; in pieces, where that is much.
        folders: Whether to make missing folders. Where a sweep's was moved while it runs, none may appear in its place.

    Raises:
        StorageError: it cannot be written.
    """
    if isinstance(location, ObjectPath):
        location.write_bytes(content if isinstance(content, bytes) else b"".join(content))
        return
    if folders:
        with storing(location):
            location.parent.mkdir(parents=True, exist_ok=True)
    files.write_whole(location, content)


def write_text(location: Location, text: str) -> None:
    """Write a whole text file."""
    write_whole(location, text.encode())


def write_json(location: Location, value: Any) -> None:
    """Write a whole JSON file, readable by people."""
    write_text(location, json.dumps(value, indent=2) + "\n")


@contextmanager
def log_to_upload(location: Location) -> Iterator[Path]:
    """A path to write a log to while the block runs: `location` itself, or one that is uploaded after the block.

    What cannot be uploaded is given up: no log is worth the error that it would hide.
    """
    if isinstance(location, Path):
        yield location
        return
    with tempfile.TemporaryDirectory(prefix="tlsweep-") as folder:
        log = Path(folder) / location.name
        try:
            yield log
        finally:
            if log.exists() and log.stat().st_size:
                with suppress(OSError):
                    location.write_bytes(log.read_bytes(), patience=0)


@contextmanager
def folder_to_fill(location: Location) -> Iterator[Path]:
    """A folder to write files to: `location` itself, or one whose files are uploaded when the block ends well.

    They are uploaded in the order in which they were written: where the last is, the others are.
    """
    if isinstance(location, Path):
        with storing(location):
            location.mkdir(exist_ok=True)
        yield location
        return
    with tempfile.TemporaryDirectory(prefix="tlsweep-") as folder:
        yield Path(folder)
        found = files_below(Path(folder))
        for name in sorted(found, key=lambda name: found[name].changed):
            (location / name).write_bytes((Path(folder) / name).read_bytes())


def storage_fault(error: OSError, folder: Location) -> bool:
    """Whether an error is one of the storage below `folder`, and not of a file that the user's own code opens."""
    if isinstance(error, StorageError):
        return True
    if isinstance(error.filename, str | bytes):
        return isinstance(folder, Path) and Path(os.fsdecode(error.filename)).is_relative_to(folder)
    # What write(2) and fsync(2) say of an open file comes without a name; of these two any file of ours is to blame.
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def cannot_write(location: Location, error: OSError, sweep: Location | None = None) -> ResultsError:
    """What to say when a file of a sweep cannot be written: nothing that was reported before is lost.

    Args:
        location: The file.
        error: What the system or the store said.
        sweep: The folder of the sweep, if the file is not directly in it.
    """
    go_on = command("resume", sweep or location.parent)
    reason, what = error.strerror or str(error), f"cannot write '{one_line(str(location))}'"
    if isinstance(location, ObjectPath):
        return ResultsError(f"{what}: {reason}; then go on with '{go_on}': everything until now is kept")
    return ResultsError(
        f"{what}: {reason}; put that right (make room, if the disk is full), and go on with '{go_on}' (launch again if "
        "no trial had begun): everything until now is kept"
    )
