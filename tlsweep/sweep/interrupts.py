"""Signals that ask for an end, while a sweep is being prepared, runs, and ends."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from tlsweep.cluster.private_ray import kill_private_ray
from tlsweep.errors import INTERRUPTED
from tlsweep.store import Location
from tlsweep.store.folder import command

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_SAME_SECONDS = {signal.SIGINT: 0.05}
"""`timeout` signals its command and then the whole group, so that one signal arrives twice; a hand is slower."""
_SAME_SECONDS_ELSE = 1.0
"""The same for signals that no hand sends: supervisors signal a process, and then what is left of its group."""


class Interrupts:
    """Handles signals: the first asks the sweep to end in order while trials run; before, it raises KeyboardInterrupt.

    The second one ends the process at once, and the private Ray with it. In another thread than the main one Python
    lets nobody handle signals; there this does nothing.
    """

    def __init__(self) -> None:
        self.folder: Location | None = None
        """The sweep's, once there is one."""
        self._seen: float | None = None
        self._halt: Callable[[], None] | None = None
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> "Interrupts":
        if threading.current_thread() is threading.main_thread():
            # Under nohup SIGHUP is ignored, and stays so.
            heard = [
                number for number in SIGNALS if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN
            ]
            self._before = {number: signal.signal(number, self._handle) for number in heard}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    @contextmanager
    def handled_by(self, halt: Callable[[], None]) -> Iterator[None]:
        """Call `halt` at the first signal instead of raising."""
        self._halt = halt
        try:
            yield
        finally:
            self._halt = None

    def _handle(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._seen is None:
            self._seen = now
            if self._halt is None:
                raise KeyboardInterrupt
            self._halt()
        elif now - self._seen > _SAME_SECONDS.get(signal.Signals(number), _SAME_SECONDS_ELSE):
            self._end_at_once()

    def _end_at_once(self) -> None:
        for number in SIGNALS:  # a third one, within this, would tear apart what it does, and end with a traceback
            signal.signal(number, signal.SIG_IGN)
        if self.folder is not None:
            goes_on = command("resume", self.folder)
            said = f"\nstopped at once; what was reported until now is on disk, and '{goes_on}' goes on with it\n"
            # Not by sys.stderr, which may be in use at this moment, or closed with its terminal.
            with suppress(OSError):
                os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, said.encode())
        try:
            kill_private_ray()
        finally:
            # Not by sys.exit, which waits for threads and for Ray's exit functions; and those may be what hangs.
            os._exit(INTERRUPTED)
