"""Reading a sweep back, while it runs or long after."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from tlsweep.errors import ResultsError
from tlsweep.spec import MAIN_ARM, SweepSpec, load_spec
from tlsweep.store.folder import SweepFolder, find_sweep_folder
from tlsweep.store.journal import read_journal
from tlsweep.store.places import Place, to_place
from tlsweep.store.state import SweepState, TrialState

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


class Results:
    """A results folder: its tables, its spec, its winner."""

    def __init__(self, folder: SweepFolder) -> None:
        self.folder = folder

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def path(self) -> Place:
        return self.folder.path

    @property
    def spec(self) -> SweepSpec:
        """The complete spec of the sweep."""
        return load_spec(yaml.safe_load(self.folder.spec.read_text(encoding="utf-8")))

    @property
    def environment(self) -> dict[str, Any]:
        """Versions, hardware, fingerprints; empty where the sweep ended before they were known."""
        if not self.folder.environment.exists():
            return {}
        value: dict[str, Any] = json.loads(self.folder.environment.read_text(encoding="utf-8"))
        return value

    @property
    def reports(self) -> "pa.Table":
        """One row for each (trial, generation, epoch)."""
        return self._table("reports")

    @property
    def folds(self) -> "pa.Table | None":
        """One row for each (trial, generation, epoch, fold, repeat); None where trials train one network each."""
        return self._table("folds") if (self.path / "folds.parquet").exists() else None

    @property
    def events(self) -> "pa.Table":
        """One row for each decision or incident."""
        return self._table("events")

    @property
    def trials(self) -> "pa.Table":
        """One row for each trial."""
        return self._table("trials")

    @property
    def predictions(self) -> "pa.Table | None":
        """One row for each test image and each arm's winner; None before they have met the test split."""
        return self._table("predictions") if (self.path / "predictions.parquet").exists() else None

    def to_pandas(self, table: str) -> "pd.DataFrame":
        """`reports`, `folds`, `events`, `trials` or `predictions` as a pandas DataFrame."""
        frame: pd.DataFrame = self._table(table).to_pandas()
        return frame

    def state(self) -> SweepState:
        """Every trial as of the last journal record (later than the tables while the sweep runs)."""
        search = self.spec.search
        return SweepState(search.metric, search.sign).replay(read_journal(self.folder.journal))

    def winner(self, arm: str = MAIN_ARM) -> TrialState | None:
        """The trial with the best validation metric; None before the first report."""
        return self.state().winner(arm)

    def _table(self, table: str) -> "pa.Table":
        from tlsweep.store.tables import read_table

        try:
            return read_table(self.path, table)
        except FileNotFoundError:
            raise ResultsError(f"'{self.path}' has no {table}.parquet yet: the sweep has not begun to train") from None


def open_results(name: str | Path | None = None, results: str | Path = "results") -> Results:
    """Open a sweep by name, by path, or the newest one of `results`: a folder, or s3://BUCKET/PREFIX, gs://…

    Raises:
        ResultsError: there is no such sweep.
    """
    return Results(find_sweep_folder(to_place(results), None if name is None else str(name)))
