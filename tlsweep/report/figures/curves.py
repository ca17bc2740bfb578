"""Learning curves of the trials, and how good the best was at which time."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import plotly.graph_objects as go

from tlsweep.report.figures.style import (
    BLUE,
    GREY,
    LINES,
    RED,
    Scale,
    described,
    figure,
    metric_axis,
    of_arm,
    plain,
    seconds_of,
    thinned,
)
from tlsweep.report.lineage import configurations
from tlsweep.report.rows import Row
from tlsweep.report.tables import SweepTables, leaders
from tlsweep.spec import MAIN_ARM
from tlsweep.store.journal import is_finite

MOST_CURVES = 60
_STEPS = 400
"""Points of a line of the best so far; between two of them it rises in one step."""


def learning_curves(tables: SweepTables, arm: str = MAIN_ARM) -> go.Figure | None:
    """The metric of each trial over its epochs: where it was stopped, where it took over another one's weights."""
    curves = _curves(tables, arm)
    if not curves:
        return None
    ranked = [leader.trial for leader in leaders(tables, arm) if leader.trial in curves]
    names = [*ranked, *(trial for trial in curves if trial not in ranked)]
    shown = thinned(names, MOST_CURVES)
    metric = tables.spec.search.metric
    known = configurations(tables.events)
    scale = Scale([row["lr"] for trial in shown for row in curves[trial]])
    drawn = figure("Learning curves", _which(len(shown), len(names)))
    for trial in reversed(shown):  # the best on top
        best = trial == names[0] and trial in ranked
        rows = list(_with_gaps(curves[trial]))
        values = known.get((trial, 0), {})
        label = f"<b>{plain(trial)}</b>{' (best)' if best else ''}<br>{described(values, list(tables.spec.space))}"
        drawn.add_scatter(
            x=[row and row["epoch"] for row in rows], y=[row and row[metric] for row in rows],
            mode="lines+markers" if _has_lone_epoch(curves[trial]) else "lines",
            line={"color": scale.colour(curves[trial][0]["lr"]), "width": 3.5 if best else 1.3},
            opacity=1 if best else 0.75, name=plain(trial), showlegend=False,
            hovertemplate=f"epoch %{{x}}: %{{y:.4g}}<br>{label}<extra></extra>",
        )  # fmt: skip
    for kind, mark in _marks(tables, curves, shown).items():
        drawn.add_trace(mark.update(name=kind))
    drawn.add_trace(scale.bar("learning rate"))
    drawn.update_xaxes(title={"text": "epoch"}, rangemode="tozero")
    drawn.update_yaxes(metric_axis(tables))
    return drawn


def _which(shown: int, there: int) -> str:
    words = "Each line is a trial; the thick one is the best. Colour: the learning rate it began with."
    if shown == there:
        return words
    return (
        f"{words} Drawn are the best {shown // 2} of {there:,} trials and {shown - shown // 2} of the others, evenly."
    )


def _curves(tables: SweepTables, arm: str) -> dict[str, list[Row]]:
    """The rows of each trial, in the order of generations and epochs."""
    found: dict[str, list[Row]] = defaultdict(list)
    for row in of_arm(tables.reports, arm):
        found[row["trial"]].append(row)
    return {trial: sorted(rows, key=lambda row: (row["generation"], row["epoch"])) for trial, rows in found.items()}


def _with_gaps(rows: Sequence[Row]) -> Iterator[Row | None]:
    """A gap between generations: other weights go on there, often from an earlier epoch."""
    yield rows[0]
    for before, row in pairwise(rows):
        if row["generation"] != before["generation"]:
            yield None
        yield row


def _has_lone_epoch(rows: Sequence[Row]) -> bool:
    """Whether a generation has one epoch only, of which no line can be drawn."""
    return 1 in Counter(row["generation"] for row in rows).values()


