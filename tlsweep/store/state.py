"""The state of a sweep as a fold over its journal: what every trial is, was, and has reached."""

import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from tlsweep.spec.search.space import Value
from tlsweep.store.descent import Descent
from tlsweep.store.journal import Record, is_finite
from tlsweep.store.locations import Location
from tlsweep.store.ranking import Rank, rank
from tlsweep.store.replaying import replay
from tlsweep.store.schema import HYPERPARAMETERS
from tlsweep.store.shown import figure, html_table
from tlsweep.text import shortened


class Status(StrEnum):
    """What a trial is doing. The last four are final."""

    PENDING = "pending"
    """Waits for its first slot."""
    RUNNING = "running"
    """Is being trained."""
    PAUSED = "paused"
    """Waits for a slot to go on."""
    STOPPED = "stopped"
    """Ended early, by a rule or by the budget."""
    FINISHED = "finished"
    """Trained to the last epoch."""
    FAILED = "failed"
    """Its function raised or its process died, too often."""
    INTERRUPTED = "interrupted"
    """The sweep was stopped before it ended."""

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


class StoredCheckpoint(NamedTuple):
    """A file that a trial can go on from."""

    path: str
    """Its path below the sweep's folder."""
    digest: str
    """SHA-256."""
    epoch: int
    """Epochs that its weights have been trained for."""


@dataclass(repr=False)
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
    trail: tuple[StoredCheckpoint, ...] = ()
    """The checkpoints to go on from, the newest last: its own checkpoints, or the donor's after an exploit."""
    placed: bool = False
    """Whether it has a slot, or had one that it lost without a decision: then it is the first to go on."""
    out_of_budget: bool = False
    """Whether it was stopped only because the budget was used up: with more of it, it goes on."""
    failures: int = 0
    """Retries that count."""
    retried_at: tuple[int, int] | None = None
    """Generation and epoch of the last retry."""
    device_seconds: float = 0.0
    error: str | None = None

    def __repr__(self) -> str:
        return f"TrialState({self.trial}: {', '.join(f'{name} {text}' for name, text in self._facts())})"

    def _repr_html_(self) -> str:
        return html_table(f"trial {self.trial}", self._facts())

    def _facts(self) -> list[tuple[str, str]]:
        """What is said of it in a line."""
        facts = [("status", str(self.status)), ("epoch", str(self.epoch))]
        facts += [(name, figure(self.hyperparameters[name])) for name in ("lr", "batch_size") if name in self.start]
        if self.best is not None:
            facts.append(("best epoch", str(self.best["epoch"])))
            facts += [(name, figure(self.best[name])) for name in ("val_loss", "val_accuracy") if name in self.best]
        if self.reason is not None:
            facts.append(("reason", shortened(self.reason, 120)))
        return facts

    @property
    def resumable(self) -> bool:
        """Whether it has ended for a reason that a resume takes away."""
        return self.status is Status.INTERRUPTED or self.out_of_budget

    def score(self, metric: str, sign: int) -> float | None:
        """The best value of the metric so far, times `sign`: larger is better; None before the first sound one."""
        return sign * self.best[metric] if self.best else None


