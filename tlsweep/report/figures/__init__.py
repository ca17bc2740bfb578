"""Pictures of a sweep with plotly; `tlsweep.figures` in Python, for notebooks too.

Each is a function of a sweep's tables (`load`), and None where the sweep has nothing of it.
"""

from collections.abc import Callable

import plotly.graph_objects as go

from tlsweep.report.by_metric import tables_by
from tlsweep.report.figures.contenders import contenders
from tlsweep.report.figures.curves import best_so_far, learning_curves
from tlsweep.report.figures.outcome import confusion, incidents, time_spent
from tlsweep.report.figures.population import population, winners_schedule
from tlsweep.report.figures.rungs import rungs
from tlsweep.report.figures.space import importance, lr_batch_map, parallel_coordinates
from tlsweep.report.figures.style import COLUMNS, library
from tlsweep.report.tables import SweepTables
from tlsweep.store import Results

FIGURES: tuple[Callable[[SweepTables], go.Figure | None], ...] = (
    contenders, learning_curves, lr_batch_map, rungs, population, winners_schedule, best_so_far,
    lambda tables: best_so_far(tables, over="wall"), parallel_coordinates, importance, time_spent, confusion, incidents,
)  # fmt: skip
"""All that a page shows of one sweep, in its order."""

__all__ = [
    "FIGURES", "best_so_far", "confusion", "contenders", "importance", "incidents", "learning_curves", "library",
    "load", "lr_batch_map", "parallel_coordinates", "population", "rungs", "time_spent", "winners_schedule",
]  # fmt: skip


def load(results: Results, metric: str | None = None) -> SweepTables:
    """Read the tables that figures are drawn from; by `metric`, or by that of the search."""
    return tables_by(results, metric, COLUMNS)