def _marks(tables: SweepTables, curves: dict[str, list[Row]], shown: Sequence[str]) -> dict[str, go.Scatter]:
    """Where trials ended early, and where they took over weights; only kinds that there are."""
    metric, status = tables.spec.search.metric, {row["trial"]: row for row in tables.trials}
    points: dict[str, list[tuple[Row, str]]] = defaultdict(list)
    for trial in shown:
        rows, ended = curves[trial], status[trial]["status"]
        if ended in ("stopped", "failed"):
            points[ended].append((_last_finite(rows, metric), str(status[trial]["reason"] or ended)))
        for before, row in pairwise(rows):
            if row["generation"] != before["generation"]:
                points["exploited"].append((before, "took over weights of a better member here"))
    looks = {"stopped": ("x-thin", RED), "failed": ("hash-open", RED), "exploited": ("triangle-up", BLUE)}
    return {
        kind: go.Scatter(
            x=[row["epoch"] for row, _ in points[kind]], y=[row[metric] for row, _ in points[kind]], mode="markers",
            marker={"symbol": symbol, "size": 8, "color": colour, "line": {"width": 1.5, "color": colour}},
            customdata=[[plain(row["trial"]), plain(why, 120)] for row, why in points[kind]],
            hovertemplate="<b>%{customdata[0]}</b> epoch %{x}<br>%{customdata[1]}<extra></extra>",
        )
        for kind, (symbol, colour) in looks.items()
        if points[kind]
    }  # fmt: skip


def _last_finite(rows: Sequence[Row], metric: str) -> Row:
    return next((row for row in reversed(rows) if is_finite(row[metric])), rows[-1])


def best_so_far(sweeps: SweepTables | Sequence[SweepTables], over: str = "device") -> go.Figure | None:
    """The best metric of any trial until then: of the arms of one sweep, or of the main arms of several.

    Args:
        sweeps: One sweep, or several that are compared.
        over: "device": seconds of training and evaluation, summed over all devices; "wall": seconds of the sweep.
    """
    several = [sweeps] if isinstance(sweeps, SweepTables) else list(sweeps)
    lines: dict[str, list[tuple[float, float]]] = {}
    for tables in several:
        for arm in tables.spec.arms if len(several) == 1 else (MAIN_ARM,):
            steps = _best_steps(tables, arm, over)
            if steps:
                lines[arm if len(several) == 1 else tables.name] = steps
    if not lines:
        return None
    title = "Best so far over device time" if over == "device" else "Best so far over wall time"
    drawn = figure(title, _budget(lines, over), height=360)
    for at, (name, steps) in enumerate(lines.items()):
        drawn.add_scatter(
            x=[x for x, _ in steps], y=[y for _, y in steps], mode="lines+markers", name=plain(name),
            line={"shape": "hv", "width": 2.5, "color": LINES[at % len(LINES)]}, marker={"size": 4},
            hovertemplate=f"{plain(name)}: %{{y:.4g}} after %{{x:.4g}} s<extra></extra>",
        )  # fmt: skip
    if len(lines) > 1:
        drawn.add_vline(x=_least(lines), line={"dash": "dot", "color": GREY, "width": 1})
    unit = "device seconds (training and evaluation)" if over == "device" else "seconds of the sweep"
    drawn.update_xaxes(title={"text": unit}, rangemode="tozero")
    drawn.update_yaxes(metric_axis(several[0]))
    return drawn


def _best_steps(tables: SweepTables, arm: str, over: str) -> list[tuple[float, float]]:
    """Where the best of an arm rose, and where it stood at the end."""
    search = tables.spec.search
    spent, best = 0.0, None
    steps: list[tuple[float, Any]] = []
    for row in sorted(of_arm(tables.reports, arm), key=lambda row: row["time"]):
        spent += (row.get("train_seconds") or 0.0) + (row.get("eval_seconds") or 0.0)
        at = spent if over == "device" else seconds_of(tables, row)
        value = row[search.metric]
        if is_finite(value) and (best is None or search.sign * (value - best) > 0):
            best = value
            steps.append((at, best))
        last = at
    if not steps:
        return []
    every = max(len(steps) // _STEPS, 1)
    return [*steps[::-every][::-1], (last, best)]


def _least(lines: dict[str, list[tuple[float, float]]]) -> float:
    return min(steps[-1][0] for steps in lines.values())


def _budget(lines: dict[str, list[tuple[float, float]]], over: str) -> str:
    """What each line had reached when the cheapest ended: the comparison at equal budget."""
    if len(lines) == 1:
        return "The best validation result that any trial had shown by then."
    least = _least(lines)
    reached = {name: [y for x, y in steps if x <= least] for name, steps in lines.items()}
    figures = ", ".join(
        f"{name} {values[-1]:.3f}" if values else f"{name} none yet" for name, values in reached.items()
    )
    kind = "device seconds" if over == "device" else "seconds"
    return f"At equal budget, {least:,.0f} {kind} (dotted): {figures}."
