"""What trials are before any training, at epoch 0: a rival of what training makes of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tlsweep.spec.search.strategies import RecipeSearch, SearchSpec
from tlsweep.spec.search.study import PROBE_ARM
from tlsweep.store.journal import is_finite
from tlsweep.store.ranking import Rank, rank

START = "start"
"""What stands in place of a trial where nothing was trained."""
SOUP = "soup"
"""What stands in place of a trial where several were averaged."""


@dataclass(frozen=True)
class Start:
    """The network that the trials of an arm begin with."""

    weights: str
    """The name of the weights behind its head."""
    figures: Mapping[str, float]
    """The metrics on the validation split that are defined there, and their standard errors, named as in
    reports.parquet."""

    def is_as_good_as(self, report: Mapping[str, Any], search: SearchSpec) -> bool:
        """Whether the metrics of a trial's best epoch are no better."""
        return _rank(self.figures, search) >= _rank(report, search)


def _rank(figures: Mapping[str, Any], search: SearchSpec) -> Rank:
    return rank(figures.get(search.metric), figures.get("val_loss"), 0, sign=search.sign)


def best_start(environment: Mapping[str, Any] | None, arm: str, search: SearchSpec) -> Start | None:
    """The best of what trials of an arm begin with; None where it does not compete with them.

    Args:
        environment: the content of environment.json.
        arm: the arm's name.
        search: says what is compared.
    """
    # Which asks what the training of another sweep is worth.
    if isinstance(search, RecipeSearch) and arm != PROBE_ARM:
        return None
    known = ((environment or {}).get("start") or {}).get(arm, {})
    # A sweep of an earlier version knows less of its start, and handed over what it had trained.
    starts = [
        Start(name, {figure: value for figure, value in figures.items() if value is not None})
        for name, figures in known.items()
        if is_finite(figures.get(search.metric))
    ]
    return max(starts, key=lambda start: _rank(start.figures, search), default=None)
