"""What works here: the metric over learning rate and batch size."""

import math
import statistics
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from tlsweep.report.tables import SweepTables
from tlsweep.spec import MAIN_ARM
from tlsweep.store.journal import is_finite


@dataclass(frozen=True)
class Cell:
    """The stretches of training with one batch size and a learning rate in one half decade."""

    mean: float | None
    """The mean of their best metrics; None where all diverged."""
    error: float | None
    """Standard error of the mean; None for fewer than two."""
    n: int
    """Stretches with a finite metric."""
    diverged: int
    """Stretches without one."""


@dataclass(frozen=True)
class Landscape:
    """Rows are half decades of learning rates, ascending; columns are batch sizes, ascending."""

    learning_rates: tuple[tuple[float, float], ...]
    """[low, high) of each row."""
    batch_sizes: tuple[int, ...]
    cells: Mapping[tuple[int, int], Cell]
    """The cells by (row, column); a combination that no trial had is absent."""


def landscape(tables: SweepTables, arm: str = MAIN_ARM) -> Landscape:
    """The grid of one arm.

    A stretch is one generation of one trial, so it has one configuration; it counts with its best epoch.
    """
    search = tables.spec.search
    stretches: dict[tuple[str, int], tuple[float, int]] = {}
    scores: dict[tuple[str, int], list[float]] = defaultdict(list)
    for row in tables.reports:
        if row["arm"] == arm:
            stretch = row["trial"], row["generation"]
            stretches[stretch] = row["lr"], row["batch_size"]
            if is_finite(row[search.metric]):
                scores[stretch].append(search.sign * row[search.metric])
    groups: dict[tuple[int, int], list[float | None]] = defaultdict(list)
    for stretch, (lr, batch_size) in stretches.items():
        best = search.sign * max(scores[stretch]) if scores[stretch] else None
        groups[_half_decade(lr), batch_size].append(best)
    return _grid(groups)


def _half_decade(lr: float) -> int:
    return math.floor(2 * math.log10(lr) + 1e-9)  # 0.001 belongs to the half decade that it begins


def _grid(groups: Mapping[tuple[int, int], list[float | None]]) -> Landscape:
    rows = sorted({row for row, _ in groups})
    columns = sorted({column for _, column in groups})
    return Landscape(
        tuple((10 ** (row / 2), 10 ** ((row + 1) / 2)) for row in rows),
        tuple(columns),
        {(rows.index(row), columns.index(column)): _cell(values) for (row, column), values in groups.items()},
    )


def _cell(values: list[float | None]) -> Cell:
    finite = [value for value in values if value is not None]
    error = statistics.stdev(finite) / math.sqrt(len(finite)) if len(finite) > 1 else None
    return Cell(statistics.fmean(finite) if finite else None, error, len(finite), len(values) - len(finite))
