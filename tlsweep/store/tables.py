"""The Parquet tables: a projection of the journal, rewritten whole while the sweep runs, readable at any moment."""

import io
import json
import math
import time
from collections.abc import Container, Iterable, Mapping, Sequence
from functools import cache
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tlsweep.store.files import cannot_write, write_whole
from tlsweep.store.journal import Record
from tlsweep.store.locations import Location, files_below
from tlsweep.store.schema import ERRORS, HYPERPARAMETERS, METRICS, REQUIRED, SCHEMA_VERSION, TABLES
from tlsweep.store.state import SweepState, TrialState
from tlsweep.store.stretches import Stretches

_TYPES = {
    "string": pa.string(),
    "int": pa.int64(),
    "float": pa.float64(),
    "bool": pa.bool_(),
    "time": pa.timestamp("us", tz="UTC"),
}


@cache
def arrow_schema(table: str) -> pa.Schema:
    """The schema of a table with its version in the metadata, and each column's meaning in the column's own."""
    fields = [
        pa.field(name, _TYPES[column.type], metadata={"meaning": column.meaning})
        for name, column in TABLES[table].items()
    ]
    return pa.schema(fields, metadata={"tlsweep_schema": str(SCHEMA_VERSION)})


def rows_to_table(table: str, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Rows as an Arrow table; what a row lacks is null, what the schema lacks is left out."""
    schema = arrow_schema(table)
    columns = [[_cell(row.get(name), TABLES[table][name].type) for row in rows] for name in schema.names]
    return pa.Table.from_arrays(
        [pa.array(column, type=field.type) for column, field in zip(columns, schema, strict=True)], schema=schema
    )


def _cell(value: Any, kind: str) -> Any:
    if value is None:
        return None
    if kind == "time":
        # Arrow's timestamps are whole microseconds.
        return int(value * 1_000_000)
    if kind == "float":
        return float(value)  # Arrow takes no whole number above 2^63 for one
    if kind == "string" and not isinstance(value, str):
        return json.dumps(_json(value), allow_nan=False)
    if kind == "string" and not value.isascii():  # a file name that is no UTF-8 may stand in a message
        return value.encode(errors="backslashreplace").decode()
    return value


def _json(value: Any) -> Any:
    """JSON has no NaN and no infinity, and most readers refuse what Python writes for them: null."""
    if isinstance(value, Mapping):
        return {name: _json(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


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
    """Keeps the four files of a sweep up to date, and a fifth where a trial trains several networks.

    A Parquet file cannot grow in place, so each is written again under another name and moved over the old one: a
    reader always finds a whole file. Rewriting is spaced so that it takes at most a twentieth of the time.
    """

    def __init__(self, folder: Location, sweep: str) -> None:
        self._folder: Location | None = folder
        self._sweep = sweep
        self._written: dict[str, list[pa.Table]] = {"reports": [], "folds": [], "events": []}
        self._rows: dict[str, list[Record]] = {"reports": [], "folds": [], "events": []}
        self._stretches = Stretches()
        self._due = 0.0

    def add(self, records: Iterable[Record]) -> None:
        """Take `records` for the next writing."""
        for record in records:
            self._rows["reports" if record["type"] == "report" else "events"].append(record)
            self._rows["folds"] += [record | run for run in record.get("folds", ())]
            self._stretches.apply(record)

    def move_to(self, folder: Location | None) -> None:
        """Write to another folder from now on, or to none."""
        self._folder = folder

    @property
    def due(self) -> bool:
        """Whether the last time is long enough ago."""
        return time.monotonic() >= self._due

    def write(self, state: SweepState) -> None:
        """Write all tables as of now."""
        if self._folder is None:
            return
        begun = time.monotonic()
        for table, rows in self._rows.items():
            if rows or not (self._written[table] or table == "folds"):
                self._written[table].append(rows_to_table(table, [self._with_sweep(row) for row in rows]))
                rows.clear()
                self._replace(self._folder, table, self._written[table])
        files = {f"checkpoints/{path}" for path in files_below(self._folder / "checkpoints")}
        trials = [trial_row(self._sweep, trial, files) for trial in state.trials.values()]
        self._replace(self._folder, "trials", [rows_to_table("trials", trials)])
        schedule = [self._with_sweep(row) for row in self._stretches.rows(state.metric, state.sign)]
        self._replace(self._folder, "schedule", [rows_to_table("schedule", schedule)])
        self._due = time.monotonic() + max(1.0, 20 * (time.monotonic() - begun))

    def _with_sweep(self, row: Record) -> Record:
        return {"sweep": self._sweep, **row}

    def _replace(self, folder: Location, table: str, parts: list[pa.Table]) -> None:
        whole = pa.concat_tables(parts).combine_chunks()
        parts[:] = [whole]
        write_table(folder, table, whole)


def write_table(folder: Location, table: str, rows: pa.Table) -> None:
    """Write one of the tables of a results folder, whole or not at all.

    Raises:
        ResultsError: the disk, or the store, does not take it.
    """
    path = folder / f"{table}.parquet"
    try:
        write_whole(path, _file(rows), folders=False)
    except OSError as error:
        raise cannot_write(path, error) from error


def parquet(columns: Mapping[str, Sequence[str] | Sequence[float]]) -> bytes:
    """A Parquet file of columns that belong to no sweep."""
    return _file(pa.table(dict(columns)))


def _file(rows: pa.Table) -> bytes:
    content = io.BytesIO()
    # Without checksums Parquet gives other numbers for a page that was damaged, and no error.
    pq.write_table(rows, content, compression="zstd", write_page_checksum=True)
    return content.getvalue()


def read_table(folder: Location, table: str) -> pa.Table:
    """One of the tables of a results folder, as it is on disk now.

    Raises:
        FileNotFoundError: it is missing.
        OSError, ValueError: it is damaged, or none of ours.
    """
    content = pa.BufferReader((folder / f"{table}.parquet").read_bytes())
    try:
        # pq.read_table would import pandas, for half a second.
        with pq.ParquetFile(content, page_checksum_verification=True) as file:
            found = file.read()
            found.validate(full=True)
    except (pa.ArrowException, KeyError, IndexError, TypeError) as error:  # a damaged footer raises all of these
        raise ValueError(str(error)) from error
    schema = arrow_schema(table)
    for column in schema:
        if column.name in found.column_names and found.schema.field(column.name).type != column.type:
            raise ValueError(f"the column {column.name} has another type")
    if lacking := [name for name in REQUIRED[table] if found.column_names.count(name) != 1]:
        raise ValueError(f"it lacks the column {lacking[0]}")
    return found
