"""Which hyperparameters work: over learning rate and batch size, over all that were searched, and which matter."""

import statistics
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from tlsweep.report.figures.style import (
    BLUE,
    GREY,
    SCALE,
    Scale,
    figure,
    number,
    of_arm,
    plain,
    shade_colour,
    thinned,
    words,
)
from tlsweep.report.landscape import Cell, landscape
from tlsweep.report.lineage import configurations
from tlsweep.report.tables import SweepTables, leaders
from tlsweep.spec import MAIN_ARM, derive_seed
from tlsweep.spec.search.space import Value
from tlsweep.store.journal import is_finite

MOST_LINES = 300
FEWEST = 20
"""Trials below which an importance would be mostly noise, and is not shown."""
_MOST = 150
_RESAMPLES = 8
_TREES = 16
_AT_LEAST = 0.8
"""Share of the trials that must have come to the epoch at which they are compared."""


def lr_batch_map(tables: SweepTables, arm: str = MAIN_ARM) -> go.Figure | None:
    """The mean of the best metric for each batch size and half decade of the learning rate, with its standard error."""
    grid = landscape(tables, arm)
    if not grid.cells:
        return None
    rows = [f"{low:.2g}–{high:.2g}" for low, high in grid.learning_rates]
    columns = [str(size) for size in grid.batch_sizes]
    found = [[grid.cells.get((row, column)) for column in range(len(columns))] for row in range(len(rows))]
    texts = [[_cell(cell) for cell in line] for line in found]
    drawn = figure(
        "Learning rate (rows) × batch size",
        f"Mean of the best {words(tables.spec.search.metric)} ± standard error (n: stretches of training with one "
        "configuration). Cells with n = 1 have no error that could be known; empty ones were not tried.",
        height=160 + 62 * len(rows),
    )
    drawn.add_heatmap(
        x=columns, y=rows, z=[[cell.mean if cell else None for cell in line] for line in found], colorscale=SCALE,
        reversescale=tables.spec.search.sign < 0, xgap=3, ygap=3, text=texts,
        texttemplate="%{text}", textfont={"size": 11}, hovertemplate="lr %{y}, batch %{x}<br>%{text}<extra></extra>",
        colorbar={"thickness": 10, "outlinewidth": 0},
    )  # fmt: skip
    lost = [(column, row, cell) for row, line in enumerate(found) for column, cell in enumerate(line)
            if cell and cell.mean is None]  # fmt: skip
    if lost:  # a heat map shows no text where it has no number
        drawn.add_scatter(
            x=[columns[column] for column, _, _ in lost], y=[rows[row] for _, row, _ in lost], mode="text",
            text=[_cell(cell) for _, _, cell in lost], hoverinfo="skip", showlegend=False, textfont={"size": 11},
        )  # fmt: skip
    drawn.update_xaxes(title={"text": "batch size"}, type="category", categoryarray=columns, showgrid=False)
    drawn.update_yaxes(type="category", categoryarray=rows, showgrid=False, automargin=True)
    return drawn


def _cell(cell: Cell | None) -> str:
    if cell is None:
        return ""
    if cell.mean is None:
        return f"diverged<br>n={cell.diverged}"
    error = f"<br>±{cell.error:.3f}" if cell.error is not None else ""
    lost = f", {cell.diverged} div." if cell.diverged else ""
    return f"{cell.mean:.3f}{error}<br>n={cell.n}{lost}"


def parallel_coordinates(tables: SweepTables, arm: str = MAIN_ARM) -> go.Figure | None:
    """Each trial as a line through its hyperparameters, in those of its best epoch, to its best metric."""
    ranked, metric = leaders(tables, arm), tables.spec.search.metric
    names = [
        name for name in tables.spec.space_in(arm) if len({leader.hyperparameters.get(name) for leader in ranked}) > 1
    ]
    if len(ranked) < 2 or not names:
        return None
    by_name = {leader.trial: leader for leader in ranked}
    shown = [by_name[trial] for trial in thinned(list(by_name), MOST_LINES)]
    scales = {name: Scale([leader.hyperparameters.get(name) for leader in shown]) for name in names}
    scales[metric] = Scale([leader.metrics[metric] for leader in shown])
    lines: dict[int, tuple[list[Any], list[Any], list[Any]]] = defaultdict(lambda: ([], [], []))
    for leader in reversed(shown):
        values = [leader.hyperparameters.get(name) for name in names] + [leader.metrics[metric]]
        places = [scale.at(value) for scale, value in zip(scales.values(), values, strict=True)]
        xs, ys, texts = lines[scales[metric].shade(leader.metrics[metric])]
        xs += [*range(len(places)), None]
        ys += [*places, None]
        texts += [f"<b>{plain(leader.trial)}</b><br>{words(name)} {number(value)}" for name, value
                  in zip(scales, values, strict=True)] + [None]  # fmt: skip
    some = (
        "" if len(shown) == len(ranked) else f" Drawn are {len(shown)} of {len(ranked):,}: the best, and others evenly."
    )
    drawn = figure("Parallel coordinates", f"One line a trial, coloured by its best {words(metric)}.{some}")
    # Not plotly's parcoords: it needs WebGL and `new Function`, which a page that runs no foreign code forbids.
    for shade in sorted(lines, reverse=tables.spec.search.sign < 0):
        xs, ys, texts = lines[shade]
        drawn.add_scatter(
            x=xs, y=ys, text=texts, mode="lines+markers", line={"color": shade_colour(shade), "width": 1.6},
            marker={"size": 4}, opacity=0.8, showlegend=False, hovertemplate="%{text}<extra></extra>",
        )  # fmt: skip
    for at, scale in enumerate(scales.values()):
        drawn.add_vline(x=at, line={"color": GREY, "width": 1})
        for place, label in scale.ticks():
            drawn.add_annotation(
                x=at, y=place, text=label, showarrow=False, xanchor="left", xshift=4, font={"size": 10}
            )
    drawn.update_xaxes(
        tickvals=list(range(len(scales))), ticktext=[words(name).replace(" ", "<br>") for name in scales],
        showgrid=False, zeroline=False, range=[-0.15, len(scales) - 0.6],
    )  # fmt: skip
    drawn.update_yaxes(visible=False, range=[-0.06, 1.06])
    return drawn


