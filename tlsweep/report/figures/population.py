"""The lineage of a population: its members in time, who took over whose weights, and how the winner came about."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from tlsweep.report.arms import winner
from tlsweep.report.figures.style import BLUE, GREY, ORANGE, Scale, figure, number, of_arm, plain, seconds_of, words
from tlsweep.report.lineage import Segment, configurations, lineage
from tlsweep.report.tables import SweepTables, leaders
from tlsweep.spec import MAIN_ARM
from tlsweep.spec.search.space import Value
from tlsweep.store import Descent

MOST_MEMBERS = 60
_TICKS = 4
"""Different values of the winner's schedule up to which each has its tick; of more they would overlap."""
Stretch = tuple[str, int]
"""A generation of a trial."""


@dataclass(frozen=True)
class Line:
    """A generation of a member: from when to when it trained, with what."""

    begin: float
    end: float
    from_epoch: int
    to_epoch: int
    hyperparameters: Mapping[str, Value]


@dataclass(frozen=True)
class Branch:
    """An exploit: which weights were taken over, by whom, when."""

    donor: Stretch
    member: Stretch
    left: float
    """When the donor had the weights that were copied."""
    arrived: float
    epoch: int


@dataclass(frozen=True)
class Tree:
    """A population as its events tell it."""

    lines: Mapping[Stretch, Line]
    branches: Sequence[Branch]
    ancestry: Sequence[Segment]
    """How the best was trained, first segment first; empty where nothing was."""


def tree(tables: SweepTables, arm: str = MAIN_ARM) -> Tree:
    """The members of an arm in seconds of the sweep, and every exploit among them."""
    times: dict[Stretch, dict[int, float]] = defaultdict(dict)
    for row in of_arm(tables.reports, arm):
        times[row["trial"], row["generation"]][row["epoch"]] = seconds_of(tables, row)
    began: dict[Stretch, float] = {}
    exploits: dict[Stretch, Descent] = {}
    for event in tables.events:
        stretch = event["trial"], event["generation"]
        if event["arm"] != arm:
            continue
        if event["kind"] == "exploited":
            began[stretch], exploits[stretch] = seconds_of(tables, event), Descent.from_details(event["details"])
        elif event["kind"] == "started" and stretch in times:
            # The first start: a trial that goes on after a pause is started again.
            began.setdefault(stretch, min(seconds_of(tables, event), min(times[stretch].values())))
    lines, known = {}, configurations(tables.events)
    for stretch in {**times, **exploits}:
        epochs = times.get(stretch, {})
        first = exploits[stretch].epoch if stretch in exploits else 0
        begin = began.get(stretch, min(epochs.values(), default=0.0))
        lines[stretch] = Line(
            begin, max(epochs.values(), default=begin), first, max(epochs, default=first), known[stretch]
        )
    branches = [
        Branch(
            (descent.donor, descent.donor_generation), stretch,
            times[descent.donor, descent.donor_generation].get(descent.epoch, began[stretch]), began[stretch],
            descent.epoch,
        )
        for stretch, descent in exploits.items()
    ]  # fmt: skip
    best = winner(tables, arm)
    ancestry = lineage(tables.events, best.trial, best.generation, best.best_epoch) if best and best.best_epoch else []
    return Tree(lines, branches, ancestry)


def population(tables: SweepTables, arm: str = MAIN_ARM, colour: str = "lr") -> go.Figure | None:
    """Every member as a line in time, exploits as branches, the ancestry of the winner highlighted.

    Args:
        tables: The sweep.
        arm: Whose members.
        colour: The hyperparameter that colours the lines: "lr" or "batch_size".
    """
    found = tree(tables, arm)
    if not found.branches:
        return None
    members = _members(tables, found, arm)
    rows = {trial: -at for at, trial in enumerate(members)}
    some = len({trial for trial, _ in found.lines})
    drawn = figure(
        "Lineage of the population" + (" by batch size" if colour == "batch_size" else ""),
        f"Each row is a member, the best on top; a thin line downwards or upwards is an exploit: weights were copied "
        f"along it. Broad: the ancestry of the winner. Colour: {words(colour).replace('lr', 'learning rate')}."
        + (f" Drawn are {len(rows)} of {some:,} members, the best and its ancestors, and the exploits among them."
           if len(rows) < some else ""),
        height=170 + 26 * len(rows), wide=True,
    )  # fmt: skip
    drawn.update_layout(showlegend=False)
    lines = {stretch: line for stretch, line in found.lines.items() if stretch[0] in rows}
    branches = [branch for branch in found.branches if branch.member[0] in rows and branch.donor[0] in rows]
    _add_ancestry(drawn, found, rows)
    drawn.add_scatter(
        x=[x for branch in branches for x in (branch.left, branch.arrived, None)],
        y=[y for branch in branches for y in (rows[branch.donor[0]], rows[branch.member[0]], None)],
        customdata=[
            given for branch in branches for given in [[*branch.donor, *branch.member, branch.epoch]] * 2 + [None]
        ],
        mode="lines", line={"color": GREY, "width": 1.2}, name="exploits",
        hovertemplate="%{customdata[2]} took weights of %{customdata[0]} after epoch %{customdata[4]}<extra></extra>",
    )  # fmt: skip
    scale = Scale([line.hyperparameters[colour] for line in lines.values()])
    for shade in sorted({scale.shade(line.hyperparameters[colour]) for line in lines.values()}):
        alike = {at: line for at, line in lines.items() if scale.shade(line.hyperparameters[colour]) == shade}
        _add_lines(drawn, alike, rows, scale.colour(next(iter(alike.values())).hyperparameters[colour]))
    drawn.add_trace(scale.bar(words(colour).replace("lr", "learning rate")))
    drawn.update_xaxes(title={"text": "seconds of the sweep"}, showgrid=False, zeroline=False)
    drawn.update_yaxes(
        tickvals=list(rows.values()), ticktext=[plain(trial) for trial in rows], showgrid=False, zeroline=False
    )
    return drawn


