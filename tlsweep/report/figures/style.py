"""What all figures share: colours, the scale of a hyperparameter, names as text, and how they are called."""

import html
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.colors import sample_colorscale
from plotly.offline import get_plotlyjs

from tlsweep.report.rows import Row
from tlsweep.report.tables import SweepTables
from tlsweep.spec import MAIN_ARM
from tlsweep.store import Record
from tlsweep.text import shortened

COLUMNS = ("train_seconds", "eval_seconds", "wait_seconds", "elapsed")
"""Columns of reports.parquet that figures need beside those that all tables have."""

# Middle tones: each has a contrast of 3:1 or more with the white page and with the dark one.
BLUE = "#3f7fe0"
ORANGE = "#d9772b"
RED = "#d9504a"
GREEN = "#2b9a66"
VIOLET = "#8a68e8"
GREY = "#858b95"
LINES = (BLUE, ORANGE, GREEN, VIOLET, "#cf4f95", "#1b98a8", RED, "#a3782e")
SCALE = ["#3a6fd8", "#8a5fd6", "#cf5499", "#e0763f", "#c99a1e"]
"""From low to high; no end of it is close to white or to black, so that lines show on either page."""
SHADES = 12
"""Colours that lines are sorted into, as a line of a trace has only one."""

_FEW = 5
"""Different values up to which each has its tick."""
_LOG_FROM = 5.0
"""Positive values that differ by more than this factor are shown on a logarithmic scale."""


def library() -> str:
    """plotly.js, whole: the smaller bundles are not in plotly's wheel (6.0 to 7.1)."""
    return str(get_plotlyjs())


def plain(text: object, limit: int = 60) -> str:
    """Text of others, as text: plotly reads tags and entities in labels and hover boxes (its svg_text_utils.js)."""
    return html.escape(shortened(str(text), limit), quote=False)


def words(name: str) -> str:
    """Name a column: val_accuracy is 'val accuracy'."""
    return name.replace("_", " ")


def number(value: Any) -> str:
    """A value with three significant digits; a word as text."""
    if isinstance(value, float):
        return f"{value:.3g}"
    return plain(value)


TITLE = 36
"""Pixels that the title takes above the legend; a page has it in a heading of its own instead."""


def figure(title: str, caption: str, height: int = 420, *, wide: bool = False) -> go.Figure:
    """An empty figure; the caption, which says what is drawn and what is left out, is in `layout.meta`."""
    found = go.Figure()
    found.update_layout(
        title={"text": title, "yref": "container", "y": 1, "yanchor": "top", "pad": {"t": 12}, "x": 0.02},
        meta={"caption": caption, "wide": wide}, height=height + TITLE,
        margin={"l": 64, "r": 24, "t": 48 + TITLE, "b": 56},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0}, hovermode="closest",
    )  # fmt: skip
    return found


def metric_axis(tables: SweepTables) -> dict[str, Any]:
    """The axis of the metric that the sweep was searched by; a loss is shown in decades, all else is a share."""
    metric = tables.spec.search.metric
    title = {"text": words(metric)}
    if metric.endswith("loss"):
        return {"title": title, "type": "log"}
    # Around a single value plotly would show 1 more and 1 less; a mark at the end must not be cut in half.
    return {"title": title, "type": "linear", "autorangeoptions": {"clipmin": -0.02, "clipmax": 1.02}}


def seconds_of(tables: SweepTables, row: Row | Record) -> float:
    """Seconds of the sweep at which a row was written."""
    if row.get("elapsed") is not None:
        return float(row["elapsed"])
    # Tables of earlier versions have no `elapsed`.
    return float(row["time"] - min(found["time"] for found in (*tables.events[:1], *tables.reports[:1])))


def of_arm(rows: Sequence[Row], arm: str = MAIN_ARM) -> Iterator[Row]:
    """The rows of one arm."""
    return (row for row in rows if row["arm"] == arm)


def thinned(names: Sequence[str], most: int) -> list[str]:
    """At most so many of a ranking: its first half, and as many of the others, evenly."""
    if len(names) <= most:
        return list(names)
    first, others = names[: most // 2], names[most // 2 :]
    count = most - len(first)
    return [*first, *(others[at * len(others) // count] for at in range(count))]


class Scale:
    """Values of a hyperparameter between 0 and 1, on a logarithmic scale where they span decades."""

    def __init__(self, values: Sequence[Any]) -> None:
        known = [value for value in values if value is not None]
        self.few = list(dict.fromkeys(known))
        self.numeric = bool(known) and all(
            isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) for value in known
        )
        self.words = [] if self.numeric else sorted({str(value) for value in values})
        self.low: Any
        self.high: Any
        self.low, self.high = (min(known), max(known)) if self.numeric else (0, max(len(self.words) - 1, 0))
        self.log = self.numeric and self.low > 0 and self.high / self.low > _LOG_FROM

    def at(self, value: Any) -> float:
        """Where a value stands; in the middle where there is only one, and where it is unknown."""
        if not self.numeric:
            value = self.words.index(str(value))
        if value is None or self.low == self.high:
            return 0.5
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return float((value - self.low) / (self.high - self.low))

    def ticks(self) -> list[tuple[float, str]]:
        """Places with their labels: ends and middle, or all words."""
        if not self.numeric:
            return [(self.at(word), plain(word, 20)) for word in self.words]
        if len(self.few) <= _FEW:
            return [(self.at(value), number(value)) for value in self.few]
        middle = math.sqrt(self.low * self.high) if self.log else (self.low + self.high) / 2
        return [(0.0, number(self.low)), (0.5, number(float(middle))), (1.0, number(self.high))]

    def shade(self, value: Any) -> int:
        """Which of the `SHADES` a value has."""
        return min(int(self.at(value) * SHADES), SHADES - 1)

    def colour(self, value: Any) -> str:
        """The colour of its shade."""
        return shade_colour(self.shade(value))

    def bar(self, title: str) -> go.Scatter:
        """An empty trace that carries the colour bar."""
        places = self.ticks()
        return go.Scatter(
            x=[None], y=[None], mode="markers", showlegend=False, hoverinfo="skip",
            marker={
                "colorscale": SCALE, "cmin": 0, "cmax": 1, "color": [0], "showscale": True,
                "colorbar": {
                    "title": {"text": title, "side": "right"}, "thickness": 10, "outlinewidth": 0,
                    "tickvals": [place for place, _ in places], "ticktext": [label for _, label in places],
                },
            },
        )  # fmt: skip


def shade_colour(shade: int) -> str:
    """The colour in the middle of a shade."""
    return str(sample_colorscale(SCALE, [(shade + 0.5) / SHADES])[0])


def described(values: Mapping[str, Any], names: Sequence[str]) -> str:
    """Hyperparameters for a hover box."""
    return "<br>".join(f"{words(name)} {number(values[name])}" for name in names if name in values)
