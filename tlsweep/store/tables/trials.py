"""Rows of trials.parquet."""

from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tlsweep.store.schema import ERRORS, METRICS
from tlsweep.store.state import TrialState
from tlsweep.store.tables.own import own_metrics


def trial_row(sweep: str, trial: TrialState) -> dict[str, Any]:
    """A row of trials.parquet, whose checkpoint may be gone (`with_files`).

    Metrics that it has not are null, not NaN, which SQL takes for the largest number.
    """
    best, last = trial.best or {}, trial.last or {}
    figures = (*METRICS, *ERRORS, *own_metrics(last))
    return {
        "sweep": sweep,
        "stage": trial.stage,
        "arm": trial.arm,
        "trial": trial.trial,
        "number": trial.number,
        "status": str(trial.status),
        "reason": trial.reason,
        "generation": trial.generation,
        "parent_trial": trial.parent_trial,
        "epoch": trial.epoch,
        **trial.hyperparameters,
        **{f"start_{name}": trial.start.get(name) for name in trial.start},
        "best_epoch": best.get("epoch"),
        "best_generation": best.get("generation"),
        **{f"best_{name}": best.get(name) for name in figures},
        **{f"last_{name}": last.get(name) for name in figures},
        "runs": last.get("runs"),
        "checkpoint": best.get("checkpoint"),
        "checkpoint_digest": best.get("digest"),
        "device_seconds": trial.device_seconds,
        "failures": trial.failures,
        "error": trial.error,
    }


def with_files(trials: pa.Table, files: Iterable[str]) -> pa.Table:
    """The rows of trials.parquet without checkpoints that are not among the sweep's `files`."""
    at, kept = trials.schema.get_field_index("checkpoint"), trials["checkpoint"]
    there = pc.is_in(kept, value_set=pa.array(list(files), kept.type))
    return trials.set_column(at, trials.schema.field(at), pc.if_else(there, kept, pa.scalar(None, kept.type)))
