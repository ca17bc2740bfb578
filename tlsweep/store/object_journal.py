"""Writing the journal on object storage: a thread uploads, so that nobody waits. What lies there: journal_parts.py."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress

from tlsweep.errors import ResultsError
from tlsweep.store.files import cannot_write
from tlsweep.store.journal_parts import PARALLEL, accepted, highest_launch, part_name
from tlsweep.store.lease import Lease
from tlsweep.store.lines import FIRST, Record, check_of, encode
from tlsweep.store.objects import ObjectPath

MERGED = 256
"""How many uploads are merged into one object: a resume reads at most this many, and one for each this many before."""


class ObjectJournal:
    """Append records; a thread uploads what was appended since its last upload, so it batches by itself under load.

    Raises:
        ResultsError: what is there is damaged, or the store is away or refuses.
    """

    def __init__(self, location: ObjectPath, lease: Lease | None = None, records: int | None = None) -> None:
        """Begin a launch: write all that is accepted as its base.

        Args:
            location: the folder of the journal.
            lease: the right to write there.
            records: how many of those that are there are accepted, as the caller knows no more; default: all.
        """
        self._location, self._lease = location, lease
        self._launch = highest_launch(location) + 1
        base = accepted(location, records)
        self._last = base[-1].check if base else FIRST
        self._folder, self._tail = location / f"{self._launch:06d}", 0
        self._recent: list[bytes] = []
        self._appended = self._durable = self._merged = len(base)
        self._waiting: list[bytes] = []
        self._actions: list[tuple[int, Callable[[], None]]] = []
        self._running: list[Future[None]] = []
        self._error: Exception | None = None
        self._closing, self._changed = False, threading.Condition()
        try:
            self._hold()
            # First the base, then away with what it holds: wherever this is cut off, one launch is whole.
            (self._folder / part_name(0, len(base))).write_bytes(b"".join(line.content for line in base))
            for name in location.children():
                if name.isdigit() and int(name) < self._launch:
                    (location / name).remove_all()
        except OSError as error:
            raise cannot_write(location, error) from error
        self._executor = ThreadPoolExecutor(PARALLEL, "objects")
        self._thread = threading.Thread(target=self._work, name="journal", daemon=True)
        self._thread.start()

    def append(self, *records: Record) -> None:
        """Take `records`, to be uploaded whole or not at all; returns at once.

        Raises:
            ResultsError: an earlier upload failed for good, or somebody else runs the sweep now.
        """
        with self._changed:
            self._check()
            line = encode(records, self._last)
            self._last = check_of(line)
            self._waiting.append(line)
            self._appended += 1
            self._changed.notify_all()

    def when_durable(self, action: Callable[[], None]) -> None:
        """Do what must not happen before all that was appended is safe; in another thread, once it is."""
        with self._changed:
            self._actions.append((self._appended, action))
            self._changed.notify_all()

    def flush(self) -> None:
        """Wait until all that was appended is safe, and what waited for that is done.

        Raises:
            ResultsError: it will never be.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._error or (self._durable == self._appended and not self._actions))
            self._check()
            running = self._running
        wait(running)

    def close(self) -> None:
        """Upload what is left, and end; reading it later takes few requests."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()
        self._executor.shutdown(cancel_futures=self._error is not None)
        if self._error is None and len(self._recent) > 1:
            with suppress(OSError):
                self._merge(self._durable)

    def _check(self) -> None:
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        """The thread: upload whatever there is, again and again."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._actions or self._closing)
                if not self._waiting and not self._actions:
                    return None
                lines, self._waiting = self._waiting, []
            try:
                self._hold()
                if lines:
                    self._put(lines)
                    self._hold()  # what landed after the lease had run out may not count
                with self._changed:
                    self._durable += len(lines)
                    self._start_actions()
                    self._changed.notify_all()
            except OSError as error:
                return self._fail(cannot_write(self._location, error))
            except ResultsError as error:
                return self._fail(error)
            except Exception as error:  # nobody may wait for ever for what will not be uploaded
                self._fail(error)
                raise

    def _fail(self, error: Exception) -> None:
        with self._changed:
            self._error = error
            self._changed.notify_all()

    def _start_actions(self) -> None:
        due = [action for number, action in self._actions if number <= self._durable]
        self._actions = [(number, action) for number, action in self._actions if number > self._durable]
        self._running = [task for task in self._running if not task.done()]
        self._running += [self._executor.submit(_forgiving, action) for action in due]

    def _put(self, lines: list[bytes]) -> None:
        first, content = self._durable + 1, b"".join(lines)
        last = self._durable + len(lines)
        tail = self._folder / f"tail-{self._tail:06d}"
        (tail / part_name(first, last)).write_bytes(content)
        self._recent.append(content)
        if len(self._recent) >= MERGED:
            self._merge(last)

    def _merge(self, last: int) -> None:
        """First the whole, then away with its parts: a reader finds one or the other."""
        (self._folder / part_name(self._merged + 1, last)).write_bytes(b"".join(self._recent))
        (self._folder / f"tail-{self._tail:06d}").remove_all()
        self._recent, self._merged = [], last
        self._tail += 1

    def _hold(self) -> None:
        """Wait for the lease, without which nothing is written or removed; one that ran out may have been another's."""
        if self._lease is not None and self._lease.wait_until_held() and highest_launch(self._location) > self._launch:
            self._lease.lose("a later launch")
            self._lease.wait_until_held()


def _forgiving(action: Callable[[], None]) -> None:
    """A file that cannot be removed now is found when the sweep ends, or when it is resumed."""
    with suppress(OSError):
        action()
