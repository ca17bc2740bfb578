"""A confirmed winner and its rivals, seed by seed."""

import plotly.graph_objects as go

from tlsweep.report.confirmation import find_confirmation
from tlsweep.report.figures.style import BLUE, GREY, figure, plain
from tlsweep.report.tables import SweepTables


def contenders(tables: SweepTables) -> go.Figure | None:
    """The test accuracy of each contender of a confirmation with each seed, and their mean with its interval."""
    found = find_confirmation(tables)
    if found is None:
        return None
    shown = (found.winner, *found.rivals)
    drawn = figure(
        "The winner and its rivals",
        f"Points: one seed each. Bars: the mean of {found.seeds} seeds and its 95 % interval, for other seeds and "
        f"other test images (n={found.images:,}). {found.verdict[0].upper()}{found.verdict[1:]}.",
        height=150 + 40 * len(shown),
    )
    places = list(range(len(shown)))
    drawn.add_scatter(
        x=[contender.test.value for contender in shown], y=places, mode="markers", name="mean",
        marker={"color": BLUE, "size": 10, "symbol": "diamond"},
        error_x={
            "type": "data", "symmetric": False, "color": BLUE,
            "array": [contender.test.high - contender.test.value for contender in shown],
            "arrayminus": [contender.test.value - contender.test.low for contender in shown],
        },
        hovertemplate="mean %{x:.3f}<extra></extra>",
    )  # fmt: skip
    drawn.add_scatter(
        x=[accuracy for contender in shown for accuracy in contender.by_seed],
        y=[place for place, contender in zip(places, shown, strict=True) for _ in contender.by_seed],
        mode="markers", name="a seed", marker={"color": GREY, "size": 7, "opacity": 0.8},
        hovertemplate="%{x:.3f}<extra></extra>",
    )  # fmt: skip
    names = [plain(contender.name) for contender in shown]
    # Numbers as places and names as labels: two names that are shown alike would be one category.
    drawn.update_yaxes(tickvals=places, ticktext=names, autorange="reversed", zeroline=False, automargin=True)
    drawn.update_xaxes(title={"text": "test accuracy"})
    return drawn
