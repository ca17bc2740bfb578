"""A sweep in a few numbers."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tlsweep.report.tables import SweepTables


@dataclass(frozen=True)
class Totals:
    """What a sweep consists of and what it took."""

    trials: int
    statuses: Mapping[str, int]
    """How many trials are `finished`, `stopped`, …, the most frequent first."""
    epochs: int
    """Epochs over all trials."""
    seconds: float
    """How long trials ran, over all launches of the sweep."""
    device_seconds: float
    """Training and evaluation, over all trials."""


def totals(tables: SweepTables) -> Totals:
    """Count up a sweep."""
    return Totals(
        trials=len(tables.trials),
        statuses=dict(Counter(row["status"] for row in tables.trials).most_common()),
        epochs=len(tables.reports),
        seconds=_seconds(tables),
        device_seconds=sum(row["device_seconds"] for row in tables.trials),
    )


def _seconds(tables: SweepTables) -> float:
    elapsed, times = _known(tables, "elapsed"), _known(tables, "time")
    # Tables of earlier versions have no `elapsed`, and were written by one launch.
    if not len(elapsed) and len(times):
        return float(times.max() - times.min())
    return float(elapsed.max(initial=0.0))


def _known(tables: SweepTables, column: str) -> NDArray[np.float64]:
    """A column of reports and events, an array of shape (rows,), without nulls."""
    events = np.array([event.get(column) for event in tables.events], dtype=np.float64)
    whole = np.concatenate([tables.reports.numbers(column), events])
    known: NDArray[np.float64] = whole[~np.isnan(whole)]
    return known
