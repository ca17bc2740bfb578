"""What the files of a sweep say, as rows; and the tables that follow from them row by row."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tlsweep.report.lineage import configurations
from tlsweep.spec import SearchSpec, SweepSpec
from tlsweep.spec.space import Value
from tlsweep.store import Place, Record, Results, Status
from tlsweep.store.journal import is_finite

if TYPE_CHECKING:
    import pyarrow as pa

Row = Mapping[str, Any]
"""A row of a Parquet table: column to value, None for null."""

_REPORT_COLUMNS = (
    "arm", "trial", "generation", "epoch", "lr", "batch_size", "val_loss", "val_accuracy", "val_precision",
    "val_recall", "val_f1", "time",
)  # fmt: skip
_PREDICTION_COLUMNS = ("arm", "trial", "image", "label", "predicted")


@dataclass(frozen=True)
class SweepTables:
    """A sweep as of the moment its files were read."""

    name: str
    path: Place
    spec: SweepSpec
    environment: Mapping[str, Any]
    reports: Sequence[Row]
    """The columns of reports.parquet that the tables below need."""
    events: Sequence[Record]
    """As in the journal: `details` is a mapping, `time` in seconds since 1970."""
    trials: Sequence[Row]
    predictions: Sequence[Row] = ()
    """Of predictions.parquet: arm, trial, image, label, predicted; empty before the winners have met the test split."""


@dataclass(frozen=True)
class Leader:
    """A trial at its best epoch."""

    trial: str
    arm: str
    hyperparameters: Mapping[str, Value]
    """In force at the best epoch."""
    generation: int
    best_epoch: int
    epochs: int
    """Completed when it ended."""
    metrics: Mapping[str, float]
    """`val_accuracy`, …, at the best epoch."""
    status: str


@dataclass(frozen=True)
class Failure:
    """A trial that failed."""

    trial: str
    epoch: int
    error: str
    """The last line of its traceback, or the reason."""


def load_tables(results: Results) -> SweepTables:
    """Read the Parquet files of a sweep, and what lies beside them.

    Raises:
        ResultsError: they have not been written yet.
    """
    predictions = results.predictions
    return SweepTables(
        name=results.name,
        path=results.path,
        spec=results.spec,
        environment=results.environment,
        reports=_rows(results.reports.select(list(_REPORT_COLUMNS))),
        events=[_decode(row) for row in _rows(results.events)],
        trials=results.trials.to_pylist(),
        predictions=[] if predictions is None else predictions.select(list(_PREDICTION_COLUMNS)).to_pylist(),
    )


def _rows(table: "pa.Table") -> list[dict[str, Any]]:
    """The rows, with `time` in seconds since 1970: pyarrow would import pandas to convert timestamps, half a second."""
    times: Any = table["time"]
    seconds = [one / 1e6 for one in times.cast("int64").to_pylist()]
    return [row | {"time": one} for row, one in zip(table.drop_columns("time").to_pylist(), seconds, strict=True)]


def _decode(event: dict[str, Any]) -> Record:
    return event | {"details": json.loads(event["details"]) if event["details"] else {}}


def leaders(tables: SweepTables, arm: str | None = None) -> list[Leader]:
    """The trials (of one arm) that reported a finite metric, the best first.

    Ties go to the lower validation loss, then to the earlier trial, as in `SweepState.winner`.
    """
    search = tables.spec.search
    known = configurations(tables.events)
    ranked = sorted(
        (row for row in tables.trials if is_finite(row[f"best_{search.metric}"]) and arm in (None, row["arm"])),
        key=lambda row: (*_rank(row, search), -row["number"]),
        reverse=True,
    )
    return [_leader(row, known[row["trial"], row["best_generation"]]) for row in ranked]


def _rank(row: Row, search: SearchSpec) -> tuple[float, float]:
    loss = row["best_val_loss"]
    return search.sign * row[f"best_{search.metric}"], -loss if is_finite(loss) else float("-inf")


def _leader(row: Row, hyperparameters: Mapping[str, Value]) -> Leader:
    return Leader(
        trial=row["trial"],
        arm=row["arm"],
        hyperparameters=hyperparameters,
        generation=row["best_generation"],
        best_epoch=row["best_epoch"],
        epochs=row["epoch"],
        metrics={name.removeprefix("best_"): value for name, value in row.items() if name.startswith("best_val_")},
        status=row["status"],
    )


def failures(tables: SweepTables) -> list[Failure]:
    """The trials that failed, in the order of their numbers."""
    return [
        Failure(row["trial"], row["epoch"], _last_line(row["error"] or row["reason"] or "no reason was recorded"))
        for row in tables.trials
        if row["status"] == Status.FAILED
    ]


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else text
