"""How the winner of an arm does on each class of the test split, and which it takes for which."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tlsweep.report.arms import evaluated
from tlsweep.report.tables import SweepTables
from tlsweep.spec import MAIN_ARM
from tlsweep.store import SweepFolder
from tlsweep.store.results import damaged


@dataclass(frozen=True)
class ClassResult:
    """One class. Where a trial trains several networks (folds, repeats), means over them."""

    name: str
    precision: float
    recall: float
    f1: float
    support: int
    """Test images of the class."""


@dataclass(frozen=True)
class ClassResults:
    """All classes, in the order of the task."""

    classes: Sequence[ClassResult]
    confusion: Sequence[Sequence[int]]
    """How many images of the class [row] were taken for the class [column], over all networks of the trial."""
    networks: int = 1

    def mistakes(self, label: int | None = None) -> list[tuple[int, int, int]]:
        """List (class, what it was taken for, how often), the most frequent first; of one class, or of all."""
        rows = range(len(self.classes)) if label is None else (label,)
        found = [
            (row, column, count)
            for row in rows
            for column, count in enumerate(self.confusion[row])
            if row != column and count
        ]
        return sorted(found, key=lambda mistake: -mistake[2])

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "classes": [vars(result) for result in self.classes],
            "confusion": [list(row) for row in self.confusion],
        }


def class_results(tables: SweepTables, arm: str = MAIN_ARM) -> ClassResults | None:
    """Results by class of an arm's winner; None before it has met the test split, and in sweeps of earlier versions.

    Raises:
        ResultsError: they are not of the classes that the sweep was trained on.
    """
    details, names = evaluated(tables).get(arm, {}), (tables.environment.get("data") or {}).get("classes")
    if "per_class" not in details or not names:
        return None
    figures = details["per_class"]
    columns = [figures[name] for name in ("precision", "recall", "f1", "support")]
    confusion = details["confusion"]
    if any(len(values) != len(names) for values in (*columns, confusion, *confusion)):
        reason = f"its test is not of the {len(names)} classes of environment.json"
        raise damaged(SweepFolder(tables.path), "events.parquet", reason)
    classes = [ClassResult(*row) for row in zip(names, *columns, strict=True)]
    return ClassResults(classes, confusion, details.get("runs", 1))
