"""Reading a sweep back, while it runs or long after."""

import json
import re
import textwrap
from collections import Counter
from collections.abc import Collection, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlsweep.errors import ResultsError, SpecError
from tlsweep.spec import MAIN_ARM, SweepSpec, load_spec
from tlsweep.spec.loading import StoredSpec, read_stored
from tlsweep.spec.sweep import NAME
from tlsweep.store.folder import SweepFolder, command, find_sweep_folder, refuse_without_journal
from tlsweep.store.journal import read_journal
from tlsweep.store.locations import Location, to_location
from tlsweep.store.ranking import rank
from tlsweep.store.schema import Columns
from tlsweep.store.shapes import wrong_environment
from tlsweep.store.shown import figure, html_table
from tlsweep.store.state import SweepState, TrialState
from tlsweep.text import one_line

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


class Results:
    """A results folder: its tables, its spec, its winner."""

    def __init__(self, folder: SweepFolder) -> None:
        self.folder = folder

    def __repr__(self) -> str:
        (_, trials), *others = self._facts()
        said = "; ".join([trials, *(f"{name} {text}" for name, text in others)])
        return f"Results({one_line(str(self.path))!r}: {said})"

    def _repr_html_(self) -> str:
        return html_table(self.name, [*self._facts(), ("folder", str(self.path))])

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def path(self) -> Location:
        return self.folder.path

    @property
    def spec(self) -> SweepSpec:
        """The complete spec of the sweep."""
        try:
            return _loaded(_spec_text(self.folder), str(self.folder.spec))
        except SpecError as error:
            raise damaged(self.folder, "spec.yaml", error) from None

    @property
    def environment(self) -> dict[str, Any]:
        """Versions, hardware, fingerprints; empty where the sweep ended before they were known."""
        if not self.folder.environment.exists():
            return {}
        try:
            value = json.loads(self.folder.environment.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise damaged(self.folder, "environment.json", error) from None
        if not isinstance(value, dict):
            raise damaged(self.folder, "environment.json", "it holds no mapping")
        if wrong := wrong_environment(value):
            raise damaged(self.folder, "environment.json", wrong)
        return value

    @property
    def reports(self) -> "pa.Table":
        """One row for each (trial, generation, epoch)."""
        return self._table("reports")

    def reports_of(self, trial: str) -> list[dict[str, Any]]:
        """The rows of `reports` of one trial, without the time, as mappings."""
        # pyarrow imports pandas to make Python's times of its own, which takes half a second.
        rows: list[dict[str, Any]] = self._table("reports", trial=trial).drop_columns("time").to_pylist()
        return rows

    def own_columns(self, table: str) -> Columns:
        """The columns that this sweep alone has in `reports` or `trials`: those of a function of the user's own."""
        from tlsweep.store.tables.own import columns_beside

        return columns_beside(self._table(table).schema, table)

    def read_reports(self, columns: Collection[str]) -> "pa.Table":
        """Those of these columns of `reports` that it has: earlier versions wrote fewer."""
        return self._table("reports", columns)

    @property
    def folds(self) -> "pa.Table | None":
        """One row for each (trial, generation, epoch, fold, repeat); None where trials train one network each."""
        if (self.path / "folds.parquet").exists():
            return self._table("folds")
        return None

    @property
    def clients(self) -> "pa.Table | None":
        """One row for each (trial, generation, epoch, client), an epoch being a round; None but of federations."""
        if (self.path / "clients.parquet").exists():
            return self._table("clients")
        return None

    @property
    def events(self) -> "pa.Table":
        """One row for each decision or incident."""
        return self._table("events")

    @property
    def trials(self) -> "pa.Table":
        """One row for each trial."""
        return self._table("trials")

    @property
    def schedule(self) -> "pa.Table | None":
        """One row for each stretch of a trial with the same base lr and batch size; None as earlier versions left it,
        until `tlsweep repair` makes it."""
        if (self.path / "schedule.parquet").exists():
            return self._table("schedule")
        return None

    @property
    def predictions(self) -> "pa.Table | None":
        """One row for each test image and each arm's winner; None before they have met the test split."""
        if (self.path / "predictions.parquet").exists():
            return self._table("predictions")
        return None

    @property
    def hard_images(self) -> "pa.Table | None":
        """One row for each image of training and validation whose label the winner finds hardest to believe; None
        before it has met the test split, and as earlier versions left it."""
        if (self.path / "hard_images.parquet").exists():
            return self._table("hard_images")
        return None

    def to_pandas(self, table: str) -> "pd.DataFrame":
        """Read a table as a pandas DataFrame; its name is that of its file, such as `reports` or `predictions`."""
        frame: pd.DataFrame = self._table(table).to_pandas()
        return frame

    def state(self) -> SweepState:
        """Every trial as of the last journal record (later than the tables while the sweep runs).

        Raises:
            ResultsError: the journal is missing, as in a sweep that was kept without it, or damaged.
        """
        refuse_without_journal(self.folder)
        search = self.spec.search
        return SweepState(search.metric, search.sign).replay(read_journal(self.folder.journal), self.folder.journal)

    def winner(self, arm: str = MAIN_ARM) -> TrialState | None:
        """The trial with the best validation metric, also where its start is better; None before the first report."""
        return self.state().winner(arm)

    @property
    def interrupted(self) -> bool:
        """Whether it has ended before it was done, so that it can be resumed; by the table, as a long journal takes
        seconds to read."""
        events = self._table("events", ("trial", "kind")).select(["trial", "kind"])
        of_sweep = events.filter(events["trial"].is_null())
        return len(of_sweep) > 0 and of_sweep["kind"][-1].as_py() == "interrupted"

    def _facts(self) -> list[tuple[str, str]]:
        """What is said of it in a line; of one that cannot be read, why."""
        try:
            metric, sign = self.spec.search.metric, self.spec.search.sign
            needed = ("arm", "status", "trial", "number", "best_epoch", "best_val_loss", f"best_{metric}")
            return _facts(self.trials.select(list(dict.fromkeys(needed))).to_pylist(), metric, sign)
        except (ResultsError, LookupError) as error:
            return [("trials", str(error))]

    def _table(self, table: str, columns: Collection[str] | None = None, trial: str | None = None) -> "pa.Table":
        from tlsweep.store.tables import read_table

        try:
            return read_table(self.path, table, columns, trial)
        except FileNotFoundError:
            if any(record["type"] == "report" for record in read_journal(self.folder.journal)):
                raise damaged(self.folder, f"{table}.parquet") from None
            raise ResultsError(f"'{self.path}' has no {table}.parquet yet: the sweep has not begun to train") from None
        except (OSError, ValueError) as error:
            verb = "resume" if table in ("predictions", "hard_images") else "repair"
            raise damaged(self.folder, f"{table}.parquet", error, verb) from None


def _facts(trials: list[dict[str, Any]], metric: str, sign: int) -> list[tuple[str, str]]:
    """Count trials, and name the best, by the table of trials: a long journal takes seconds to read."""
    states = ", ".join(f"{count} {status}" for status, count in Counter(row["status"] for row in trials).items())
    facts = [("trials", f"{len(trials)} trials ({states})" if trials else "no trials")]
    scored = [row for row in trials if row["arm"] == MAIN_ARM and row[f"best_{metric}"] is not None]
    if scored:
        best = max(scored, key=lambda row: rank(row[f"best_{metric}"], row["best_val_loss"], row["number"], sign=sign))
        reached = f"{metric} {figure(best[f'best_{metric}'])}"
        facts.append(("best", f"{best['trial']}, {reached} at epoch {best['best_epoch']}"))
    return facts


def damaged(folder: SweepFolder, file: str, reason: object = None, verb: str = "repair") -> ResultsError:
    """What to say of a file of a sweep that is missing, or does not read back, and can be made again.

    Args:
        folder: The sweep's.
        file: Its path in the folder.
        reason: Why it does not read back; None where it is missing.
        verb: What makes it again.
    """
    what = "is missing"
    if reason is not None:
        what = f"is damaged ({one_line(textwrap.shorten(str(reason), 160, placeholder=' …'))})"
    return ResultsError(f"'{one_line(str(folder.path / file))}' {what}; '{command(verb, folder.path)}' makes it again")


def read_spec(folder: SweepFolder) -> StoredSpec:
    """The spec as a sweep's folder has it; to be loaded, perhaps with overrides.

    Raises:
        ResultsError: it is missing or damaged.
    """
    text = _spec_text(folder)
    try:
        return with_sound_name(read_stored(text, str(folder.spec)))
    except SpecError as error:
        raise damaged(folder, "spec.yaml", error) from None


def _spec_text(folder: SweepFolder) -> str:
    try:
        return folder.spec.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise damaged(folder, "spec.yaml") from None
    except (OSError, ValueError) as error:
        raise damaged(folder, "spec.yaml", error) from None


# By its text, as a resume may change it: a launch alone asks nine times, 50 ms each.
@lru_cache(maxsize=16)
def _loaded(text: str, path: str) -> SweepSpec:
    return load_spec(with_sound_name(read_stored(text, path)))


def with_sound_name(spec: Mapping[str, Any]) -> StoredSpec:
    """A stored spec without a name that no spec can have.

    Earlier versions took over the name of a folder that was renamed by hand.
    """
    name = spec.get("name")
    sound = name is None or (isinstance(name, str) and re.fullmatch(NAME, name) is not None)
    return StoredSpec(spec if sound else {**spec, "name": None})


def open_results(name: str | Path | None = None, results: str | Path = "results") -> Results:
    """Open a sweep by name, by path, or the newest one of `results`: a folder, or s3://BUCKET/PREFIX, gs://…

    A sweep that was kept without its journal has tables, but no `state`.

    Raises:
        ResultsError: there is no such sweep.
    """
    return Results(find_sweep_folder(to_location(results), None if name is None else str(name), tables=True))
