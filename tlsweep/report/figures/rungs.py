"""Who was cut where: the rungs of successive halving."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

import plotly.graph_objects as go

from tlsweep.report.figures.style import BLUE, GREY, RED, figure, metric_axis, of_arm, plain
from tlsweep.report.tables import SweepTables
from tlsweep.spec import MAIN_ARM
from tlsweep.store.journal import is_finite

_SPREAD = 0.28
"""How far the trials of a rung stand apart, so that those of one score do not hide each other."""


@dataclass
class Rung:
    """The trials that came to a rung, and their score there (of a loss its own value, not times -1)."""

    went_on: dict[str, float] = field(default_factory=dict)
    cut: dict[str, float] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    threshold: float | None = None
    """The last one that decided."""


def rungs_of(tables: SweepTables, arm: str = MAIN_ARM) -> Mapping[int, Rung]:
    """The rungs of an arm, by epoch: who was cut and who went on."""
    sign = tables.spec.search.sign
    found: dict[int, Rung] = defaultdict(Rung)
    for event in tables.events:
        details = event["details"]
        if event["arm"] != arm or details.get("rung") is None or details.get("score") is None:
            continue
        rung, trial = found[details["rung"]], event["trial"]
        if event["kind"] == "stopped":
            rung.cut[trial] = sign * details["score"]
            rung.reasons[trial] = str(details.get("reason"))
        elif event["kind"] in ("promoted", "joined"):
            rung.went_on[trial] = sign * details["score"]
        if details.get("threshold") is not None:
            rung.threshold = sign * details["threshold"]
    for epoch, rung in found.items():
        # A trial that was held at a rung, and let go on later by a resume, was not cut there in the end.
        for trial in [trial for trial in rung.cut if trial in rung.went_on]:
            del rung.cut[trial]
        decided = {**rung.cut, **rung.went_on}
        passed = _passed(tables, arm, epoch)
        rung.went_on |= {trial: score for trial, score in passed.items() if trial not in decided}
    return {epoch: found[epoch] for epoch in sorted(found)}


def _passed(tables: SweepTables, arm: str, epoch: int) -> dict[str, float]:
    """The metric at an epoch of the trials that were trained beyond it: letting go on leaves no event in ASHA."""
    metric = tables.spec.search.metric
    rows = [row for row in of_arm(tables.reports, arm) if row["generation"] == 0]
    beyond = {row["trial"] for row in rows if row["epoch"] > epoch}
    return {
        row["trial"]: row[metric]
        for row in rows
        if row["epoch"] == epoch and row["trial"] in beyond and is_finite(row[metric])
    }


def rungs(tables: SweepTables, arm: str = MAIN_ARM) -> go.Figure | None:
    """Each trial at each rung that it came to, at its score: those that went on, and those that were cut."""
    found = rungs_of(tables, arm)
    if not found:
        return None
    drawn = figure(
        "Rungs",
        "Each point is a trial at a rung, at its result there. Dashes: the score that the last decision "
        "at a rung asked for; trials that came earlier were measured against fewer others.",
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
