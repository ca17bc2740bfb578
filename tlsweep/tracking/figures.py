"""Which figures of a report a tracker shows, and what they are called there: pure functions of records."""

from collections.abc import Collection, Mapping
from typing import Any, Final

from tlsweep.store import Record
from tlsweep.store.schema import METRICS
from tlsweep.tracking.tracker import Row

_TAKEN: Final[Mapping[str, str]] = {
    # Trackers draw together what has the same word before the slash.
    **{name: name.replace("_", "/", 1) for name in METRICS},
    "scheduled_lr": "train/lr",
    "scheduled_batch_size": "train/batch_size",
    "samples_per_second": "train/samples_per_second",
    "train_seconds": "train/seconds",
    "eval_seconds": "val/seconds",
    "generation": "generation",
}
"""Columns of the reports, and the names of the figures."""


def row(report: Record, changing: Collection[str]) -> Row:
    """The figures of a report.

    Args:
        report: The record.
        changing: Names of hyperparameters that differ between the epochs of a trial; numbers alone are taken.
    """
    # Reports of earlier versions lack columns that came later.
    taken = {"scheduled_batch_size": report["batch_size"]} | report
    named = {figure: taken.get(column) for column, figure in _TAKEN.items()}
    named |= {f"hyperparameters/{name}": report.get(name) for name in changing}
    named |= {name: report.get(name) for name in report.get("own", ())}  # of a function of the user's own
    return Row(report["epoch"], report["time"], _numbers(named))


def best_row(report: Record) -> Row:
    """The metrics of the best epoch of a trial, named `best/val/accuracy`."""
    named = {f"best/{_TAKEN[name]}": report.get(name) for name in METRICS}
    named |= {f"best/{name}": report.get(name) for name in report.get("own", ())}
    return Row(report["epoch"], report["time"], _numbers(named))


def test_row(evaluated: Record) -> Row:
    """What a winner reached on the test split, named `test/accuracy`."""
    details = evaluated["details"]
    figures = {f"test/{name.removeprefix('val_')}": details.get(name.removeprefix("val_")) for name in METRICS}
    figures = {name: value for name, value in figures.items() if not name.startswith("test/train_")}
    return Row(evaluated["epoch"], evaluated["time"], _numbers(figures))


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """What is a number, also one that is not finite: a trial that diverged shows that."""
    return {
        name: float(value)
        for name, value in values.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
