"""One process at a time runs a sweep."""

import fcntl
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType

from tlsweep.errors import ResultsError
from tlsweep.store.files import cannot_write
from tlsweep.store.folder import SweepFolder
from tlsweep.store.lease import Lease
from tlsweep.store.objects import ObjectPath


@contextmanager
def lock_folder(folder: SweepFolder, phase: Callable[[str], None]) -> Iterator[Lease | None]:
    """Have the right to write to a sweep's folder while the block runs; on object storage that is a lease.

    Args:
        folder: of the sweep.
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
        ResultsError: another process has it.
    """

    def __init__(self, folder: SweepFolder) -> None:
        assert not isinstance(folder.lock, ObjectPath)
        self._file = os.open(folder.lock, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.read(self._file, 200).decode(errors="replace").strip() or "another process"
            os.close(self._file)
            raise ResultsError(
                f"sweep '{folder.name}' is being run by {holder}; wait for it, or stop it, before you resume it"
            ) from None
        os.ftruncate(self._file, 0)
        os.write(self._file, f"process {os.getpid()} on {socket.gethostname()}\n".encode())

    def __enter__(self) -> "FolderLock":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._file)
