"""Tables that fit the terminal: what has no room is left out whole, never cut."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from rich.cells import cell_len
from rich.console import Group
from rich.table import Table
from rich.text import Text

T = TypeVar("T")

_GAP = 2

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
    cells = [[column.heading, *map(column.cell, rows)] for column in columns]
    widths = [max(map(cell_len, texts)) for texts in cells]
    kept = _fitting(columns, widths, width)
    table = Text(no_wrap=True, overflow="ellipsis")
    for line in range(len(rows) + 1):
        parts = [_cell(columns[at], cells[at][line], widths[at], last=at == kept[-1]) for at in kept]
        style = "bold" if line == 0 else ""
        table.append((" " * _GAP).join(parts[:-1]) + " " * _GAP, style=style)
        table.append(parts[-1] + ("\n" if line < len(rows) else ""), style=_STYLES.get(parts[-1], style))
    return Group(table)  # a bare Text would lose no_wrap: Console.print joins texts into a new one


def _fitting(columns: Sequence[Column[T]], widths: Sequence[int], width: int) -> list[int]:
    """Which columns are shown."""
    room = width + _GAP
    kept = []
    for at in sorted(range(len(columns)), key=lambda at: columns[at].optional):
        if not columns[at].optional or widths[at] + _GAP <= room:
            room -= widths[at] + _GAP
            kept.append(at)
    return sorted(kept)


def _cell(column: Column[T], text: str, width: int, *, last: bool) -> str:
    space = " " * (width - cell_len(text))
    return space + text if column.right else text if last else text + space


def named_lines(lines: Sequence[tuple[str, str]]) -> Table:
    """Names on the left, what belongs to them on the right; long lines go on below, nothing is lost."""
    grid = Table.grid(padding=(0, _GAP, 0, 0))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, text in lines:
        grid.add_row(Text(name), Text(text))
    return grid
