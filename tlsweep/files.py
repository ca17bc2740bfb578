"""Files that appear whole or not at all, and are never written through a link."""

import errno
import os
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NoReturn
from uuid import uuid4

from tlsweep.errors import ResultsError
from tlsweep.text import one_line


class StorageError(ResultsError, OSError):
    """A file of ours that cannot be written or read, whatever code or trial asked for it.

    `filename` is the file, `strerror` the reason; it pickles, and holds no credentials.
    """

    def __init__(self, reason: str, location: str, number: int | None = None) -> None:
        super().__init__(number, reason, location)
        self.reason, self.location = reason, location
        self.number = number

    def __reduce__(self) -> tuple[type["StorageError"], tuple[str, str, int | None]]:
        return type(self), (self.reason, self.location, self.number)

    def __str__(self) -> str:
        return f"'{one_line(self.location)}': {self.reason}"


@contextmanager
def storing(location: Path) -> Iterator[None]:
    """Says of what the system refuses while the block runs that it concerns this file.

    Raises:
        StorageError: instead of any other OSError.
    """
    try:
        yield
    except OSError as error:
        raise_storage_error(error, str(location))


def raise_storage_error(error: OSError, location: str) -> NoReturn:
    """Raise what the system said of a file of ours as a StorageError."""
    if isinstance(error, StorageError):
        raise error
    raise StorageError(error.strerror or str(error), location, error.errno) from error


def write_whole(path: Path, content: bytes | Iterable[bytes], *, sync: bool = False) -> None:
    """Write a file under a temporary name beside it, then rename it: an old one, or a link, is replaced in one moment.

    Args:
        path: The file; its folder must be there.
        content: What it holds; in pieces, where that is much.
        sync: Whether it must survive a crash of the machine. Without, the new name may then have nothing behind it.

    Raises:
        StorageError: it cannot be written.
    """
    # Beside the file, as a rename is one moment only within a file system (rename(2): EXDEV across two), and with a
    # name that no other process has, on whatever machine that shares the folder.
    temporary = path.with_name(f".{path.name}.{uuid4().hex}.tmp")
    with storing(path):
        try:
            # O_EXCL and O_NOFOLLOW: in a folder that others may write to, no link of theirs is followed (open(2)).
            file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
            with open(file, "wb") as stream:
                stream.writelines([content] if isinstance(content, bytes) else content)
                stream.flush()
                if sync:  # before the rename: a file system may write the new name down ahead of the content
                    os.fsync(file)
            os.replace(temporary, path)
        finally:
            with suppress(OSError):  # the first reason counts
                temporary.unlink(missing_ok=True)


def open_own(path: Path, flags: int) -> int:
    """A file that is to be written in place, made where there is none.

    Raises:
        ResultsError: it is no file of this folder alone, so that another's would be written: a link, a hard link, a
            pipe, a device.
    """
    try:
        # Without O_NONBLOCK a pipe would be waited for; on a file it means nothing.
        file = os.open(path, flags | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o644)
    except OSError as error:
        # ENXIO is a pipe without a reader, or a socket (open(2)).
        if error.errno in (errno.ELOOP, errno.ENXIO) or path.is_symlink():
            raise _not_own(path) from None
        raise
    facts = os.fstat(file)
    if not stat.S_ISREG(facts.st_mode) or facts.st_nlink > 1:
        os.close(file)
        raise _not_own(path)
    return file


def require_writable(path: Path) -> None:
    """Find out whether this user may write to a file, or make files in a folder, without doing so.

    Raises:
        OSError: not, and why: the user has no right to, or the file system is read-only.
    """
    wanted = os.W_OK | os.X_OK if path.is_dir() else os.W_OK
    # access(2) asks for the real user unless it is told otherwise, and files are written by the effective one.
    if not os.access(path, wanted, effective_ids=os.access in os.supports_effective_ids):
        number = errno.EROFS if os.statvfs(path).f_flag & os.ST_RDONLY else errno.EACCES
        raise OSError(number, f"{os.strerror(number)} ('{one_line(path.name)}')", str(path))


def _not_own(path: Path) -> ResultsError:
    return ResultsError(
        f"'{one_line(str(path))}' is a link or no plain file, and tlsweep writes only files of its own; remove it, or "
        "put a copy of the file that it stands for in its place"
    )


@contextmanager
def kept_in(cache: Path, what: str) -> Iterator[None]:
    """Says what a full or read-only disk means for `what` is kept in the folder `cache`.

    Raises:
        ResultsError: instead of an OSError.
    """
    try:
        yield
    except OSError as error:
        raise ResultsError(
            f"{what} cannot be kept in '{cache}' ({error}); make room there, or name another folder in the environment "
            "variable TLSWEEP_CACHE"
        ) from error


SHARE_OF_FREE: Final = 0.5
"""Part of the free space of a disk that something new in a cache may take: others and results are to have room too."""


class NoRoomError(ResultsError):
    """Something for a cache that would take too much of the disk."""


def require_room(folder: Path, needed: int, what: str) -> None:
    """Find out whether `what`, of so many bytes, may be kept in a folder of a cache.

    Raises:
        NoRoomError: it would take too much.
    """
    free = shutil.disk_usage(folder).free
    if needed > SHARE_OF_FREE * free:
        raise NoRoomError(
            f"{what} take {needed / 2**30:.1f} GiB, more than half of the {free / 2**30:.1f} GiB that are free in "
            f"'{folder}'; make room there, or name another folder in the environment variable TLSWEEP_CACHE"
        )
