"""The observer that passes a sweep on to its trackers, from its first record to its last figures."""

import hashlib
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from tlsweep.observer import Observer, SweepView
from tlsweep.spec import SweepSpec, dump_spec
from tlsweep.store import Record, SweepFolder
from tlsweep.store.folder import command
from tlsweep.tracking.delivery import Delivery
from tlsweep.tracking.libraries import make_tracker
from tlsweep.tracking.tracker import TrackedSweep

LAST_WAIT = 60.0
"""Seconds that the end of a sweep waits for all its trackers together."""
INTERRUPTED_WAIT = 10.0
"""The same where it was interrupted: what asks for an end often kills half a minute later, as Slurm does."""


class Tracking:
    """An observer, and a context: at its end the trackers get what they have not got yet.

    They are handed every record from the first one on, also those of earlier launches, so that each asks its own store
    what of it is there already, or begins anew. Nothing is written before the journal holds a record.
    """

    def __init__(self, spec: SweepSpec, folder: SweepFolder, records: Iterable[Record], observer: Observer) -> None:
        """Prepare to track.

        Args:
            spec: Of the sweep; its `track` names the trackers.
            folder: Of the sweep.
            records: Those of earlier launches.
            observer: Is told of a tracker that fails.
        """
        self._spec, self._folder = spec, folder
        self._records, self._observer = list(records if spec.track else ()), observer
        self._deliveries: list[Delivery] = []
        self._told: set[str] = set()
        self._patience = LAST_WAIT

    def __enter__(self) -> "Tracking":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # Of a sweep that was complete no record came in this launch; what trackers lack of it they get all the same.
        if self._records and error is None:
            self._start()
        if self._deliveries:
            self._observer.phase(f"handing on the last figures to {', '.join(self._spec.track)}")
        for delivery in self._deliveries:
            delivery.close()
        # A second signal has raised KeyboardInterrupt, which is no Exception: then nobody wants to wait.
        seconds = self._patience if error is None or isinstance(error, Exception) else 0.0
        with suppress(KeyboardInterrupt):  # who presses Ctrl-C here waits no longer, and the sweep is what it was
            self._wait(seconds)
        self._wait(0.0)
        self._tell()

    def phase(self, text: str) -> None: ...

    def progress(self, done: int, total: int) -> None: ...

    def begin(self, view: SweepView) -> None: ...

    def warn(self, text: str) -> None: ...

    def end(self) -> None: ...

    def record(self, record: Record) -> None:
        """Pass a record on; it is in the journal."""
        if not self._spec.track:
            return
        if record.get("kind") == "interrupted":
            self._patience = min(LAST_WAIT, INTERRUPTED_WAIT)
        self._records.append(record)
        self._start()
        self._tell()

    def _start(self) -> None:
        """Pass on what has come, to trackers that are opened with the first record."""
        records, self._records = self._records, []
        if not self._deliveries:
            sweep = self._sweep(records[0])
            self._deliveries = [
                Delivery(name, make_tracker(name), sweep, self._spec, records) for name in self._spec.track
            ]
            return
        for record in records:
            for delivery in self._deliveries:
                delivery.put(record)

    def _wait(self, seconds: float) -> None:
        """Wait for all trackers together."""
        until = time.monotonic() + seconds
        for delivery in self._deliveries:
            delivery.join(max(until - time.monotonic(), 0.0))

    def _sweep(self, first: Record) -> TrackedSweep:
        # By what no other sweep has, and what stays where the folder is renamed: the moment of the first launch, which
        # JSON keeps to the last bit, and its images.
        images = (first.get("details") or {}).get("data")
        identity = hashlib.sha256(f"{first['time']!r} {images}".encode()).hexdigest()[:12]
        path = self._folder.path
        place = path.resolve() if isinstance(path, Path) else None
        return TrackedSweep(identity, self._folder.name, dump_spec(self._spec), place, first["time"])

    def _tell(self) -> None:
        """Say once of each tracker that has stopped why it did, here: observers expect the thread of the sweep."""
        for delivery in self._deliveries:
            if delivery.problem is not None and delivery.name not in self._told:
                self._told.add(delivery.name)
                self._observer.warn(
                    f"tracking by {delivery.name} has stopped, and the sweep goes on without it: {delivery.problem}; "
                    f"'{command('resume', self._folder.path)}' sends what is missing"
                )
