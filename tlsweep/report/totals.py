"""A sweep in a few numbers."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from tlsweep.report.tables import SweepTables


@dataclass(frozen=True)
class Totals:
    """What a sweep consists of and what it took."""

    trials: int
    statuses: Mapping[str, int]
    """How many trials are `finished`, `stopped`, …, the most frequent first."""
    epochs: int
    """Over all trials."""
    seconds: float
    """From the first record to the last."""
    device_seconds: float
    """Training and evaluation, over all trials."""


def totals(tables: SweepTables) -> Totals:
    """Count up a sweep."""
    times = [row["time"] for row in (*tables.reports, *tables.events)]
    return Totals(
        trials=len(tables.trials),
        statuses=dict(Counter(row["status"] for row in tables.trials).most_common()),
        epochs=len(tables.reports),
        seconds=max(times) - min(times) if times else 0.0,
        device_seconds=sum(row["device_seconds"] for row in tables.trials),
    )
