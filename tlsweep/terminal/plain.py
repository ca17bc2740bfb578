"""The view for pipes and continuous integration: one line for each notable thing; and the one that says nothing."""

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import IO, TYPE_CHECKING

from tlsweep.report import describe_search
from tlsweep.store import Record, Status
from tlsweep.store.folder import command
from tlsweep.terminal.format import TOKEN_HINT, counted, duration, location
from tlsweep.terminal.notable import best_line, notable
from tlsweep.terminal.progress import Tally, measure
from tlsweep.text import one_line

if TYPE_CHECKING:
    from tlsweep.observer import SweepView

PROGRESS_SECONDS = 10.0
"""The least time between two lines that only tell progress."""


class QuietView:
    """Says nothing; what it has in common with the others is that it knows how to go on with the sweep."""

    def __init__(self) -> None:
        self.resume: str | None = None

    def __enter__(self) -> "QuietView":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    def phase(self, text: str) -> None: ...

    def progress(self, done: int, total: int) -> None: ...

    def begin(self, view: "SweepView") -> None:
        self.resume = command("resume", view.folder.path)

    def warn(self, text: str) -> None:
        # Quiet is about what goes well.
        print(f"warning: {one_line(text)}", file=sys.stderr, flush=True)

    def record(self, record: Record) -> None: ...

    def end(self) -> None: ...


class PlainView(QuietView):
    """Writes lines to a stream, each at once."""

    def __init__(self, stream: IO[str], clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._stream, self._clock = stream, clock
        self._phase = ""
        self._view: SweepView | None = None
        self._tally = Tally()
        self._due = 0.0

    def phase(self, text: str) -> None:
        self._phase = text
        self._say(text)

    def progress(self, done: int, total: int) -> None:
        if self._is_due():
            self._say(f"{self._phase}: {done:,} of {total:,}")

    def begin(self, view: "SweepView") -> None:
        super().begin(view)
        self._view = view
        self._say(f"sweep {view.folder.name}, {describe_search(view.spec)}, in {counted(view.slots, 'place')}")
        self._say(f"results in {location(view.folder.path)}")
        self._say(f"'{command('report', view.folder.path)} --serve' shows them in a browser")
        if view.dashboard:
            self._say(f"dashboard at {view.dashboard}")
            self._say(f"'{TOKEN_HINT}' prints the token that the dashboard asks for")

    def record(self, record: Record) -> None:
        if self._view is None:
            return
        self._tally.add(record, self._clock())
        if line := notable(record, self._view.state):
            self._say(line)
        elif record["type"] == "report" and self._is_due():
            self._say(self._progress(self._view))

    def warn(self, text: str) -> None:
        self._say(f"warning: {text}")

    def _progress(self, view: "SweepView") -> str:
        now = measure(view, self._tally, self._clock())
        running = sum(trial.status is Status.RUNNING for trial in list(view.state.trials.values()))
        left = f", at most {duration(now.left)} left" if now.left is not None else ""
        return (
            f"{now.done} of at most {counted(now.at_most, 'epoch')} after {duration(now.elapsed)}{left}; "
            f"{running} running; best {best_line(view.state, view.spec.arms) or 'not known yet'}"
        )

    def _is_due(self) -> bool:
        now = self._clock()
        if now < self._due:
            return False
        self._due = now + PROGRESS_SECONDS
        return True

    def _say(self, line: str) -> None:
        # Into a pipe Python writes only when its buffer is full, which for lines like these can be at the end.
        print(one_line(line), file=self._stream, flush=True)
