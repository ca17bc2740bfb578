"""The referee of a stage: every report and event passes here, is written down, and only then has an effect."""

import textwrap
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

from tlsweep.schedulers import Continue, Decision, Exploit, Observation, Stop, make_rules
from tlsweep.spec import MAIN_ARM, SweepSpec
from tlsweep.store import Journal, Record, SweepFolder, SweepState, diverged
from tlsweep.store.schema import HYPERPARAMETERS, REPORTS
from tlsweep.store.tables import TableWriter
from tlsweep.sweep.assignment import Assignment, configuration, trial_id, trial_seed
from tlsweep.sweep.observer import Observer, tell
from tlsweep.sweep.retention import Retention

INTERRUPTED = "interrupted"
"""The reason to halt that is no reason of the sweep's: the user ended it."""


class Referee:
    """Journals, applies the rules of the arm, keeps the budget. Knows nothing of Ray."""

    def __init__(
        self, spec: SweepSpec, stage: str, folder: SweepFolder, journal: Journal, state: SweepState, observer: Observer
    ) -> None:
        self.spec, self.stage, self.state = spec, stage, state
        self.halted: str | None = None
        """Why no trial may run any more; None while they may."""
        self._journal, self._observer = journal, observer
        self._tables = TableWriter(folder.path, folder.name)
        self._rules = {arm: make_rules(spec, arm) for arm in spec.arms}
        self._retention = Retention(folder.path, state, self._rules)
        self._epochs: Counter[str] = Counter()
        self.began = time.monotonic()
        self._first_start: float | None = None

    # What the queue asks

    def create(self, arm: str, number: int) -> str:
        """Draw a configuration; the new trial's id."""
        trial = trial_id(arm, number)
        values = configuration(self.spec, number).model_dump()
        details = {"number": number, "hyperparameters": values}
        self._write(self._event("created", trial, arm, details=details))
        return trial

    def exhausted(self, arm: str) -> bool:
        """Whether an arm has used up its epochs: it gets no new trials."""
        budget = self.spec.budget.epochs
        return budget is not None and self._epochs[arm] >= budget

    def assignment(self, trial: str) -> dict[str, Any]:
        """What a worker must know to start or go on with a trial."""
        one = self.state.trials[trial]
        return Assignment(
            trial=trial,
            arm=one.arm,
            generation=one.generation,
            parent_trial=one.parent_trial,
            seed=trial_seed(self.spec, one.number),
            hyperparameters=dict(one.hyperparameters),
            checkpoint=one.restart_checkpoint,
        ).to_config()

    def epoch(self, trial: str) -> int:
        """Epochs that the trial has completed."""
        return self.state.trials[trial].epoch

    # What happens

    def started(self, trial: str) -> None:
        """A worker takes the trial. With the first one wall time begins: starting workers may take longer than it."""
        self._first_start = self._first_start or time.monotonic()
        self._write(self._event("started", trial))

    def paused(self, trial: str) -> None:
        self._write(self._event("paused", trial))

    def failed(self, trial: str, error: str) -> None:
        """Its last line is the reason; the whole traceback is kept."""
        lines = [line for line in error.strip().splitlines() if line.strip()] or ["unknown"]
        reason = textwrap.shorten(lines[-1], 200, placeholder=" …")
        self._end(trial, self._event("failed", trial, details={"reason": reason, "error": error}))

    def returned(self, trial: str) -> None:
        """A trial ended; unless that had been decided, its function returned before the last epoch."""
        self._end(trial, self._event("stopped", trial, details={"reason": "its function returned early"}))

    def observe(self, row: Mapping[str, Any]) -> Decision:
        """Journal a report, decide, journal the decision. What is reported after the end does not count."""
        trial = self.state.trials[row["trial"]]
        if self.halted or self.exhausted(trial.arm):
            self._retention.added(trial, row["checkpoint"])
            return self._stop(trial.trial, Stop(self.halted or "the arm's budget of epochs is used up"))
        report = self._report(row)
        self._write(report)
        self._epochs[trial.arm] += 1
        decision = self._decide(report)
        if isinstance(decision, Exploit):
            self._exploit(trial.trial, decision)
        self._retention.added(trial, report["checkpoint"])
        if isinstance(decision, Stop):
            self._stop(trial.trial, decision)
        self._check_budget(report)
        self._tables.write_if_due(self.state)
        return decision

    def tick(self) -> bool:
        """Whether the stage must end now; asked several times a second."""
        limit, begun = self.spec.budget.wall_time, self._first_start
        if limit is not None and begun is not None and time.monotonic() - begun >= limit:
            self.halt(f"the wall time of {limit:g} s is used up")
        return self.halted is not None

    def halt(self, reason: str) -> None:
        """No trial may run any more."""
        self.halted = self.halted or reason

    def close(self, *, interrupted: bool) -> None:
        """The stage ended: give every trial a final state, tidy up, write the tables a last time."""
        kind = "interrupted" if interrupted else "stopped"
        details = {"reason": self.halted or "the stage ended"}
        for trial in [one for one in self.state.trials.values() if not one.status.final]:
            self._end(trial.trial, self._event(kind, trial.trial, details=details))
        self._retention.close()
        self.write_tables()

    def evaluated(self, arm: str, trial: str, metrics: Mapping[str, Any]) -> None:
        """The winner of an arm met the test split."""
        self._write(self._event("evaluated", trial, arm, details={"trial": trial, **metrics}))

    def write_tables(self) -> None:
        """Bring the Parquet files up to date."""
        self._tables.write(self.state)

    # How

    def _decide(self, report: Record) -> Decision:
        search = self.spec.search
        score = float("nan") if diverged(report, search.metric) else search.sign * report[search.metric]
        observation = Observation(
            trial=report["trial"],
            generation=report["generation"],
            epoch=report["epoch"],
            score=score,
            hyperparameters={name: report[name] for name in HYPERPARAMETERS},
            checkpoint=report["checkpoint"],
        )
        decision = self._rules[report["arm"]].observe(observation)
        if isinstance(decision, Continue) and report["epoch"] >= self.spec.train.epochs:
            return Stop("trained to the last epoch")
        return decision

    def _stop(self, trial: str, stop: Stop) -> Stop:
        one = self.state.trials[trial]
        sound = one.last is not None and not diverged(one.last, self.state.metric)
        if one.epoch >= self.spec.train.epochs and sound:
            kind = "finished"
        else:
            kind = "interrupted" if self.halted == INTERRUPTED else "stopped"
        self._end(trial, self._event(kind, trial, details={"reason": stop.reason, **stop.details}))
        return stop

    def _end(self, trial: str, event: Record) -> None:
        """The first end counts: Tune may tell of another one while it takes a worker from a trial."""
        one = self.state.trials[trial]
        if one.status.final:
            return
        self._write(event)
        self._rules[one.arm].ended(trial)
        self._retention.ended(one)

    def _exploit(self, trial: str, exploit: Exploit) -> None:
        one = self.state.trials[trial]
        generation = one.generation + 1
        details = {
            "donor": exploit.donor,
            "donor_generation": exploit.donor_generation,
            "donor_epoch": exploit.epoch,
            "checkpoint": exploit.checkpoint,
            "hyperparameters": dict(exploit.hyperparameters),
            **exploit.details,
        }
        changes = {name: {"from": old, "to": new} for name, (old, new) in exploit.mutated.items()}
        self._write(
            self._event("exploited", trial, generation=generation, details=details),
            self._event("perturbed", trial, generation=generation, details=changes),
        )

    def _check_budget(self, report: Record) -> None:
        search, budget = self.spec.search, self.spec.budget
        if budget.target is not None and report["arm"] == MAIN_ARM and not diverged(report, search.metric):
            value = report[search.metric]
            if search.sign * value >= search.sign * budget.target:
                self.halt(f"{report['trial']} reached the target: {search.metric} {value:.4g}")
        if all(self.exhausted(arm) for arm in self.spec.arms):
            self.halt("the budget of epochs is used up")

    def _report(self, row: Mapping[str, Any]) -> Record:
        trial = self.state.trials[row["trial"]]
        known = {name: row[name] for name in REPORTS if name in row}
        return known | {
            "type": "report",
            "stage": self.stage,
            "arm": trial.arm,
            "generation": trial.generation,
            "parent_trial": trial.parent_trial,
            **trial.hyperparameters,
            "checkpoint": row["checkpoint"],
            "time": time.time(),
        }

    def _event(
        self,
        kind: str,
        trial: str,
        arm: str | None = None,
        *,
        generation: int | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> Record:
        known = self.state.trials.get(trial)
        return {
            "type": "event",
            "stage": self.stage,
            "arm": arm or (known.arm if known else None),
            "trial": trial,
            "generation": generation if generation is not None else (known.generation if known else 0),
            "kind": kind,
            "epoch": known.epoch if known else 0,
            "details": dict(details or {}),
            "time": time.time(),
        }

    def _write(self, *records: Record) -> None:
        self._journal.append(*records)
        for record in records:
            self.state.apply(record)
        self._tables.add(records)
        tell(self._observer, records)
