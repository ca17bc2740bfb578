"""What the files of a sweep say, as rows; and the tables that follow from them row by row."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tlsweep.report.lineage import configurations
from tlsweep.report.rows import ReportRows, Row, to_rows
from tlsweep.spec import SweepSpec
from tlsweep.spec.search.space import Value
from tlsweep.store import Descent, Location, Record, Results, Status
from tlsweep.store.journal import is_finite
from tlsweep.store.ranking import Rank, rank
from tlsweep.store.results import damaged
from tlsweep.store.schema import TRIALS
from tlsweep.store.shapes import wrong_value
from tlsweep.store.stretches import Key

if TYPE_CHECKING:
    import pyarrow as pa

_REPORT_COLUMNS = (
    "arm", "trial", "generation", "epoch", "lr", "batch_size", "val_loss", "val_accuracy", "val_precision",
    "val_recall", "val_f1", "time",
)  # fmt: skip
_ALWAYS = ("trial", "arm", "number", "status", "epoch")
"""Columns of trials.parquet that are never null."""
_PREDICTION_COLUMNS = ("arm", "trial", "repeat", "image", "label", "predicted", "probability")


@dataclass(frozen=True)
class SweepTables:
    """A sweep as of the moment its files were read."""

    name: str
    path: Location
    spec: SweepSpec
    environment: Mapping[str, Any]
    reports: ReportRows
    """The columns of reports.parquet that the tables below need."""
    events: Sequence[Record]
    """The events as in the journal: `details` is a mapping, `time` in seconds since 1970."""
    trials: Sequence[Row]
    predictions: Sequence[Row] = ()
    """Rows of predictions.parquet: arm, trial, image, label, predicted, and probability where it is known; empty before
    winners met the test split."""
    hard_images: Sequence[Row] = ()
    """Rows of hard_images.parquet, the hardest first; empty before the winner met the test split."""
    searched_by: str | None = None
    """The metric that the sweep was searched by, where `spec.search.metric` is another one (`tables_by`)."""


@dataclass(frozen=True)
class Leader:
    """A trial at its best epoch."""

    trial: str
    arm: str
    hyperparameters: Mapping[str, Value]
    """The hyperparameters in force at the best epoch."""
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


def load_tables(results: Results, more: Sequence[str] = ()) -> SweepTables:
    """Read the Parquet files of a sweep, and what lies beside them.

    Args:
        results: The sweep.
        more: Further columns of reports.parquet; those that it lacks are left out.

    Raises:
        ResultsError: they have not been written yet, or one is damaged.
    """
    predictions, hard = results.predictions, results.hard_images
    columns = list(dict.fromkeys((*_REPORT_COLUMNS, results.spec.search.metric, *more)))
    # In the order opposite to that in which a running sweep writes them: what a trial names is then in the events.
    trials = results.trials.to_pylist()
    found = SweepTables(
        name=results.name,
        path=results.path,
        spec=results.spec,
        environment=results.environment,
        reports=ReportRows(results.read_reports(columns)),
        events=_events(results),
        trials=trials,
        predictions=[] if predictions is None else _some(predictions, _PREDICTION_COLUMNS).to_pylist(),
        hard_images=[] if hard is None else hard.to_pylist(),
    )
    check(found, results)
    return found


def _some(table: "pa.Table", columns: Iterable[str]) -> "pa.Table":
    """Those of these columns that it has: earlier versions wrote fewer."""
    return table.select([name for name in columns if name in table.column_names])


def check(tables: SweepTables, results: Results) -> None:
    """Refuse files that each read back, but are not of one sweep.

    Raises:
        ResultsError: they are not; one of them is named.
    """
    best = f"best_{tables.spec.search.metric}"
    for row in tables.trials:
        needed = (*_ALWAYS, "best_epoch", "best_generation") if is_finite(row[best]) else _ALWAYS
        if empty := [name for name in needed if row[name] is None]:
            raise damaged(results.folder, "trials.parquet", f"a trial lacks its {empty[0]}")
    if not {row["arm"] for row in tables.trials} <= set(tables.spec.arms):
        raise damaged(results.folder, "spec.yaml", "it lacks an arm that trials.parquet has")
    known = configurations(tables.events)
    named = [(row["trial"], row["best_generation"]) for row in tables.trials if row["best_epoch"] is not None]
    exploited = [event for event in tables.events if event["kind"] == "exploited"]
    descents = [Descent.from_details(event["details"]) for event in exploited]
    named += [(descent.donor, descent.donor_generation) for descent in descents]
    if not known.keys() >= set(named):
        raise damaged(results.folder, "events.parquet", "it lacks a trial that others name")


def _events(results: Results) -> list[Record]:
    try:
        return [_decode(row) for row in to_rows(results.events)]
    except (ValueError, RecursionError) as error:
        raise damaged(results.folder, "events.parquet", error) from None


def _decode(row: Row) -> Record:
    """Read an event as the journal has it from its row.

    Raises:
        ValueError: it is none that tlsweep writes.
    """
    event = {"type": "event", **row, "details": json.loads(row["details"]) if row["details"] else {}}
    if wrong := wrong_value(event) if isinstance(event["details"], dict) else "its details are no mapping":
        raise ValueError(wrong)
    return event


def leaders(tables: SweepTables, arm: str | None = None) -> list[Leader]:
    """The trials (of one arm) that reported a finite metric, the best first.

    Ranked as in the sweep itself (`tlsweep.store.ranking`).
    """
    known, rank_of = configurations(tables.events), _ranking(tables)
    ranked = sorted(_with_metric(tables, arm), key=rank_of, reverse=True)
    # Once, as a row has a hundred columns, and a sweep ten thousand rows.
    metrics = _metrics(ranked[0]) if ranked else {}
    return [_leader(row, known, metrics) for row in ranked]


def leader(tables: SweepTables, arm: str | None = None, trial: str | None = None) -> Leader | None:
    """One of `leaders`, without making the others: that trial, or the first; None where there is none."""
    rows = (row for row in _with_metric(tables, arm) if trial in (None, row["trial"]))
    row = max(rows, key=_ranking(tables), default=None)
    return None if row is None else _leader(row, configurations(tables.events), _metrics(row))


def _with_metric(tables: SweepTables, arm: str | None) -> Iterator[Row]:
    best = f"best_{tables.spec.search.metric}"
    return (row for row in tables.trials if is_finite(row[best]) and arm in (None, row["arm"]))


def _ranking(tables: SweepTables) -> Callable[[Row], Rank]:
    best, sign = f"best_{tables.spec.search.metric}", tables.spec.search.sign
    return lambda row: rank(row[best], row["best_val_loss"], row["number"], sign=sign)


def _metrics(row: Row) -> dict[str, str]:
    """The columns of a trial that are metrics at its best epoch, by the name of the metric."""
    return {
        name.removeprefix("best_"): name
        for name in row
        # What no other sweep has a column for is a metric of the user's own function.
        if name.startswith("best_val_") or (name.startswith("best_") and name not in TRIALS)
    }


def _leader(row: Row, known: Mapping[Key, Mapping[str, Value]], metrics: Mapping[str, str]) -> Leader:
    return Leader(
        trial=row["trial"],
        arm=row["arm"],
        hyperparameters=known[row["trial"], row["best_generation"]],
        generation=row["best_generation"],
        best_epoch=row["best_epoch"],
        epochs=row["epoch"],
        metrics={name: row[column] for name, column in metrics.items()},
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
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    return lines[-1] if lines else text
