"""Who was cut where by successive halving, and what that cost, as far as it can be known."""

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from tlsweep.report.tables import SweepTables
from tlsweep.spec import MAIN_ARM, AshaSearch
from tlsweep.store.journal import is_finite
from tlsweep.text import one_line

_ROUNDING = 1e-9
"""Shares of images whose difference is less are equal."""


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
    rows = (row for row in tables.reports if row["arm"] == arm and row["generation"] == 0)
    beyond = {row["trial"] for row in rows if row["epoch"] > epoch}
    return {trial: score for trial, score in _scores_at(tables, arm, epoch).items() if trial in beyond}


@dataclass(frozen=True)
class CutCost:
    """What the cut at a rung may have cost. What a trial that was cut would have become, nobody has seen: what is known
    is how much those that went on still changed."""

    epoch: int
    cut: int
    went_on: int
    saved: int
    """Epochs that those that were cut would have been trained for, each to the end."""
    pairs: int
    """Pairs of trials that went on and differ in their score both here and where they all came next, and"""
    in_order: int
    """how many of them had the same order there."""
    next_epoch: int
    """That of the next rung, or the last one of training."""
    best_cut: str
    """The trial with the best score of those that were cut."""
    needed: float
    """What it would have had to gain to be as good as the winner; 0 where it is the winner."""
    gained: int
    """How many of those that went on gained as much."""

    def in_words(self) -> str:
        """All of it, in a sentence."""
        said = f"at epoch {self.epoch} {self.cut} of {self.cut + self.went_on} trials were cut, which saved up to "
        said += f"{self.saved:,} epochs"
        if self.pairs:
            said += (
                f"; of the {self.pairs:,} pairs that went on {self.in_order / self.pairs:.0%} had the same order at "
            )
            said += f"epoch {self.next_epoch}"
        if not self.needed:
            return f"{said}; the winner {one_line(self.best_cut)} is one of those that were cut"
        said += f"; {one_line(self.best_cut)}, the best that was cut, would have had to gain {self.needed:.3f} to win, "
        return f"{said}as {self.gained or 'none'} of the {self.went_on} that went on did"


def cut_costs(tables: SweepTables, arm: str = MAIN_ARM) -> list[CutCost]:
    """What is known of the cut at each rung of an ASHA search, the first rung first.

    None of a screening for a population, whose members go on with the weights of others.
    """
    if not isinstance(tables.spec.search, AshaSearch):
        return []
    sign, best = tables.spec.search.sign, f"best_{tables.spec.search.metric}"
    ends = {row["trial"]: sign * row[best] for row in tables.trials if row["arm"] == arm and is_finite(row[best])}
    found, rungs = [], rungs_of(tables, arm)
    for epoch, after in zip(rungs, [*list(rungs)[1:], tables.spec.epochs], strict=True):
        rung, cut = rungs[epoch], {trial: sign * score for trial, score in rungs[epoch].cut.items()}
        later = _scores_at(tables, arm, after)
        if not cut or not rung.went_on or not ends:
            continue
        nearest = max(cut, key=lambda trial: cut[trial])
        needed = max(ends.values()) - max(cut[nearest], ends.get(nearest, -math.inf))
        gained = sum(
            ends.get(trial, -math.inf) - sign * score >= needed - _ROUNDING for trial, score in rung.went_on.items()
        )
        both = [(score, later[trial]) for trial, score in rung.went_on.items() if trial in later]
        saved = len(cut) * (tables.spec.epochs - epoch)
        found.append(
            CutCost(epoch, len(cut), len(rung.went_on), saved, *_in_order(both), after, nearest, needed, gained)
        )
    return found


def _scores_at(tables: SweepTables, arm: str, epoch: int) -> dict[str, float]:
    """The metric after an epoch of the trials that got there."""
    metric = tables.spec.search.metric
    rows = (row for row in tables.reports if row["arm"] == arm and row["generation"] == 0 and row["epoch"] == epoch)
    return {row["trial"]: row[metric] for row in rows if is_finite(row[metric])}


def _in_order(scores: list[tuple[float, float]]) -> tuple[int, int]:
    """How many pairs differ in both columns, and how many of these are ordered alike: Kendall's concordance."""
    if len(scores) < 2:
        return 0, 0
    signs = [np.sign(np.subtract.outer(column, column)) for column in np.array(scores).T]
    alike = np.triu(signs[0] * signs[1])
    return int(np.count_nonzero(alike)), int(np.count_nonzero(alike > 0))