def importance(tables: SweepTables, arm: str = MAIN_ARM) -> go.Figure | None:
    """How much of the differences between trials each hyperparameter explains: fANOVA (Hutter et al. 2014)."""
    epoch, trials = _compared(tables, arm)
    names = [name for name in tables.spec.space_in(arm) if len({values.get(name) for values, _ in trials}) > 1]
    if len(trials) < FEWEST or len(names) < 2:
        return None
    shares = _shares(trials[:_MOST], names, tables.spec.search.metric, derive_seed(tables.spec.seed, "importance"))
    if shares is None:
        return None
    means = {name: statistics.fmean(share[name] for share in shares) for name in names}
    names.sort(key=means.__getitem__)
    some = f" (the first {_MOST} of {len(trials):,})" if len(trials) > _MOST else ""
    metric = words(tables.spec.search.metric)
    drawn = figure(
        "Importance of hyperparameters",
        f"Share of each in the variance of {metric} after epoch {epoch} that they explain one "
        f"by one (fANOVA), n={min(len(trials), _MOST)} trials{some}; bars: the spread (standard deviation) over "
        f"{_RESAMPLES} resamples of the trials. All trials are compared at one epoch, before any took over weights.",
        height=140 + 34 * len(names),
    )  # fmt: skip
    spread = [statistics.stdev(share[name] for share in shares) for name in names]
    drawn.add_bar(
        x=[means[name] for name in names], y=[words(name) for name in names], orientation="h", marker={"color": BLUE},
        error_x={"type": "data", "array": spread, "color": GREY}, hovertemplate="%{y}: %{x:.2f}<extra></extra>",
    )  # fmt: skip
    drawn.update_xaxes(title={"text": "share of the variance"}, range=[0, 1])
    drawn.update_yaxes(automargin=True)
    return drawn


def _compared(tables: SweepTables, arm: str) -> tuple[int, list[tuple[Any, float]]]:
    """The last epoch that most trials reached with what they began with; their configurations and metrics there."""
    known, metric = configurations(tables.events), tables.spec.search.metric
    reached: dict[int, list[tuple[Any, float]]] = defaultdict(list)
    trials = set()
    for row in of_arm(tables.reports, arm):
        if row["generation"] == 0 and is_finite(row[metric]):
            trials.add(row["trial"])
            reached[row["epoch"]].append((known[row["trial"], 0], row[metric]))
    epochs = [epoch for epoch, there in reached.items() if len(there) >= _AT_LEAST * len(trials)]
    return (max(epochs), reached[max(epochs)]) if epochs else (0, [])


def _shares(
    trials: Sequence[tuple[Any, float]], names: Sequence[str], metric: str, seed: int
) -> list[dict[str, float]] | None:
    """The importances in resamples of the trials; None where all trials are alike."""
    import numpy as np
    import optuna
    from optuna.distributions import CategoricalDistribution, FloatDistribution
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    if len({value for _, value in trials}) < 2:
        return None
    distributions: dict[str, Any] = {}
    for name in names:
        values = [configuration.get(name) for configuration, _ in trials]
        scale = Scale(values)
        distributions[name] = CategoricalDistribution(sorted({str(value) for value in values}))
        if scale.numeric and None not in values:
            distributions[name] = FloatDistribution(scale.low, scale.high, log=scale.log)

    def placed(name: str, value: Value) -> Any:
        return str(value) if isinstance(distributions[name], CategoricalDistribution) else float(value)

    frozen = [
        optuna.trial.create_trial(
            params={name: placed(name, configuration.get(name)) for name in names},
            distributions=distributions, value=value,
        )
        for configuration, value in trials
    ]  # fmt: skip
    rng, found = np.random.default_rng(seed), []
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    for at in range(_RESAMPLES):
        study = optuna.create_study(direction="minimize")
        study.add_trials([frozen[drawn] for drawn in rng.integers(len(frozen), size=len(frozen))])
        evaluator = FanovaImportanceEvaluator(n_trees=_TREES, seed=at)
        found.append(get_param_importances(study, evaluator=evaluator, params=list(names)))
    return found
