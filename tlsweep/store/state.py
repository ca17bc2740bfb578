"""The state of a sweep as a fold over its journal: what every trial is, was, and has reached."""

import heapq
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

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
    FAILED = "failed"  # its function raised or its process died, too often
    INTERRUPTED = "interrupted"  # the sweep was stopped before it ended

    @property
    def final(self) -> bool:
        """Whether nothing more will come, unless the sweep is resumed."""
        return self not in (Status.PENDING, Status.RUNNING, Status.PAUSED)


_STATUS_AFTER = {
    "created": Status.PENDING,
    "started": Status.RUNNING,
    "paused": Status.PAUSED,
    "exploited": Status.PAUSED,
    "retried": Status.PAUSED,
    "moved": Status.PAUSED,
    "stopped": Status.STOPPED,
    "finished": Status.FINISHED,
    "failed": Status.FAILED,
    "interrupted": Status.INTERRUPTED,
}

TRAIL = 2
"""Checkpoints that a trial can go on from: the last, and the one before it, should the last be damaged."""


class Checkpoint(NamedTuple):
    """A file that a trial can go on from."""

    path: str
    """Below the sweep's folder."""
    digest: str
    """SHA-256."""
    epoch: int
    """Epochs that its weights have been trained for."""


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
    trail: tuple[Checkpoint, ...] = ()
    """Where to go on from, the newest last: its own checkpoints, or the donor's after an exploit."""
    placed: bool = False
    """Whether it has a place, or had one that it lost without a decision: then it is the first to go on."""
    out_of_budget: bool = False
    """Whether it was stopped only because the budget was used up: with more of it, it goes on."""
    failures: int = 0
    """Retries that count."""
    retried_at: tuple[int, int] | None = None
    """Generation and epoch of the last retry."""
    device_seconds: float = 0.0
    error: str | None = None

    @property
    def resumable(self) -> bool:
        """Whether it has ended for a reason that a resume takes away."""
        return self.status is Status.INTERRUPTED or self.out_of_budget

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
    launched: Mapping[str, Any] | None = None
    """What the sweep was launched with, or last resumed with: its spec, fingerprints of data and weights."""
    interrupted: bool = False
    """Whether it was stopped before it ended, and waits to be resumed."""
    elapsed: float = 0.0
    """Seconds that it has run, over all its launches."""
    test: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    """For each arm, what its winner reached on the test split."""
    micro_batches: dict[str, int] = field(default_factory=dict)
    """For each device on which a batch had to be divided, the smallest size that was needed."""

    def replay(self, records: Iterable[Record]) -> "SweepState":
        """Apply all `records`, in order."""
        for record in records:
            self.apply(record)
        return self

    def apply(self, record: Record) -> None:
        """The one place where a record changes the state."""
        self.elapsed = record.get("elapsed", self.elapsed)
        if record["type"] == "report":
            self._report(record)
        elif record["trial"] is None:
            self._sweep_event(record)
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
        trial.stage = record["stage"]
        trial.epoch = record["epoch"]
        if record["checkpoint"]:
            kept = Checkpoint(record["checkpoint"], record.get("digest", ""), record["epoch"])
            trial.trail = (*trial.trail, kept)[-TRAIL:]
        trial.device_seconds += record["train_seconds"] + record["eval_seconds"]
        if not diverged(record, self.metric) and self._rank(record) > self._rank(trial.best):
            trial.best = record
        device, size = record["device"], record["micro_batch"]
        batch = record.get("scheduled_batch_size", record["batch_size"])
        if size < min(batch, self.micro_batches.get(device, size + 1)):
            self.micro_batches[device] = size

    def _sweep_event(self, record: Record) -> None:
        details = record["details"] or {}
        self.interrupted = record["kind"] == "interrupted"
        if record["kind"] in ("launched", "resumed"):
            self.launched = details
        if record["kind"] == "resumed":
            self.test.clear()  # whoever is the winner in the end will meet the test split
            for trial in self.trials.values():
                if trial.trial in details["reopened"] or not trial.status.final:
                    trial.status, trial.out_of_budget, trial.reason = Status.PAUSED, False, None

    def _event(self, record: Record) -> None:
        kind, details = record["kind"], record["details"] or {}
        if kind == "created":
            # A journal of an earlier version lacks those that came later.
            known = details["hyperparameters"]
            values = {name: known[name] for name in HYPERPARAMETERS if name in known}
            self.trials[record["trial"]] = TrialState(
                record["trial"], record["arm"], record["stage"], details["number"], values, values
            )
        trial = self.trials[record["trial"]]
        trial.status = _STATUS_AFTER.get(kind, trial.status)
        match kind:
            case "evaluated":
                self.test[record["arm"]] = details
            case "started":
                trial.placed = True
            case "paused":
                trial.placed = False
            case "retried":
                trial.failures += details["counted"]
                trial.retried_at = (trial.generation, trial.epoch)
            case "stopped" | "failed" | "interrupted" | "finished":
                trial.reason = None if kind == "finished" else details.get("reason")
                trial.error = details.get("error")
                trial.out_of_budget = details.get("out_of_budget", False)
            case "exploited":
                self._exploited(trial, record["generation"], details)
            case "restored":
                trial.trail = tuple(one for one in trial.trail if one.path not in details["passed_over"])
                if trial.last is None or trial.last["generation"] != trial.generation:
                    trial.epoch = details["epoch"]  # nothing of this generation is known yet: it begins here
            case "repeated":
                self._repeated(trial, Checkpoint(details["checkpoint"], details["digest"], record["epoch"]))

    def _exploited(self, trial: TrialState, generation: int, details: Mapping[str, Any]) -> None:
        trial.placed = False
        trial.generation = generation
        trial.parent_trial = details["donor"]
        trial.epoch = details["donor_epoch"]
        copied = Checkpoint(details["checkpoint"], details["digest"], trial.epoch)
        if copied not in trial.trail[-1:]:  # its own, where a recipe's next step begins
            trial.trail = (*trial.trail, copied)[-TRAIL:]
        trial.hyperparameters = details["hyperparameters"]

    def _repeated(self, trial: TrialState, kept: Checkpoint) -> None:
        """The report stays; its checkpoint is the new one."""
        trial.trail = (*trial.trail, kept)[-TRAIL:]
        best = trial.best
        if best and (best["generation"], best["epoch"]) == (trial.generation, kept.epoch):
            trial.best = best | {"checkpoint": kept.path, "digest": kept.digest}
