"""Keeps the tables of a sweep up to date: a projection of the journal, readable at any moment."""

import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa

from tlsweep.spec import SweepSpec
from tlsweep.store.files import cannot_write
from tlsweep.store.journal import Record
from tlsweep.store.locations import Location, files_below
from tlsweep.store.state import SweepState
from tlsweep.store.stretches import Key, Stretches
from tlsweep.store.tables.files import write_file, write_table
from tlsweep.store.tables.growing import GrowingFile
from tlsweep.store.tables.own import Layout
from tlsweep.store.tables.replacing import ReplacedRows
from tlsweep.store.tables.trials import trial_row, with_files

_SHARE = 20
"""Writing takes at most a twentieth of the time."""
_BYTES = 4e6
"""Bytes a second, at most: a file is soon written again, and disks wear out."""

_WITHIN = {"folds": "folds", "clients": "by_client"}
"""The tables of what a report has several of, and under which name it has them."""


class TableWriter:
    """Keeps the four files of a sweep up to date, and one more where a trial trains several networks, or a federation.

    A Parquet file cannot grow in place, nor can an object in a bucket, so each is written again under another name and
    moved over the old one: a reader always finds a whole file. Of reports and events, which are only added to, most is
    copied (`GrowingFile`); of trials and stretches only those are converted again of which there is something new.
    """

    def __init__(self, folder: Location, sweep: str, spec: SweepSpec | None = None) -> None:
        self._layout = Layout(spec)
        self._home, self._sweep = folder, sweep
        self._folder: Location | None = folder
        self._growing = {table: GrowingFile(self._layout.of(table)) for table in ("reports", *_WITHIN, "events")}
        self._stale = {"reports", "events"}
        """Which of these have rows that are not written; without any row those of `_WITHIN` are not written at all."""
        self._trials = ReplacedRows[str](self._layout.of("trials"))
        self._news: dict[str, None] = {}
        """Trials of which there are records since the last writing, in the order of these."""
        self._schedule = ReplacedRows[Key](self._layout.of("schedule"))
        self._stretches = Stretches()
        self._due = 0.0

    def add(self, records: Iterable[Record]) -> None:
        """Take `records` for the next writing.

        Raises:
            ResultsError: the disk is full.
        """
        for record in records:
            if record["type"] == "report" and self._layout.learn(record):
                self._growing["reports"] = self._growing["reports"].widened(self._layout.of("reports"))
                self._trials.widen(self._layout.of("trials"))
            self._grow("reports" if record["type"] == "report" else "events", record)
            for table, key in _WITHIN.items():
                for part in record.get(key, ()):
                    self._grow(table, record | part)
            self._stretches.apply(record)
            if record["trial"] is not None:
                self._news[record["trial"]] = None
            elif record["kind"] == "resumed":  # which opens trials that had ended
                self._news |= dict.fromkeys(self._trials.keys)

    def move_to(self, folder: Location | None) -> None:
        """Write to another folder from now on, or to none."""
        self._folder = folder

    @property
    def due(self) -> bool:
        """Whether the last time is long enough ago."""
        return time.monotonic() >= self._due

    def write(self, state: SweepState) -> None:
        """Write all tables as of now.

        Raises:
            ResultsError: the disk, or the store, does not take them.
        """
        if self._folder is None:
            return
        begun, written = time.monotonic(), 0
        for table in sorted(self._stale):
            written += write_file(self._folder, table, self._growing[table].content())
            self._stale.remove(table)
        written += write_table(self._folder, "trials", self._trials_now(self._folder, state))
        written += write_table(self._folder, "schedule", self._schedule_now(state))
        now = time.monotonic()
        self._due = now + max(1.0, _SHARE * (now - begun), written / _BYTES)

    def _grow(self, table: str, row: Record) -> None:
        self._stale.add(table)
        try:
            self._growing[table].add(self._layout.fitted(table, {"sweep": self._sweep, **row}))
        except OSError as error:
            raise cannot_write(Path(tempfile.gettempdir()), error, self._home) from error

    def _trials_now(self, folder: Location, state: SweepState) -> pa.Table:
        for trial in self._news:
            self._trials.put(trial, self._layout.fitted("trials", trial_row(self._sweep, state.trials[trial])))
        self._news = {}
        return with_files(
            self._trials.to_table(), (f"checkpoints/{path}" for path in files_below(folder / "checkpoints"))
        )

    def _schedule_now(self, state: SweepState) -> pa.Table:
        for key, row in self._stretches.take_changed(state.metric, state.sign):
            self._schedule.put(key, {"sweep": self._sweep, **row})
        return self._schedule.to_table(sorted(self._schedule.keys))
