"""The view for a notebook: the picture of the terminal as HTML, in a cell that is changed in place.

Not by rich's own view, which needs ipywidgets for that, and not by a thread: a notebook shows what a thread displays
below whatever cell runs by then.
"""

import functools
import io
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from tlsweep.store import Record
from tlsweep.terminal.console import SafeConsole
from tlsweep.terminal.live import Picture
from tlsweep.text import one_line

if TYPE_CHECKING:
    from tlsweep.observer import SweepView

INTERVAL = 0.5
"""The least time between two changes, in seconds: each is a message to the browser, and is kept in the notebook."""
WIDTH, HEIGHT = 110, 30
"""Characters; narrower than a cell, which would break lines."""
_PAGE = '<pre style="font-family: monospace; line-height: 1.3; overflow-x: auto">{code}</pre>'

T = TypeVar("T")


def in_notebook() -> bool:
    """Whether this is the kernel of a notebook; its front end shows HTML, where IPython in a terminal does not."""
    ipython = sys.modules.get("IPython")
    if ipython is None or "ipykernel" not in sys.modules:
        return False
    shell = ipython.get_ipython()
    return shell is not None and hasattr(shell, "kernel")


def shown(function: Callable[..., T]) -> Callable[..., T]:
    """`launch` or `resume` with a view of its own where the caller gives no observer."""

    @functools.wraps(function)
    def with_view(*arguments: Any, observer: Any = None, **options: Any) -> T:
        if observer is not None:
            return function(*arguments, observer=observer, **options)
        with NotebookView() as view:
            return function(*arguments, observer=view, **options)

    return with_view


class NotebookView(Picture):
    """A context manager and an observer; the last picture stays in the notebook."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(clock)
        self._due = 0.0
        self._handle: Any = None
        self._warnings: list[str] = []

    def __enter__(self) -> "NotebookView":
        from IPython.display import display

        self._handle = display(self, display_id=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        super().end()
        self._phase = "done" if error is None else f"ended by {type(error).__name__}"
        self._change(now=True)

    def phase(self, text: str) -> None:
        super().phase(text)
        self._change(now=True)

    def progress(self, done: int, total: int) -> None:
        super().progress(done, total)
        self._change()

    def begin(self, view: "SweepView") -> None:
        super().begin(view)
        self._change(now=True)

    def warn(self, text: str) -> None:
        self._warnings.append(f"warning: {one_line(text)}")
        self._change(now=True)

    def record(self, record: Record) -> None:
        super().record(record)
        self._change()

    def end(self) -> None:
        super().end()
        self._change(now=True)

    def __repr__(self) -> str:
        return self._drawn().export_text(styles=False).rstrip()

    def _repr_html_(self) -> str:
        # Names in it are escaped twice: by SafeConsole for a terminal, and here, by rich, for a page.
        return self._drawn().export_html(code_format=_PAGE, inline_styles=True)

    def _drawn(self) -> SafeConsole:
        console = SafeConsole(file=io.StringIO(), record=True, width=WIDTH, force_jupyter=False)
        console.print(self.draw(WIDTH, HEIGHT))
        for warning in self._warnings:
            console.print(warning, style="dark_orange")
        return console

    def _change(self, *, now: bool = False) -> None:
        at = self._clock()
        if self._handle is not None and (now or at >= self._due):
            self._due = at + INTERVAL
            self._handle.update(self)
