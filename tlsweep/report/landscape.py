"""What works here: the metric over learning rate and batch size."""

import math
import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from tlsweep.report.tables import SweepTables
from tlsweep.spec import MAIN_ARM


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
    groups: dict[tuple[int, int], list[float | None]] = defaultdict(list)
    for lr, batch_size, best in _stretches(tables, arm):
        groups[_half_decade(lr), batch_size].append(best)
    return _grid(groups)


def _stretches(tables: SweepTables, arm: str) -> Iterator[tuple[float, int, float | None]]:
    """Learning rate, batch size and best metric of each stretch; None where all diverged."""
    search, reports = tables.spec.search, tables.reports
    arms, names = reports.codes("arm")
    trials, _ = reports.codes("trial")
    here = np.flatnonzero(arms == names.index(arm)) if arm in names else np.array([], dtype=np.int64)
    generations = reports.numbers("generation")[here].astype(np.int64)
    # One number for each trial and generation: to sort pairs takes ten times as long.
    found, stretch = np.unique(trials[here] * (1 + generations.max(initial=0)) + generations, return_inverse=True)
    values = search.sign * reports.numbers(search.metric)[here]
    best = np.full(len(found), -np.inf)
    finite = np.isfinite(values)
    np.maximum.at(best, stretch[finite], values[finite])
    last = np.zeros(len(found), dtype=np.int64)
    last[stretch] = (
        here  # of several rows of a stretch the last one stays (numpy, "Assigning values to indexed arrays")
    )
    lrs, sizes = reports.numbers("lr")[last], reports.numbers("batch_size")[last]
    for lr, size, value in zip(lrs.tolist(), sizes.tolist(), best.tolist(), strict=True):
        yield lr, int(size), search.sign * value if math.isfinite(value) else None


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
