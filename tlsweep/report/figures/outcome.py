"""Where the time went, which classes are taken for which, and what went wrong."""

from collections import defaultdict

import plotly.graph_objects as go

from tlsweep.report.classes import ClassResults, class_results
from tlsweep.report.figures.style import BLUE, GREY, ORANGE, RED, VIOLET, figure, plain, seconds_of, words
from tlsweep.report.tables import SweepTables
from tlsweep.spec import MAIN_ARM
from tlsweep.store import Record

MOST_CLASSES = 30
_NUMBERED = 20
"""Classes up to which the counts stand in the cells."""
_INCIDENTS = {"failed": RED, "retried": ORANGE, "restored": VIOLET, "node_lost": GREY}


def time_spent(tables: SweepTables) -> go.Figure | None:
    """Seconds of training, evaluation and waiting, by what became of the trials."""
    status = {row["trial"]: row["status"] for row in tables.trials}
    sums: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    parts = {
        "train_seconds": ("training", BLUE),
        "eval_seconds": ("evaluation", ORANGE),
        "wait_seconds": ("waiting", GREY),
    }
    for row in tables.reports:
        kind = str(status.get(row["trial"], "unknown"))
        for name in parts:
            sums[kind][name] += row.get(name) or 0.0
    if not sums:
        return None
    kinds = sorted(sums, key=lambda kind: sum(sums[kind].values()))
    total = sum(sum(found.values()) for found in sums.values()) or 1.0
    shares = ", ".join(
        f"{100 * sum(found[name] for found in sums.values()) / total:.0f} % {label}"
        for name, (label, _) in parts.items()
    )
    drawn = figure(
        "Where the time went",
        f"{shares}, over all trials; waiting is for batches and for answers, not for a free slot.",
        height=170 + 38 * len(kinds),
    )
    counts = defaultdict[str, int](int)
    for found_status in status.values():
        counts[str(found_status)] += 1
    for name, (label, colour) in parts.items():
        drawn.add_bar(
            x=[sums[kind][name] for kind in kinds], y=[f"{kind} ({counts[kind]})" for kind in kinds], orientation="h",
            name=label, marker={"color": colour}, hovertemplate=f"{label}: %{{x:.3g}} s<extra></extra>",
        )  # fmt: skip
    drawn.update_layout(barmode="stack", legend={"traceorder": "normal"})
    drawn.update_xaxes(title={"text": "seconds, over all devices"})
    drawn.update_yaxes(automargin=True)
    return drawn


def confusion(tables: SweepTables, arm: str = MAIN_ARM) -> go.Figure | None:
    """How many images of each class the winner took for which, on the test split."""
    found = class_results(tables, arm)
    if found is None:
        return None
    shown = _shown(found)
    names = [f"{plain(found.classes[at].name, 24)}" for at in shown]
    counts = [[found.confusion[row][column] for column in shown] for row in shown]
    shares = [
        [count / max(sum(found.confusion[row]), 1) for count in line] for row, line in zip(shown, counts, strict=True)
    ]
    images, by = sum(result.support for result in found.classes), f", by {found.networks} networks together"
    drawn = figure(
        "Confusion matrix",
        f"Rows: what it is; columns: what it is taken for. Counts of n={images:,} test images"
        f"{by if found.networks > 1 else ''}; colour: the share of the row."
        + ("" if len(shown) == len(found.classes) else f" Shown are the {len(shown)} classes with the most mistakes."),
        height=180 + 26 * len(names),
    )
    places = list(range(len(names)))
    # Numbers as places and names as labels: two names that are shown alike would be one category.
    drawn.add_heatmap(
        x=places, y=places, z=shares, zmin=0, zmax=1, customdata=counts, xgap=1, ygap=1, hoverongaps=False,
        colorscale=[[0, "rgba(63,127,224,0.06)"], [1, BLUE]], colorbar={"thickness": 10, "outlinewidth": 0},
        text=[
            [f"{name} taken for {other}: {count}" for other, count in zip(names, line, strict=True)]
            for name, line in zip(names, counts, strict=True)
        ],
        hovertemplate="%{text}<extra></extra>",
    )  # fmt: skip
    if len(names) <= _NUMBERED:
        cells = [(row, column) for row in places for column in places if counts[row][column]]
        drawn.add_scatter(
            x=[column for _, column in cells], y=[row for row, _ in cells], mode="text", showlegend=False,
            text=[str(counts[row][column]) for row, column in cells], hoverinfo="skip", textfont={"size": 11},
        )  # fmt: skip
    drawn.update_xaxes(tickvals=places, ticktext=names, title={"text": "taken for"}, showgrid=False, automargin=True)
    drawn.update_xaxes(zeroline=False)
    drawn.update_yaxes(
        tickvals=places, ticktext=names, autorange="reversed", showgrid=False, automargin=True, zeroline=False
    )
    return drawn


def _shown(found: ClassResults) -> list[int]:
    """The classes that are drawn, in their order: all, or those with the most mistakes."""
    if len(found.classes) <= MOST_CLASSES:
        return list(range(len(found.classes)))
    mistakes = defaultdict[int, int](int)
    for row, column, count in found.mistakes():
        mistakes[row] += count
        mistakes[column] += count
    return sorted(sorted(range(len(found.classes)), key=lambda at: -mistakes[at])[:MOST_CLASSES])


def incidents(tables: SweepTables) -> go.Figure | None:
    """What failed or had to be done again, and when."""
    found = [event for event in tables.events if event["kind"] in _INCIDENTS]
    if not found:
        return None
    kinds = [kind for kind in _INCIDENTS if any(event["kind"] == kind for event in found)]
    drawn = figure(
        "Failures",
        "Trials that failed for good, epochs done again, and nodes that were lost.",
        height=150 + 40 * len(kinds),
    )
    for kind in kinds:
        points = [event for event in found if event["kind"] == kind]
        drawn.add_scatter(
            x=[seconds_of(tables, event) for event in points], y=[words(kind)] * len(points), mode="markers",
            marker={"color": _INCIDENTS[kind], "size": 10, "symbol": "x"}, showlegend=False, name=words(kind),
            customdata=[[plain(event["trial"] or ""), plain(_why(event), 160)] for event in points],
            hovertemplate="<b>%{customdata[0]}</b> %{customdata[1]}<extra></extra>",
        )  # fmt: skip
    drawn.update_xaxes(title={"text": "seconds of the sweep"}, rangemode="tozero")
    drawn.update_yaxes(automargin=True)
    return drawn


def _why(event: Record) -> str:
    return str(event["details"].get("reason") or event["details"].get("node") or "")