def diverged(report: Mapping[str, Any], metric: str) -> bool:
    """Whether the metric or a loss is not a finite number: such a report loses against every other, and never wins."""
    # A function of the user's own reports no loss, unless it likes to.
    losses = [report[name] for name in ("train_loss", "val_loss") if name in report]
    return not all(map(is_finite, (report[metric], *losses)))


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
    """What the winner of each arm reached on the test split."""
    soup: Mapping[str, Any] | None = None
    """What came of averaging the best networks, where that was asked for."""
    micro_batches: dict[str, int] = field(default_factory=dict)
    """The smallest micro-batch that each device needed on which a batch had to be divided."""

    def replay(self, records: Iterable[Record], journal: Location | None = None) -> "SweepState":
        """Apply all `records`, in order.

        Args:
            records: What was read, in order.
            journal: Where; a message names it.

        Raises:
            ResultsError: one of them does not fit those before it.
        """
        replay(records, self.apply, self.trials, journal)
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
        # A copy, as the threads of the terminal and of the metrics ask while the driver adds trials.
        return self.best_of((trial for trial in list(self.trials.values()) if trial.arm == arm), count)

    def best_of(self, trials: Iterable[TrialState], count: int) -> list[TrialState]:
        """Pick at most `count` of `trials`, the best first, of those that have a best report."""
        ranked = [(self._rank(trial.best, trial), trial) for trial in trials if trial.best is not None]
        return [trial for _, trial in heapq.nlargest(count, ranked, key=lambda pair: pair[0])]

    def _rank(self, report: Record, trial: TrialState) -> Rank:
        return rank(report[self.metric], report.get("val_loss"), trial.number, sign=self.sign)

    def _is_best(self, report: Record, trial: TrialState) -> bool:
        return trial.best is None or self._rank(report, trial) > self._rank(trial.best, trial)

    def _report(self, record: Record) -> None:
        trial = self.trials[record["trial"]]
        if record["generation"] != trial.generation:
            raise ValueError(f"a report of generation {record['generation']} in generation {trial.generation}")
        self.reports += 1
        trial.last = record
        trial.stage = record["stage"]
        trial.epoch = record["epoch"]
        if record["checkpoint"]:
            kept = StoredCheckpoint(record["checkpoint"], record.get("digest") or "", record["epoch"])
            trial.trail = (*trial.trail, kept)[-TRAIL:]
        trial.device_seconds += record["train_seconds"] + record["eval_seconds"]
        if not diverged(record, self.metric) and self._is_best(record, trial):
            trial.best = record
        device, size = record["device"], record.get("micro_batch")
        batch = record.get("scheduled_batch_size") or record["batch_size"]
        if size is not None and size < min(batch, self.micro_batches.get(device, size + 1)):
            self.micro_batches[device] = size

    def _sweep_event(self, record: Record) -> None:
        details = record["details"] or {}
        self.interrupted = record["kind"] == "interrupted"
        if record["kind"] in ("launched", "resumed"):
            self.launched = details
        if record["kind"] == "evaluated":
            self.test[record["arm"]] = details  # of what no trial made: the start
        if record["kind"] == "souped":
            self.soup = details
        if record["kind"] == "resumed":
            self.test.clear()  # the winner in the end will meet the test split
            self.soup = None
            for trial in self.trials.values():
                if trial.trial in details["reopened"] or not trial.status.final:
                    trial.status, trial.out_of_budget = Status.PAUSED, False
                    trial.reason = None

    def _event(self, record: Record) -> None:
        kind, details = record["kind"], record["details"] or {}
        if kind == "created":
            # A journal of an earlier version lacks those that came later; a function of the user's own has others.
            known = details["hyperparameters"]
            values = {name: known[name] for name in dict.fromkeys((*HYPERPARAMETERS, *known)) if name in known}
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
                trial.reason = details.get("reason")
                trial.error = details.get("error")
                trial.out_of_budget = details.get("out_of_budget", False)
            case "exploited":
                self._exploited(trial, record["generation"], Descent.from_details(details))
            case "restored":
                trial.trail = tuple(saved for saved in trial.trail if saved.path not in details["passed_over"])
                if trial.last is None or trial.last["generation"] != trial.generation:
                    trial.epoch = details["epoch"]  # nothing of this generation is known yet: it begins here
            case "repeated":
                self._repeated(trial, StoredCheckpoint(details["checkpoint"], details["digest"], record["epoch"]))

    def _exploited(self, trial: TrialState, generation: int, descent: Descent) -> None:
        if generation != trial.generation + 1:
            raise ValueError(f"generation {generation} after {trial.generation}")
        trial.placed = False
        trial.generation = generation
        trial.parent_trial = descent.donor
        trial.epoch = descent.epoch
        copied = StoredCheckpoint(descent.checkpoint, descent.digest or "", trial.epoch)
        if copied not in trial.trail[-1:]:  # its own, where a recipe's next step begins
            trial.trail = (*trial.trail, copied)[-TRAIL:]
        trial.hyperparameters = descent.hyperparameters

    def _repeated(self, trial: TrialState, kept: StoredCheckpoint) -> None:
        """The report stays; its checkpoint is the new one."""
        trial.trail = (*trial.trail, kept)[-TRAIL:]
        best = trial.best
        if best and (best["generation"], best["epoch"]) == (trial.generation, kept.epoch):
            trial.best = best | {"checkpoint": kept.path, "digest": kept.digest}
