"""The picture of a sweep that changes in place, and the view that draws it on a terminal, four times a second."""

import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from tlsweep.store import Record
from tlsweep.store.folder import command
from tlsweep.terminal.board import board
from tlsweep.terminal.console import line
from tlsweep.terminal.notable import notable
from tlsweep.terminal.progress import Tally, measure
from tlsweep.text import one_line

if TYPE_CHECKING:
    from tlsweep.observer import SweepView


class Picture:
    """An observer that can draw how things stand. The sweep's thread tells it; any thread may draw."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin before the first phase.

        Args:
            clock: What the times of the sweep are measured by.
        """
        self.resume: str | None = None
        self._clock = clock
        self._spinner = Spinner("dots")
        self._phase, self._done = "starting", 0
        self._total, self._note = 0, ""
        self._view: SweepView | None = None
        self._tally = Tally()
        self._running = False

    def phase(self, text: str) -> None:
        self._phase, self._done = text, 0
        self._total = 0

    def progress(self, done: int, total: int) -> None:
        self._done, self._total = done, total

    def begin(self, view: "SweepView") -> None:
        self._view, self._running = view, True
        self.resume = command("resume", view.folder.path)

    def record(self, record: Record) -> None:
        if self._view is None:
            return
        self._tally.add(record, self._clock())
        self._note = notable(record, self._view.state) or self._note

    def end(self) -> None:
        self._running, self._phase = False, "finishing"

    def draw(self, width: int, height: int) -> RenderableType:
        """What there is to see now, in at most `width` × `height` characters."""
        if self._view is None:
            return self._preparing()
        return board(
            self._view,
            measure(self._view, self._tally, self._clock()),
            note=self._note,
            phase="" if self._running else self._phase,
            width=width,
            height=height,
        )

    def _preparing(self) -> RenderableType:
        row = Table.grid(padding=(0, 2, 0, 0))
        cells: list[RenderableType] = [self._spinner, Text(one_line(self._phase), no_wrap=True, overflow="ellipsis")]
        if self._total:
            cells += [ProgressBar(self._total, self._done, width=30), Text(f"{self._done:,} of {self._total:,}")]
        row.add_row(*cells)
        return row


class LiveView(Picture):
    """A context manager; the picture vanishes at the end, to make room for the outcome."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        """Prepare the picture; it is drawn while the block runs, by a thread of its own.

        Args:
            console: A terminal.
            clock: What the times of the sweep are measured by.
        """
        super().__init__(clock)
        self._console = console
        # Last: it draws at once.
        self._live = Live(console=console, get_renderable=self._render, refresh_per_second=4, transient=True)

    def __enter__(self) -> "LiveView":
        self._live.start(refresh=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._live.stop()

    def warn(self, text: str) -> None:
        # Above the picture, where it stays when that vanishes.
        self._console.print(line(f"warning: {text}", "yellow"))

    def _render(self) -> RenderableType:
        return self.draw(*self._console.size)
