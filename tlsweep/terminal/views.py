"""Which view: a picture for people at a terminal, lines for pipes, nothing for those who asked for quiet."""

from types import TracebackType
from typing import TYPE_CHECKING, Protocol

from rich.console import Console

from tlsweep.store import Record
from tlsweep.terminal.live import LiveView
from tlsweep.terminal.plain import PlainView, QuietView

if TYPE_CHECKING:
    from tlsweep.observer import SweepView


class View(Protocol):
    """An observer of a sweep (see tlsweep.observer) that has the terminal while its block runs."""

    resume: str | None
    """What to type to go on with the sweep after an interrupt; None before trials run."""

    def __enter__(self) -> "View": ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    def phase(self, text: str) -> None: ...

    def progress(self, done: int, total: int) -> None: ...

    def begin(self, view: "SweepView") -> None: ...

    def warn(self, text: str) -> None: ...

    def record(self, record: Record) -> None: ...

    def end(self) -> None: ...


def make_view(console: Console, *, quiet: bool) -> View:
    """The view that suits where `console` writes."""
    if quiet:
        return QuietView()
    if is_drawable(console):
        return LiveView(console)
    return PlainView(console.file)


def is_drawable(console: Console) -> bool:
    """Whether it is a terminal that a picture can be redrawn on.

    Rich alone would also take a pipe for one where FORCE_COLOR is set, as continuous integration likes to.
    """
    drawable = console.file.isatty() and console.is_terminal and not console.is_dumb_terminal
    return drawable and console.encoding.lower().startswith("utf")  # bars and dots have no other characters
