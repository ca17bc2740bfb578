"""Predictions on the screen."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tlsweep.terminal.columns import Column, fit_table
from tlsweep.terminal.console import SafeConsole

if TYPE_CHECKING:
    from tlsweep.inference.predicting import Prediction, Predictions


@contextmanager
def progress_bar() -> Iterator[Callable[[int, int], None]]:
    """What is to be told how many images are done, and of how many: a bar on standard error, where that is a terminal,
    which leaves nothing behind."""
    console = SafeConsole(file=sys.stderr)
    columns = (TextColumn("predicting"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        images = bar.add_task("images", total=None)
        yield lambda done, total: bar.update(images, completed=done, total=total)


def print_predictions(console: Console, predictions: "Predictions") -> None:
    """A line for each image: its class, how probable that is, and what comes next."""
    columns = [
        Column["Prediction"]("file", lambda row: row.file, right=False),
        Column["Prediction"]("class", lambda row: row.classes[0], right=False),
        Column["Prediction"]("probability", lambda row: _number(row.probabilities[0])),
    ]
    if any(len(row.classes) > 1 for row in predictions.rows):
        columns.append(Column["Prediction"]("next best", _others, right=False))
    if predictions.rows:
        console.print(fit_table(columns, predictions.rows, console.width))


def _others(row: "Prediction") -> str:
    others = zip(row.classes[1:], row.probabilities[1:], strict=True)
    return ", ".join(f"{name} {_number(probability)}" for name, probability in others)


def _number(probability: float) -> str:
    return f"{probability:.4f}"
