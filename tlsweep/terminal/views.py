"""Which view: a picture for people at a terminal, lines for pipes, nothing for those who asked for quiet."""

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

from rich.console import Console

from tlsweep.store import Record
from tlsweep.terminal.live import LiveView
from tlsweep.terminal.plain import PlainView, QuietView

if TYPE_CHECKING:
    from tlsweep.sweep.observer import SweepView

_WIDTH_OF_A_PIPE = 120


class View(Protocol):
    """An observer of a sweep (see tlsweep.sweep.observer) that has the terminal while its block runs."""

    resume: str | None
    """What to type to go on with the sweep after an interrupt; None before trials run."""

    def __enter__(self) -> "View": ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    def phase(self, text: str) -> None: ...

    def progress(self, done: int, total: int) -> None: ...

    def begin(self, view: "SweepView") -> None: ...

    def record(self, record: Record) -> None: ...

    def end(self) -> None: ...


def make_console() -> Console:
    """Standard output; wide where it is no terminal, since nobody's window limits it."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH_OF_A_PIPE)


def make_view(console: Console, *, quiet: bool) -> View:
    """The view that suits where `console` writes."""
    if quiet:
        return QuietView()
    return LiveView(console) if is_drawable(console) else PlainView(console.file)


def is_drawable(console: Console) -> bool:
    """Whether it is a terminal that a picture can be redrawn on.

    Rich alone would also take a pipe for one where FORCE_COLOR is set, as continuous integration likes to.
    """
    return console.file.isatty() and console.is_terminal and not console.is_dumb_terminal
