"""What is computed once on a machine and kept: of several processes one computes it, the others wait for it."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from filelock import FileLock

from tlsweep.files import kept_in, write_whole

T = TypeVar("T")


def kept(
    path: Path, what: str, *, read: Callable[[], T | None], make: Callable[[], T], as_bytes: Callable[[T], bytes]
) -> T:
    """Read what lies at `path`, or make it and leave it there.

    Args:
        path: a file in a cache, whose folder is made if it is missing.
        what: the name for it in messages, in the plural.
        read: gives None where the file is missing or damaged.
        make: computes it.
        as_bytes: gives the content of the file.

    Raises:
        ResultsError: the folder cannot be written.
    """
    lock = FileLock(path.with_suffix(".lock"))
    with kept_in(path.parent, what):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    try:
        found = read()
        if found is None:
            found = make()
            with kept_in(path.parent, what):
                # Synced: what may have taken hours has to survive a crash of the machine.
                write_whole(path, as_bytes(found), sync=True)
        return found
    finally:
        lock.release()