def _members(tables: SweepTables, found: Tree, arm: str) -> list[str]:
    """Who is drawn, the best first: always those whom the winner descends from."""
    there = dict.fromkeys(trial for trial, _ in found.lines)
    ranked = dict.fromkeys(leader.trial for leader in leaders(tables, arm) if leader.trial in there)
    names = [*ranked, *(trial for trial in there if trial not in ranked)]
    kept = {segment.trial for segment in found.ancestry} | set(names[:MOST_MEMBERS])
    return [trial for trial in names if trial in kept]


def _add_lines(drawn: go.Figure, lines: Mapping[Stretch, Line], rows: Mapping[str, int], colour: str) -> None:
    """Members that have one colour, as one trace: a thousand traces would be slow to open."""
    x: list[float | None] = []
    y: list[int | None] = []
    given: list[list[Any] | None] = []
    for (trial, generation), line in lines.items():
        values = [number(line.hyperparameters[name]) for name in ("lr", "batch_size")]
        x += [line.begin, line.end, None]
        y += [rows[trial], rows[trial], None]
        given += [[plain(trial), generation, line.from_epoch, line.to_epoch, *values]] * 2 + [None]
    drawn.add_scatter(
        x=x, y=y, customdata=given, mode="lines+markers", line={"color": colour, "width": 5}, name="members",
        marker={"size": 6, "color": colour},
        hovertemplate="<b>%{customdata[0]}</b> generation %{customdata[1]}, epochs %{customdata[2]} to %{customdata[3]}"
        "<br>lr %{customdata[4]}, batch %{customdata[5]}<extra></extra>",
    )  # fmt: skip


def _add_ancestry(drawn: go.Figure, found: Tree, rows: Mapping[str, int]) -> None:
    """A broad band below the lines that led to the winner, along each of them and over each copy."""
    x: list[float | None] = []
    y: list[int | None] = []
    for segment in found.ancestry:
        line = found.lines[segment.trial, segment.generation]
        x += [line.begin, _left(found, segment, line)]
        y += [rows[segment.trial]] * 2
    drawn.add_scatter(
        x=x, y=y, mode="lines", line={"color": ORANGE, "width": 15}, opacity=0.4, hoverinfo="skip", name="ancestry"
    )


def _left(found: Tree, segment: Segment, line: Line) -> float:
    """When the weights that led on left a member: at the copy, or at its end."""
    after = [
        branch.left
        for branch in found.branches
        if branch.donor == (segment.trial, segment.generation) and branch.epoch == segment.to_epoch
    ]
    return after[0] if after else line.end


def winners_schedule(tables: SweepTables, arm: str = MAIN_ARM) -> go.Figure | None:
    """Learning rate and batch size of the winner over its epochs, through every copy of weights."""
    best = winner(tables, arm)
    if best is None or not best.best_epoch:
        return None
    segments = lineage(tables.events, best.trial, best.generation, best.best_epoch)
    if len(segments) < 2:
        return None
    drawn = figure(
        "The winner's schedule",
        f"Base learning rate and batch size that led to {best.trial} after epoch {best.best_epoch}; the schedule in "
        "recipe.yaml repeats it.",
        height=360,
    )
    x = [epoch for segment in segments for epoch in (segment.from_epoch, segment.to_epoch)]
    axes = {}
    for name, label, colour, axis, domain in (
        ("lr", "learning rate", BLUE, "y", [0.56, 1]),
        ("batch_size", "batch size", ORANGE, "y2", [0, 0.44]),
    ):
        values = [segment.hyperparameters[name] for segment in segments]
        drawn.add_scatter(
            x=x, y=[value for value in values for _ in range(2)], yaxis=axis, name=label, showlegend=False,
            mode="lines+markers", line={"color": colour, "width": 2.5}, marker={"size": 5},
            customdata=[plain(segment.trial) for segment in segments for _ in range(2)],
            hovertemplate="epoch %{x}: %{y:.3g}, as %{customdata}<extra></extra>",
        )  # fmt: skip
        axes[f"yaxis{axis[1:]}"] = {"title": {"text": label}, "type": "log", "domain": domain, "automargin": True}
        axes[f"yaxis{axis[1:]}"] |= _ticks(values)
    drawn.update_layout(xaxis={"title": {"text": "epoch"}, "rangemode": "tozero", "anchor": "y2"}, **axes)
    return drawn


def _ticks(values: Sequence[Any]) -> dict[str, Any]:
    """A tick at each value of a short schedule; a long one has those of plotly."""
    different = sorted(set(values))
    if len(different) > _TICKS:
        return {"nticks": _TICKS}
    return {"tickvals": different, "ticktext": [number(value) for value in different]}
