"""What two sweeps that were decided alike have in common."""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from tlsweep.store import Record, Results, read_journal

DECISIONS = ("stopped", "finished", "exploited", "perturbed", "promoted")
TIMES = ("time", "elapsed", "node", "sweep", "samples_per_second", "device_memory")


def records_of(journal: Path, kind: str) -> list[Record]:
    """What a journal holds of one type, or of one kind of event; nothing while there is no journal."""
    return [one for one in read_journal(journal) if kind in (one["type"], one.get("kind"))]


def decisions(results: Results) -> list[tuple[Any, ...]]:
    events = results.to_pandas("events")
    rows = events[events.kind.isin(DECISIONS)]
    return [(one.trial, one.generation, one.kind, one.epoch, json.loads(one.details)) for one in rows.itertuples()]


def numbers(results: Results, table: str) -> pd.DataFrame:
    """Everything in a table that must not depend on time and place."""
    frame = results.to_pandas(table)
    keys = [name for name in ("trial", "generation", "epoch") if name in frame]
    return frame.drop(columns=[name for name in frame if name in TIMES or name.endswith("_seconds")]).sort_values(
        keys, ignore_index=True
    )
