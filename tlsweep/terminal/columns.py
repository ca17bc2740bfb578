"""Tables that fit the terminal: a column without room is left out whole, a name shortened in its middle."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, Group
from rich.text import Text

from tlsweep.terminal.console import line
from tlsweep.text import one_line

T = TypeVar("T")

_GAP = 2
_LEAST_NAME = 12
"""Characters of a name that are always shown."""

_STYLES = {
    "running": "green",
    "paused": "cyan",
    "pending": "dim",
    "stopped": "dim",
    "failed": "red",
    "interrupted": "yellow",
}


@dataclass(frozen=True)
class Column(Generic[T]):
    """A heading, and what stands under it for a row."""

    heading: str
    cell: Callable[[T], str]
    right: bool = True
    """Numbers stand flush right."""
    optional: int = 0
    """0: always shown. Else it may be left out where there is no room: the highest go first, of equals the last."""


def fit_table(columns: Sequence[Column[T]], rows: Sequence[T], width: int) -> Group:
    """A heading and a line for each row, at most `width` characters wide as far as the required columns allow.

    Text, not rich's Table: a picture that is drawn four times a second by the process that runs the trials must cost
    little of it.
    """
    cells = [[one_line(text) for text in (column.heading, *map(column.cell, rows))] for column in columns]
    widths = [max(map(cell_len, texts)) for texts in cells]
    kept = _fitting(columns, widths, width)
    for at, less in _shortened_names(columns, widths, kept, width).items():
        cells[at], widths[at] = [shorten(text, less) for text in cells[at]], less
    table = Text(no_wrap=True, overflow="ellipsis")
    for row in range(len(rows) + 1):
        parts = [_cell(columns[at], cells[at][row], widths[at], last=at == kept[-1]) for at in kept]
        style = "bold" if row == 0 else ""
        before, last = (" " * _GAP).join(parts[:-1]) + " " * _GAP, parts[-1]
        if not last.strip():  # no spaces at the end of a line
            before, last = before.rstrip(), ""
        table.append(before, style=style)
        table.append(last + ("\n" if row < len(rows) else ""), style=_STYLES.get(last, style))
    return Group(table)  # a bare Text would lose no_wrap: Console.print joins texts into a new one


def print_left_out(console: Console, columns: Sequence[Column[T]], rows: Sequence[T]) -> None:
    """Name what `fit_table` left out for want of room, if anything, and how wide a window has to be."""
    kept = _fitting(columns, [table_width([column], rows) for column in columns], console.width)
    if left := [column.heading for at, column in enumerate(columns) if at not in kept]:
        console.print(line(f"a window of {table_width(columns, rows)} columns shows {', '.join(left)} too", "dim"))


def table_width(columns: Sequence[Column[T]], rows: Sequence[T]) -> int:
    """How wide a table is that nothing is left out of."""
    widest = (max(cell_len(one_line(text)) for text in (column.heading, *map(column.cell, rows))) for column in columns)
    return sum(widest) + _GAP * (len(columns) - 1)


def _fitting(columns: Sequence[Column[T]], widths: Sequence[int], width: int) -> list[int]:
    """Which columns are shown."""
    room = width + _GAP
    kept = []
    for at in sorted(range(len(columns)), key=lambda at: columns[at].optional):
        if not columns[at].optional or widths[at] + _GAP <= room:
            room -= widths[at] + _GAP
            kept.append(at)
    return sorted(kept)


def _shortened_names(
    columns: Sequence[Column[T]], widths: Sequence[int], kept: list[int], width: int
) -> dict[int, int]:
    """Find how wide columns of names may be, so that no figure is cut away: the widest give way first."""
    names = {at: widths[at] for at in kept if not columns[at].right}
    too_much = sum(widths[at] + _GAP for at in kept) - _GAP - width
    while too_much > 0 and names and max(names.values()) > _LEAST_NAME:
        widest = max(names, key=lambda at: names[at])
        names[widest] -= 1
        too_much -= 1
    return {at: less for at, less in names.items() if less < widths[at]}


def shorten(text: str, width: int) -> str:
    """Leave the middle out of what is wider than `width`: names differ at their ends, files of a kind at their
    begin."""
    if cell_len(text) <= width:
        return text
    tail = text[-(width // 2) :]
    while cell_len(tail) > width // 2:  # of characters that take two cells
        tail = tail[1:]
    return set_cell_size(text, width - 1 - cell_len(tail)).rstrip() + "…" + tail


def _cell(column: Column[T], text: str, width: int, *, last: bool) -> str:
    space = " " * (width - cell_len(text))
    if column.right:
        return space + text
    return text if last else text + space


@dataclass(frozen=True)
class NamedLines:
    """Names on the left, what belongs to them on the right; long lines go on below, nothing is lost.

    Rich's Table.grid would do, but fills each line with spaces up to the longest: noise in files and in mails.
    """

    lines: Sequence[tuple[str, str]]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        left = max((cell_len(one_line(name)) for name, _ in self.lines), default=0) + _GAP
        for name, text in self.lines:
            shown = line(name, "bold")
            shown.pad_right(left - cell_len(shown.plain))
            for part in line(text).wrap(console, max(options.max_width - left, 1), overflow="fold") or [Text()]:
                row = Text.assemble(shown, part, no_wrap=True, overflow="ignore")
                row.rstrip()
                yield row
                shown = Text(" " * left)


def named_lines(lines: Sequence[tuple[str, str]]) -> NamedLines:
    """Show names on the left, and what belongs to them on the right."""
    return NamedLines(lines)
