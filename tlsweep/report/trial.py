"""The life of one trial: what it was, what was decided about it, and what it left."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

from tlsweep.errors import ResultsError
from tlsweep.report.arms import evaluated
from tlsweep.report.lineage import Segment, lineage
from tlsweep.report.rows import Row
from tlsweep.report.soup import hands_over_soup
from tlsweep.report.tables import SweepTables, load_tables
from tlsweep.spec import MAIN_ARM
from tlsweep.store import Location, Record, Results, SweepFolder
from tlsweep.store.locations import files_below
from tlsweep.text import listed, one_line, shortened

_NAMED = 8
"""Arms whose trials are named where one is not found."""


@dataclass(frozen=True)
class TrialLife:
    """What the files of a sweep know of a trial."""

    tables: SweepTables
    row: Row
    """Its row of trials.parquet."""
    reports: Sequence[Row]
    """Its rows of reports.parquet, in the order of generations and epochs."""
    events: Sequence[Record]
    """What happened to it, and what others took from it, in order."""
    lineage: Sequence[Segment]
    """How its present weights were trained, from the first epoch on."""
    checkpoints: Sequence[Location]
    """Those of it that are kept, the oldest first."""
    model: Location | None
    """The exported model, where it is the winner of the main arm, and no average is handed over in its place."""

    @property
    def trial(self) -> str:
        """The trial's name."""
        return str(self.row["trial"])


def trial_life(results: Results, trial: str) -> TrialLife:
    """Read what is known of a trial.

    Raises:
        ResultsError: there is no such trial, or a file of the sweep is missing or damaged.
    """
    tables, folder = load_tables(results), SweepFolder(results.path)
    row = next((row for row in tables.trials if row["trial"] == trial), None)
    if row is None:
        raise ResultsError(_unknown(tables, trial))
    kept = sorted(path for path in files_below(folder.checkpoints) if path.startswith(f"{trial}/"))
    won = evaluated(tables).get(MAIN_ARM, {}).get("trial") == trial and not hands_over_soup(tables)
    return TrialLife(
        tables=tables,
        row=row,
        reports=sorted(results.reports_of(trial), key=lambda report: (report["generation"], report["epoch"])),
        events=[event for event in tables.events if _concerns(event, trial)],
        lineage=lineage(tables.events, trial, row["generation"], row["epoch"]),
        checkpoints=[folder.checkpoints / path for path in kept],
        model=folder.best if won and folder.best.exists() else None,
    )


def _concerns(event: Record, trial: str) -> bool:
    """Whether an event is one of the trial, a copy of it, or a resume of the sweep that let it go on."""
    details = event["details"]
    if event["kind"] == "resumed":
        return bool(trial in details["reopened"])
    return bool(event["trial"] == trial or (event["kind"] == "exploited" and details["donor"] == trial))


def _unknown(tables: SweepTables, trial: str) -> str:
    names = [str(row["trial"]) for row in tables.trials]
    what = f"there is no trial '{shortened(trial)}' in '{one_line(tables.name)}'"
    if not names:
        return f"{what}; no trial has begun there yet"
    alike = [name for name in names if name.lstrip("t0") == trial.lstrip("t0")]  # t7 is t0007
    number, arm, _ = trial[:60].partition("-")
    if arm and number in names:  # the arm is misspelled; of another number nobody means one that is alike
        alike = difflib.get_close_matches(trial[:60], names, n=1)
    if alike:
        return f"{what}; did you mean '{one_line(alike[0])}'?"
    return f"{what}; there are {listed(_spans(tables), _NAMED)}"


def _spans(tables: SweepTables) -> list[str]:
    """The trials of each arm from the first to the last: 't0000 to t0023'."""
    names: dict[str, list[str]] = {}
    for row in tables.trials:
        names.setdefault(row["arm"], []).append(row["trial"])
    return [" to ".join(dict.fromkeys((trials[0], trials[-1]))) for trials in names.values()]
