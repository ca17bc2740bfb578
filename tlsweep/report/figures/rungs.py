"""Who was cut where: the rungs of successive halving."""

import plotly.graph_objects as go

from tlsweep.report.figures.style import BLUE, GREY, RED, figure, metric_axis, plain
from tlsweep.report.rungs import cut_costs, rungs_of
from tlsweep.report.tables import SweepTables
from tlsweep.spec import MAIN_ARM

_SPREAD = 0.28
"""How far the trials of a rung stand apart, so that those of one score do not hide each other."""


def rungs(tables: SweepTables, arm: str = MAIN_ARM) -> go.Figure | None:
    """Each trial at each rung that it came to, at its score: those that went on, and those that were cut."""
    found = rungs_of(tables, arm)
    if not found:
        return None
    drawn = figure(
        "Rungs",
        "Each point is a trial at a rung, at its result there. Dashes: the score that the last decision "
        "at a rung asked for; trials that came earlier were measured against fewer others."
        + "".join(f" {cost.in_words()}." for cost in cut_costs(tables, arm)),
    )
    names = sorted({trial for rung in found.values() for trial in (*rung.went_on, *rung.cut)})
    places = {trial: (at / max(len(names) - 1, 1) - 0.5) * 2 * _SPREAD for at, trial in enumerate(names)}
    levels = list(enumerate(found.values()))
    for name, symbol, colour in (("went on", "circle", BLUE), ("cut", "x", RED)):
        _add_points(drawn, name, symbol, colour, [
            (level + places[trial], score, trial, rung.reasons.get(trial, name))
            for level, rung in levels
            for trial, score in (rung.cut if name == "cut" else rung.went_on).items()
        ])  # fmt: skip
    for level, rung in levels:
        if rung.threshold is not None:
            drawn.add_scatter(
                x=[level - 0.4, level + 0.4], y=[rung.threshold] * 2, mode="lines", showlegend=False,
                line={"dash": "dash", "color": GREY, "width": 1.5},
                hovertemplate=f"asked for: {rung.threshold:.4g}<extra></extra>",
            )  # fmt: skip
    drawn.update_xaxes(
        tickvals=[level for level, _ in levels], showgrid=False, zeroline=False, range=[-0.5, len(found) - 0.5],
        ticktext=[f"epoch {epoch}<br>{len(rung.went_on) + len(rung.cut)} came, {len(rung.cut)} cut"
                  for epoch, rung in found.items()],
    )  # fmt: skip
    drawn.update_yaxes(metric_axis(tables))
    return drawn


def _add_points(
    drawn: go.Figure, name: str, symbol: str, colour: str, points: list[tuple[float, float, str, str]]
) -> None:
    drawn.add_scatter(
        x=[x for x, _, _, _ in points], y=[y for _, y, _, _ in points], mode="markers", name=name,
        marker={"symbol": symbol, "color": colour, "size": 8, "opacity": 0.8},
        customdata=[[plain(trial), plain(why, 120)] for _, _, trial, why in points],
        hovertemplate="<b>%{customdata[0]}</b> %{y:.4g}<br>%{customdata[1]}<extra></extra>",
    )  # fmt: skip
