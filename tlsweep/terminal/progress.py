"""How far a sweep is, and how long it can still take."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tlsweep.spec import AshaThenPbtSearch, SweepSpec
from tlsweep.store import Record, SweepState

if TYPE_CHECKING:
    from tlsweep.observer import SweepView
    from tlsweep.store.spending import Spending


@dataclass(frozen=True)
class Progress:
    """A sweep at one moment."""

    done: int
    """Epochs trained, over all trials."""
    at_most: int
    """Epochs in the end, if no further trial is stopped early."""
    elapsed: float
    """Seconds since the first trial of this launch was handed out."""
    left: float | None
    """Seconds, at the rate so far, at most; None before the second epoch."""


@dataclass
class Tally:
    """Counts the reports of this launch as they arrive."""

    reports: int = 0
    first: float | None = None
    """time.monotonic() at the first report: before it workers start, which says nothing about the rate."""

    def add(self, record: Record, now: float) -> None:
        """Count `record` if it is a report."""
        if record["type"] == "report":
            self.reports += 1
            if self.first is None:
                self.first = now


def measure(view: "SweepView", tally: Tally, now: float) -> Progress:
    """Measure how far a sweep is at `now` (time.monotonic())."""
    done, elapsed = sum(view.spending.epochs.values()), now - view.began
    remaining = sum(_remaining(view.spec, view.state, view.spending, arm) for arm in view.spec.arms)
    left = None
    if tally.first is not None and tally.reports > 1:
        # The first report starts the clock, so one epoch less has been trained since than was reported.
        left = (now - tally.first) * remaining / (tally.reports - 1)
    limit = view.spec.budget.wall_time
    if limit is not None:
        rest = max(limit - view.state.elapsed, 0.0)
        left = min(rest, rest if left is None else left)
    return Progress(done, done + remaining, elapsed, left)


def _remaining(spec: SweepSpec, state: SweepState, spending: "Spending", arm: str) -> int:
    """Epochs that the trials of an arm may still train; those that were stopped need none."""
    trials = [trial for trial in list(state.trials.values()) if trial.arm == arm]
    epochs = spec.epochs
    open_epochs = sum(max(epochs - trial.epoch, 0) for trial in trials if not trial.status.final)
    remaining = open_epochs + epochs * max(spec.trials_in(arm) - len(trials), 0)
    used = spending.epochs.get(arm, 0)
    if spec.budget.epochs is not None:
        remaining = min(remaining, max(spec.budget.epochs - used, 0))
    if isinstance(spec.search, AshaThenPbtSearch):  # most trials will not get beyond the screening
        remaining = min(remaining, max(spec.epochs_in(arm) - used, open_epochs))
    if spec.budget.device_hours is not None and used:
        rest = max(spec.budget.device_hours - spending.device_hours(arm), 0.0)
        remaining = min(remaining, math.ceil(rest * used / spending.device_hours(arm)))
    return remaining
