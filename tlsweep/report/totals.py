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
    """Epochs over all trials."""
    seconds: float
    """How long trials ran, over all launches of the sweep."""
    device_seconds: float
    """Training and evaluation, over all trials."""


def totals(tables: SweepTables) -> Totals:
    """Count up a sweep."""
    rows = [*tables.reports, *tables.events]
    times = [row["time"] for row in rows]
    elapsed = [seconds for row in rows if (seconds := row.get("elapsed")) is not None]
    # Tables of earlier versions have no `elapsed`, and were written by one launch.
    if not elapsed and times:
        elapsed = [max(times) - min(times)]
    return Totals(
        trials=len(tables.trials),
        statuses=dict(Counter(row["status"] for row in tables.trials).most_common()),
        epochs=len(tables.reports),
        seconds=max(elapsed, default=0.0),
        device_seconds=sum(row["device_seconds"] for row in tables.trials),
    )
