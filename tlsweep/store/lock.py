"""One process at a time runs a sweep."""

import fcntl
import os
import socket
from types import TracebackType

from tlsweep.errors import ResultsError
from tlsweep.store.folder import SweepFolder


class FolderLock:
    """The right to write to a sweep's folder, until it is released or the process ends, however that happens.

    Raises:
        ResultsError: another process has it.
    """

    def __init__(self, folder: SweepFolder) -> None:
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
