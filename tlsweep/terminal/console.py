"""The consoles to which all is written that people see: standard output, on which text of others is shown and never
obeyed."""

import json
import os
import sys
from collections.abc import Iterable
from typing import IO, Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from tlsweep.text import one_line, several_lines

_WIDTH_OF_A_PIPE = 120
"""Nobody's window limits it."""


class SafeConsole(Console):
    """A console that escapes what a terminal would obey, but for the codes that rich itself makes.

    Names are escaped earlier, where the width of a line or a column follows from them (`line`, `fit_table`); this is
    for whatever was forgotten there. Square brackets are no markup.
    """

    def __init__(self, file: IO[str] | None = None, **options: Any) -> None:
        super().__init__(file=file, highlight=False, markup=False, emoji=False, **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            # Segments with control codes move the cursor of the live view; the text of others is never one.
            yield segment if segment.control else segment._replace(text=several_lines(segment.text))


def make_console() -> SafeConsole:
    """Standard output, as wide as its terminal; elsewhere as COLUMNS says, which rich reads, or wide."""
    known = sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdigit()
    return SafeConsole(width=None if known else _WIDTH_OF_A_PIPE)


def make_error_console() -> SafeConsole:
    """Standard error, for what must not get into a file or a pipe."""
    return SafeConsole(stderr=True)


def line(text: str, style: str = "") -> Text:
    """One line, whatever the names in it hold."""
    return Text(one_line(text), style=style)


def to_json(value: Any) -> str:
    """JSON for scripts that may be looked at too: `json.dumps` escapes all that a terminal obeys but DEL.

    Raises:
        ValueError: a number is not finite.
    """
    return json.dumps(value, indent=2, allow_nan=False).replace("\x7f", "\\u007f")
