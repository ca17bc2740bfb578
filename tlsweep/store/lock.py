"""One process at a time runs a sweep."""

import fcntl
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from tlsweep.errors import ResultsError
from tlsweep.files import open_own, require_writable
from tlsweep.store.boundary import refuse_to_write
from tlsweep.store.files import cannot_write
from tlsweep.store.folder import SweepFolder
from tlsweep.store.lease import Lease
from tlsweep.store.objects import ObjectPath
from tlsweep.text import one_line


@contextmanager
def lock_folder(folder: SweepFolder, phase: Callable[[str], None]) -> Iterator[Lease | None]:
    """Have the right to write to a sweep's folder while the block runs; on object storage that is a lease.

    Args:
        folder: the sweep's.
        phase: is told what is being waited for.

    Raises:
        ResultsError: another process has it.
    """
    if isinstance(folder.lock, ObjectPath):
        try:
            lease = Lease(folder.lock, phase)
        except OSError as error:
            raise cannot_write(folder.lock, error) from error
        with lease:
            yield lease
    else:
        with FolderLock(folder):
            yield None


class FolderLock:
    """The right to write to a sweep's folder on disk, until it is released or the process ends, however that happens.

    Raises:
        ResultsError: another process has it, this user may not write there, or the file system has no locks.
    """

    def __init__(self, folder: SweepFolder) -> None:
        assert not isinstance(folder.lock, ObjectPath)
        name, path = one_line(folder.name), one_line(str(folder.path))
        refuse_to_write(folder.path)
        try:
            for location in (folder.path, folder.journal, folder.checkpoints, folder.best):
                if isinstance(location, Path) and location.exists():
                    require_writable(location)
            self._file = open_own(folder.lock, os.O_RDWR)
        except OSError as error:
            raise ResultsError(
                f"cannot write to sweep '{name}' in '{path}': {error.strerror}; run it as the user whose results they "
                "are, or copy that folder to where you may write, and name that with --results"
            ) from None
        try:
            self._take(name, path)
            os.ftruncate(self._file, 0)
            os.write(self._file, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        except OSError as error:
            os.close(self._file)
            raise cannot_write(folder.lock, error) from error
        except ResultsError:
            os.close(self._file)
            raise

    def _take(self, name: str, path: str) -> None:
        try:
            # Not lockf: a lock of fcntl(2) is lost as soon as this process closes any other descriptor of the file.
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(self._file, 200).decode(errors="replace").strip() or "another process"
            raise ResultsError(
                f"sweep '{name}' is being run by {one_line(holder)}; wait for it, or stop it, before you resume it"
            ) from None
        except OSError as error:  # ENOLCK, EOPNOTSUPP, ENOSYS: NFS without a lock daemon, some FUSE and HPC mounts
            raise ResultsError(
                f"the file system of '{path}' gives no locks ({error.strerror}), so nothing would keep two processes "
                "from writing to one sweep; name a folder on another disk, or object storage, with --results"
            ) from None

    def __enter__(self) -> "FolderLock":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # The file stays: with one that is removed and made again, two processes could each hold a lock.
        os.close(self._file)
