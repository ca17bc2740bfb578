"""The Parquet tables: a projection of the journal, rewritten whole while the sweep runs, readable at any moment."""

import io
import json
import math
import time
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tlsweep.store.files import cannot_write, write_whole
from tlsweep.store.journal import Record
from tlsweep.store.places import Place, files_below
from tlsweep.store.schema import ERRORS, HYPERPARAMETERS, METRICS, SCHEMA_VERSION, TABLES
from tlsweep.store.state import SweepState, TrialState

_TYPES = {
    "string": pa.string(),
    "int": pa.int64(),
    "float": pa.float64(),
    "bool": pa.bool_(),
    "time": pa.timestamp("us", tz="UTC"),
}


def arrow_schema(table: str) -> pa.Schema:
    """The schema of `reports`, `events` or `trials`, with its version in the metadata."""
    fields = [pa.field(name, _TYPES[kind]) for name, kind in TABLES[table].items()]
    return pa.schema(fields, metadata={"tlsweep_schema": str(SCHEMA_VERSION)})


def rows_to_table(table: str, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Rows as an Arrow table; what a row lacks is null, what the schema lacks is left out."""
    schema = arrow_schema(table)
    columns = [[_cell(row.get(name), TABLES[table][name]) for row in rows] for name in schema.names]
    return pa.Table.from_arrays(
        [pa.array(column, type=field.type) for column, field in zip(columns, schema, strict=True)], schema=schema
    )


def _cell(value: Any, kind: str) -> Any:
    if value is None:
        return None
    if kind == "time":
        return int(value * 1_000_000)
    if kind == "string" and not isinstance(value, str):
        return json.dumps(_json(value), allow_nan=False)
    return value


def _json(value: Any) -> Any:
    """JSON has no NaN and no infinity, and most readers refuse what Python writes for them: null."""
    if isinstance(value, Mapping):
        return {name: _json(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_json(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def trial_row(sweep: str, trial: TrialState, files: Container[str]) -> dict[str, Any]:
    """A row of trials.parquet. Metrics that it has not are null, not NaN, which SQL takes for the largest number.

    Args:
        sweep: its name.
        trial: the trial.
        files: those of the sweep that are there.
    """
    best, last = trial.best or {}, trial.last or {}
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
        **{f"start_{name}": trial.start.get(name) for name in HYPERPARAMETERS},
        "best_epoch": best.get("epoch"),
        "best_generation": best.get("generation"),
        **{f"best_{name}": best.get(name) for name in METRICS},
        **{f"last_{name}": last.get(name) for name in METRICS},
        "runs": last.get("runs"),
        **{f"best_{name}": best.get(name) for name in ERRORS},
        **{f"last_{name}": last.get(name) for name in ERRORS},
        "checkpoint": kept if (kept := best.get("checkpoint")) and kept in files else None,
        "checkpoint_digest": best.get("digest"),
        "device_seconds": trial.device_seconds,
        "failures": trial.failures,
        "error": trial.error,
    }


class TableWriter:
    """Keeps the three files of a sweep up to date, and a fourth where a trial trains several networks.

    A Parquet file cannot grow in place, so each is written anew under another name and moved over the old one: a reader
    always finds a whole file. Rewriting is spaced so that it takes at most a twentieth of the time.
    """

    def __init__(self, folder: Place, sweep: str) -> None:
        self._folder, self._sweep = folder, sweep
        self._written: dict[str, list[pa.Table]] = {"reports": [], "folds": [], "events": []}
        self._rows: dict[str, list[Record]] = {"reports": [], "folds": [], "events": []}
        self._due = 0.0

    def add(self, records: Iterable[Record]) -> None:
        """Take `records` for the next writing."""
        for record in records:
            self._rows["reports" if record["type"] == "report" else "events"].append(record)
            self._rows["folds"] += [record | run for run in record.get("folds", ())]

    @property
    def due(self) -> bool:
        """Whether the last time is long enough ago."""
        return time.monotonic() >= self._due

    def write(self, state: SweepState) -> None:
        """Write all tables as of now."""
        begun = time.monotonic()
        for table, rows in self._rows.items():
            if rows or not (self._written[table] or table == "folds"):
                self._written[table].append(rows_to_table(table, [self._with_sweep(row) for row in rows]))
                rows.clear()
                self._replace(table, self._written[table])
        files = {f"checkpoints/{path}" for path in files_below(self._folder / "checkpoints")}
        trials = [trial_row(self._sweep, trial, files) for trial in state.trials.values()]
        self._replace("trials", [rows_to_table("trials", trials)])
        self._due = time.monotonic() + max(1.0, 20 * (time.monotonic() - begun))

    def _with_sweep(self, row: Record) -> Record:
        return {"sweep": self._sweep, **row}

    def _replace(self, table: str, parts: list[pa.Table]) -> None:
        whole = pa.concat_tables(parts).combine_chunks()
        parts[:] = [whole]
        write_table(self._folder, table, whole)


def write_table(folder: Place, table: str, rows: pa.Table) -> None:
    """Write one of the tables of a results folder, whole or not at all.

    Raises:
        ResultsError: the disk, or the store, does not take it.
    """
    path = folder / f"{table}.parquet"
    try:
        content = io.BytesIO()
        pq.write_table(rows, content, compression="zstd")
        write_whole(path, content.getvalue())
    except OSError as error:
        raise cannot_write(path, error) from error


def read_table(folder: Place, table: str) -> pa.Table:
    """One of the tables of a results folder, as it is on disk now."""
    # pq.read_table would import pandas, for half a second.
    with pq.ParquetFile(pa.BufferReader((folder / f"{table}.parquet").read_bytes())) as file:
        return file.read()
