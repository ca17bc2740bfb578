"""The state of a sweep as a fold over its journal: what every trial is, was, and has reached."""

import heapq
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from tlsweep.spec.space import Value
from tlsweep.store.journal import Record, is_finite
from tlsweep.store.schema import HYPERPARAMETERS


class Status(StrEnum):
    """What a trial is doing. The last four are final."""

    PENDING = "pending"  # waits for its first place
    RUNNING = "running"  # is being trained
    PAUSED = "paused"  # waits for a place to go on
    STOPPED = "stopped"  # ended early, by a rule or by the budget
    FINISHED = "finished"  # trained to the last epoch
    FAILED = "failed"  # its function raised or its process died
    INTERRUPTED = "interrupted"  # the user stopped the sweep

    @property
    def final(self) -> bool:
        """Whether nothing more will come."""
        return self not in (Status.PENDING, Status.RUNNING, Status.PAUSED)


_STATUS_AFTER = {
    "created": Status.PENDING,
    "started": Status.RUNNING,
    "paused": Status.PAUSED,
    "exploited": Status.PAUSED,
    "stopped": Status.STOPPED,
    "finished": Status.FINISHED,
    "failed": Status.FAILED,
    "interrupted": Status.INTERRUPTED,
}


@dataclass
class TrialState:
    """One trial, as of the last record."""

    trial: str
    arm: str
    stage: str
    number: int
    start: Mapping[str, Value]
    """Every hyperparameter at the start."""
    hyperparameters: Mapping[str, Value]
    """Every hyperparameter in force now."""
    status: Status = Status.PENDING
    reason: str | None = None
    generation: int = 0
    parent_trial: str | None = None
    epoch: int = 0
    """Epochs completed by the weights it has now."""
    last: Record | None = None
    best: Record | None = None
    """The reports of the last and of the best epoch; one that diverged is never the best."""
    restart_checkpoint: str | None = None
    """Where to go on from: its last checkpoint, or the donor's after an exploit."""
    device_seconds: float = 0.0
    error: str | None = None

    def score(self, metric: str, sign: int) -> float | None:
        """sign × the best value of the metric so far: larger is better; None before the first sound one."""
        return sign * self.best[metric] if self.best else None


def diverged(report: Record, metric: str) -> bool:
    """Whether the metric or a loss is not a finite number: such a report loses against every other, and never wins."""
    return not all(is_finite(report[name]) for name in (metric, "train_loss", "val_loss"))


@dataclass
class SweepState:
    """All trials, as of the last record. `metric` and `sign` say which report is the best (see SearchCommon)."""

    metric: str
    sign: int
    trials: dict[str, TrialState] = field(default_factory=dict)
    reports: int = 0
    test: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    """For each arm, what its winner reached on the test split."""

    def replay(self, records: Iterable[Record]) -> "SweepState":
        """Apply all `records`, in order."""
        for record in records:
            self.apply(record)
        return self

    def apply(self, record: Record) -> None:
        """The one place where a record changes the state."""
        if record["type"] == "report":
            self._report(record)
        else:
            self._event(record)

    def winner(self, arm: str) -> TrialState | None:
        """The trial with the best report; ties go to the lower validation loss, then to the earlier trial."""
        return next(iter(self.leaders(arm, 1)), None)

    def leaders(self, arm: str, count: int) -> list[TrialState]:
        """The `count` best trials of an arm, the winner first."""
        return self.best_of((one for one in list(self.trials.values()) if one.arm == arm), count)

    def best_of(self, trials: Iterable[TrialState], count: int) -> list[TrialState]:
        """At most `count` of `trials`, the best first, of those that have a best report."""
        ranked = [one for one in trials if one.best is not None]
        return heapq.nlargest(count, ranked, key=lambda one: (self._rank(one.best), -one.number))

    def _rank(self, report: Record | None) -> tuple[float, float]:
        return (self.sign * report[self.metric], -report["val_loss"]) if report else (-math.inf, -math.inf)

    def _report(self, record: Record) -> None:
        trial = self.trials[record["trial"]]
        self.reports += 1
        trial.last = record
        trial.epoch = record["epoch"]
        trial.restart_checkpoint = record["checkpoint"] or trial.restart_checkpoint
        trial.device_seconds += record["train_seconds"] + record["eval_seconds"]
        if not diverged(record, self.metric) and self._rank(record) > self._rank(trial.best):
            trial.best = record

    def _event(self, record: Record) -> None:
        kind, details = record["kind"], record["details"] or {}
        if kind == "created":
            values = {name: details["hyperparameters"][name] for name in HYPERPARAMETERS}
            self.trials[record["trial"]] = TrialState(
                record["trial"], record["arm"], record["stage"], details["number"], values, values
            )
        if kind == "evaluated":
            self.test[record["arm"]] = details
        trial = self.trials.get(record["trial"] or "")
        if trial is None:
            return
        trial.status = _STATUS_AFTER.get(kind, trial.status)
        if kind in ("stopped", "failed", "interrupted"):
            trial.reason = details.get("reason")
            trial.error = details.get("error")
        if kind == "exploited":
            trial.generation = record["generation"]
            trial.parent_trial = details["donor"]
            trial.epoch = details["donor_epoch"]
            trial.restart_checkpoint = details["checkpoint"]
            trial.hyperparameters = details["hyperparameters"]
