"""SIGINT and SIGTERM while a sweep is being prepared, runs, and ends."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from tlsweep.store import Place
from tlsweep.store.folder import command
from tlsweep.sweep.cluster import kill_private_ray

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """While trials run, the first signal asks the sweep to end in order; before, it raises KeyboardInterrupt.

    The second one ends the process at once, and the private Ray with it. In another thread than the main one Python
    lets nobody handle signals; there this does nothing.
    """

    def __init__(self, folder: Place) -> None:
        self._folder = folder
        self._seen = False
        self._halt: Callable[[], None] | None = None
        self._before: dict[int, object] = {}

    def __enter__(self) -> "Interrupts":
        self._before = self._take_over()
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    @contextmanager
    def handled_by(self, halt: Callable[[], None]) -> Iterator[None]:
        """Call `halt` at the first signal instead of raising."""
        self._take_over()  # from Ray, whose own handler for SIGTERM dumps the stack and aborts
        self._halt = halt
        try:
            yield
        finally:
            self._halt = None

    def _take_over(self) -> dict[int, object]:
        """Handle the signals; what handled them before."""
        if threading.current_thread() is not threading.main_thread():
            return {}
        return {number: signal.signal(number, self._handle) for number in SIGNALS}

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._seen:
            sys.stderr.write(
                "\nstopped at once; what was reported until now is on disk, and "
                f"'{command('launch --resume', self._folder)}' goes on with it\n"
            )
            sys.stderr.flush()
            kill_private_ray()
            os._exit(128 + number)
        self._seen = True
        if self._halt is None:
            raise KeyboardInterrupt
        self._halt()
