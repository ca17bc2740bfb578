"""What a sweep stands on while it runs, its folder and a private Ray, and what happens when that gives way."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tlsweep.cluster.private_ray import PrivateRay, kill_private_ray
from tlsweep.errors import INTERRUPTED, RayLost, ResultsError, TlsweepError
from tlsweep.files import write_whole
from tlsweep.store import Location
from tlsweep.store.folder import command
from tlsweep.text import one_line

LOOK_SECONDS = 0.5
"""The time between two looks: each is a few system calls of a microsecond."""
GRACE_SECONDS = 3.0
"""A call to a GCS that is gone blocks for a minute, and then Ray (2.60) ends the process with a line of its own."""


@dataclass(frozen=True)
class Loss:
    """What a sweep cannot go on without, and no longer has."""

    reason: str
    error: type[TlsweepError]
    folder: Location | None
    """The folder that the sweep is in now; None where nothing is left of it, or nobody can tell."""
    left: str = "nothing of it is left: launch it again"
    """What to do where there is no such folder."""

    def explained(self) -> TlsweepError:
        """Make the one message."""
        if self.folder is None:
            return self.error(f"{self.reason}; the sweep has stopped, and {self.left}")
        goes_on = command("resume", self.folder)
        return self.error(
            f"{self.reason}; the sweep has stopped, and '{goes_on}' goes on: everything until now is kept"
        )


class Held:
    """A file or folder that is held open, so that it is known again, whatever is done to its path."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._is = _identity(os.fstat(self._file))

    def close(self) -> None:
        os.close(self._file)

    @property
    def there(self) -> bool:
        """Whether its path still leads to it. A file system that does not answer is no proof that it does not."""
        try:
            return _identity(os.stat(self.path)) == self._is
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:
            return True

    @property
    def removed(self) -> bool:
        """Whether no path leads to it any more, and not only none that is known: its disk may be unmounted."""
        return os.fstat(self._file).st_nlink == 0

    def content(self) -> bytes:
        """Read a file, also one that was removed."""
        return os.pread(self._file, os.fstat(self._file).st_size, 0)

    def now_at(self) -> Path | None:
        """Find where it has gone; None if it was removed, or this system does not tell."""
        with suppress(OSError):
            # Of a file that is gone the kernel still tells a path, with ' (deleted)' behind it (man 5 proc), and there
            # may be another file by now.
            path = Path(os.readlink(f"/proc/self/fd/{self._file}"))
            if _identity(os.stat(path)) == self._is:
                return path
        return None


def _identity(facts: os.stat_result) -> tuple[int, int]:
    return facts.st_dev, facts.st_ino


class Ground:
    """Looks whether a sweep still has its folder, its journal and its Ray. On object storage the lease does the first.

    Use as a context.
    """

    def __init__(self, folder: Location) -> None:
        self._path = folder
        self._folder = Held(folder) if isinstance(folder, Path) else None
        self._journal: Held | None = None
        self._ray: PrivateRay | None = None
        self._loss: Loss | None = None
        self._left = threading.Event()
        self.noticed = False
        """Whether the main thread knows of the loss, and ends the sweep."""
        self.last_resort: Callable[[], None] = lambda: None
        """Writes down that the sweep was interrupted, where the main thread is blocked."""

    def __enter__(self) -> "Ground":
        return self

    def __exit__(self, *error: object) -> None:
        for file in (self._folder, self._journal):
            if file is not None:
                file.close()

    def journal_is(self, location: Location) -> None:
        """The journal is open now."""
        if isinstance(location, Path):
            self._journal = Held(location)

    def ray_is(self, ray: PrivateRay | None) -> None:
        """Ray runs now; a private one is watched also while the main thread waits for it."""
        if ray is not None:
            self._ray = ray
            threading.Thread(target=self._watch_ray, args=(ray,), name="watch-ray", daemon=True).start()

    @contextmanager
    def explaining(self) -> Iterator[None]:
        """What fails in the block because the folder or Ray has gone is told as that; after it Ray may end.

        Raises:
            ResultsError: the folder is not what it was.
            RayLost: the private Ray has ended.
        """
        try:
            yield
        except Exception:
            self.check()
            raise
        finally:
            self._left.set()
            self._ray = None

    def loss(self) -> Loss | None:
        """What has given way first; None while all is there."""
        if self._loss is None:
            self._loss = self._folder_lost() or self._ray_lost()
        return self._loss

    def check(self) -> None:
        """Stop where something has given way.

        Raises:
            ResultsError: the folder is not what it was.
            RayLost: the private Ray has ended.
        """
        if found := self.loss():
            self.noticed = True
            raise found.explained()

    def put_back_journal(self) -> None:
        """Write down again what somebody has removed: the log is the truth."""
        lost = self._journal
        if lost and not lost.there and lost.now_at() is None and self._folder and self._folder.there:
            write_whole(lost.path, lost.content(), sync=True)

    def _folder_lost(self) -> Loss | None:
        if self._folder and not self._folder.there:
            now = self._folder.now_at()
            if now is None and not self._folder.removed:
                reason = f"'{one_line(str(self._path))}' was unmounted, or moved away, while the sweep ran"
                return Loss(reason, ResultsError, None, "goes on where it was with tlsweep resume once it is back")
            what = f"was moved to '{one_line(str(now))}'" if now else "was removed"
            return Loss(f"'{one_line(str(self._path))}' {what} while the sweep ran", ResultsError, now)
        if self._journal and not self._journal.there:
            now = self._journal.now_at()
            what = f"was moved to '{one_line(str(now))}' (move it back)" if now else "was removed (it is put back)"
            return Loss(f"'{one_line(str(self._journal.path))}' {what} while the sweep ran", ResultsError, self._path)
        return None

    def _ray_lost(self) -> Loss | None:
        reason = self._ray.ended() if self._ray else None
        if reason:
            return Loss(reason, RayLost, self._path)
        return None

    def _watch_ray(self, ray: PrivateRay) -> None:
        """End the process in order where the main thread waits in Ray for what will not come."""
        while not self._left.wait(LOOK_SECONDS):
            if ray.ended():
                if not self._left.wait(GRACE_SECONDS) and not self.noticed:
                    self._end_for_good()
                return

    def _end_for_good(self) -> None:
        found = self.loss()
        assert found is not None
        closing = threading.Thread(target=self.last_resort, name="last-resort", daemon=True)
        closing.start()
        closing.join(GRACE_SECONDS)  # the journal is whole also without
        # Not by print: the main thread may hold the lock of sys.stderr where it is blocked. And not by sys.exit, which
        # in a thread ends the thread alone.
        os.write(2, f"error: {found.explained()}\n".encode())
        kill_private_ray()
        os._exit(INTERRUPTED)
