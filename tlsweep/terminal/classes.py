"""The classes of the test split on the screen: figures of each, and the confusion matrix where it has room."""

from rich.cells import cell_len
from rich.console import Console

from tlsweep.report import ClassResult, ClassResults
from tlsweep.terminal.columns import Column, fit_table
from tlsweep.terminal.console import line
from tlsweep.terminal.format import score
from tlsweep.text import one_line

_ALL_SHOWN = 20
"""The most classes that are all shown; of more only the hardest are."""
_HARDEST = 10
_MISTAKES = 10


def print_classes(console: Console, results: ClassResults) -> None:
    """A line for each class, the lowest F1 first where not all are shown; then which is taken for which."""
    shown, hidden = list(range(len(results.classes))), []
    if len(shown) > _ALL_SHOWN:
        order = sorted(shown, key=lambda at: results.classes[at].f1)
        shown, hidden = order[:_HARDEST], order[_HARDEST:]
    console.print(fit_table(_columns(results), shown, console.width))
    if hidden:
        console.print(line(_rest(score(results.classes[shown[-1]].f1), [results.classes[at] for at in hidden]), "dim"))
    console.print()
    matrix = _matrix(results, console.width)
    if matrix is not None:
        together = f", by {results.networks} networks together" if results.networks > 1 else ""
        console.print(line(f"rows: what it is; columns: what it is taken for{together}", "dim"))
        console.print(fit_table(matrix, range(len(results.classes)), console.width))
    else:
        console.print(line(_mistakes(results)))


def _rest(limit: str, hidden: list[ClassResult]) -> str:
    """What is known of the classes that are not shown: none has an F1 below `limit`, the highest one shown."""
    what = f"and {len(hidden):,} more classes"  # at least eleven
    equal = sum(score(result.f1) == limit for result in hidden)
    if equal == len(hidden):
        return f"{what}, also with F1 {limit}"
    if equal:
        return f"{what}, of which {equal:,} also with F1 {limit}, the others with a higher one"
    return f"{what}, all with a higher F1"


def _columns(results: ClassResults) -> list[Column[int]]:
    def taken_for(at: int) -> str:
        worst = results.mistakes(at)
        if worst:
            return f"{results.classes[worst[0][1]].name} ({worst[0][2]})"
        return ""

    return [
        Column("class", lambda at: results.classes[at].name, right=False),
        Column("precision", lambda at: score(results.classes[at].precision)),
        Column("recall", lambda at: score(results.classes[at].recall)),
        Column("F1", lambda at: score(results.classes[at].f1)),
        Column("images", lambda at: f"{results.classes[at].support:,}"),
        Column("most often taken for", taken_for, right=False, optional=1),
    ]


def _matrix(results: ClassResults, width: int) -> list[Column[int]] | None:
    """The confusion matrix, headed by names, or by numbers where these are too wide; None where both are."""
    names = [one_line(result.name) for result in results.classes]
    numbered = [f"{at} {name}" for at, name in enumerate(names)]
    for rows, headings in ((names, names), (numbered, [str(at) for at in range(len(names))])):
        columns = [Column[int]("", lambda at, rows=rows: rows[at], right=False)]  # type: ignore[misc]
        columns += [_taken_for(results, column, heading) for column, heading in enumerate(headings)]
        cells = [[column.heading, *map(column.cell, range(len(names)))] for column in columns]
        if sum(max(map(cell_len, texts)) + 2 for texts in cells) - 2 <= width:
            return columns
    return None


def _taken_for(results: ClassResults, column: int, heading: str) -> Column[int]:
    return Column(heading, lambda row: str(results.confusion[row][column] or "·"))


def _mistakes(results: ClassResults) -> str:
    names = [result.name for result in results.classes]
    shown = [f"{names[true]} for {names[taken]} ({count})" for true, taken, count in results.mistakes()[:_MISTAKES]]
    if shown:
        return f"most often taken: {', '.join(shown)}"
    return "no image was taken for another class"
