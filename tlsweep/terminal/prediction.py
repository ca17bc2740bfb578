"""Predictions on the screen."""

from typing import TYPE_CHECKING

from rich.console import Console

from tlsweep.terminal.columns import Column, fit_table

if TYPE_CHECKING:
    from tlsweep.inference.predicting import Prediction, Predictions


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
