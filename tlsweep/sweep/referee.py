"""The referee of a stage: every report and incident passes here, is written down, and only then has an effect."""

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from typing import Any, TypeVar, cast

from tlsweep.schedulers import Continue, Exploit, Hold, Join, Promote, Step, Stop, Yield
from tlsweep.spec import MAIN_ARM, SweepSpec
from tlsweep.spec.space import Value
from tlsweep.store import Record, SweepState, TrialState, diverged
from tlsweep.sweep.assignment import Assignment, Message, trial_seed
from tlsweep.sweep.faults import Fault, reason_of, shortened, what_follows
from tlsweep.sweep.ground import LOOK_SECONDS, Loss
from tlsweep.sweep.ledger import Ledger
from tlsweep.sweep.placing import Candidate, Placing
from tlsweep.sweep.retention import Retention

INTERRUPTED = "stopped by the user"
"""The reason to halt that is no reason of the sweep's."""

_Method = TypeVar("_Method", bound=Callable[..., Any])


def _in_turn(method: _Method) -> _Method:
    """One thread at a time: where the main one is blocked in Ray, another one ends the sweep."""

    @wraps(method)
    def alone(self: "Referee", *arguments: Any, **options: Any) -> Any:
        with self.turn:
            return method(self, *arguments, **options)

    return cast(_Method, alone)


class Referee:
    """Applies the rules of each arm and keeps the budget. Knows nothing of Ray; Tune's trials come and go."""

    def __init__(
        self,
        ledger: Ledger,
        retention: Retention,
        clock: Callable[[], float] = time.monotonic,
        ground: Callable[[], Loss | None] = lambda: None,
    ) -> None:
        self.spec: SweepSpec = ledger.spec
        self.state: SweepState = ledger.state
        self.halted: str | None = None
        """Why no trial may run any more; None while they may."""
        self.resumable = False
        """Whether what halted it is no end: the sweep can be resumed as it is."""
        self.loss: Loss | None = None
        """What halted it, if that is something that it stood on."""
        self.turn = threading.RLock()
        """Held by the thread that writes something down."""
        self._ledger, self._retention = ledger, retention
        self._now, self._ground = clock, ground
        self._look_due = clock()
        self._placing = Placing(ledger)
        self.began = clock()
        """When it took over, by time.monotonic()."""
        self._touched: dict[str, TrialState] = {}
        """Trials that the transaction at hand is about."""
        self._drawn: dict[str, dict[str, Value]] = {}
        """The configurations of trials that have a slot, and have not begun."""
        self._heard: dict[str, float] = {}
        """When each running trial was last heard of."""
        for arm in self.spec.arms:
            self._check_budget(arm, (trial.best for trial in self.state.trials.values() if trial.arm == arm))
        self.tick()
        self._settle()
        self._commit()

    # What the queue asks

    def more(self) -> bool:
        """Whether a trial could use a slot now."""
        return self.halted is None and self._placing.next() is not None

    def wanted(self) -> int:
        """How many trials could have a slot now, those that have one included."""
        return self._placing.wanted() if self.halted is None else 0

    def starting(self) -> bool:
        """Whether a trial that was given a slot still waits for its worker."""
        return any(trial not in self._heard for trial in self._placing.placed)

    @_in_turn
    def assign(self) -> Assignment | None:
        """Give the next slot to a trial; None if nobody can use it now."""
        candidate = self._placing.next() if self.halted is None else None
        if candidate is None:
            return None
        if candidate.promotion is not None:
            self._ledger.event("promoted", candidate.trial, candidate.promotion.details)
            self._ledger.commit()
        self._placing.place(candidate)
        self._heard.pop(candidate.trial, None)
        return self.assignment(candidate.trial)

    def assignment(self, trial: str) -> Assignment:
        """What a worker must know to start or go on with a trial that has a slot."""
        candidate, one = self._placing.placed[trial], self.state.trials.get(trial)
        return Assignment(
            trial=trial,
            arm=candidate.arm,
            generation=one.generation if one else 0,
            parent_trial=one.parent_trial if one else None,
            seed=trial_seed(self.spec, candidate.number),
            hyperparameters=dict(one.hyperparameters) if one else self._starting_values(candidate),
            trail=one.trail if one else (),
            micro_batches=dict(self.state.micro_batches),
        )

    # What happens

    @_in_turn
    def started(self, trial: str) -> None:
        """A worker takes the trial. With the first one wall time begins: starting workers may take longer than it."""
        self._ledger.start_clock()
        self._heard[trial] = self._now()
        self._create(trial)
        self._ledger.event("started", trial)
        self._commit()

    @_in_turn
    def observe(self, message: Message, *, leaving: bool = False) -> bool:
        """Take down a report and what is decided on it. False: the trial's slot is free, its worker must stop.

        What is reported after the end does not count. `leaving`: the worker's node is about to be taken away.
        """
        self._look()
        trial = self.state.trials[message.trial]
        self._heard[trial.trial] = self._now()
        if self.halted is not None or self._placing.exhausted(trial.arm):
            self._stop(trial, self._out_of_budget(trial), spent=True)
            goes_on = False
        else:
            if message.passed_over:
                self._restored(trial, message)
            is_new = message.epoch > trial.epoch
            goes_on = self._reported(trial, message) if is_new else self._repeated(trial, message)
            if goes_on and leaving:
                self._ledger.event("moved", trial.trial, {"reason": "its node is about to be taken away"})
                goes_on = False
        self._commit()
        self._retention.update(trial, message.checkpoint)
        if not goes_on:
            self._placing.give_back(trial.trial)
        self._ledger.write_tables(if_due=True)
        return goes_on

    @_in_turn
    def failed(
        self, trial: str, error: str, *, fault: Fault = "user", counted: bool = True, keeps_slot: bool = False
    ) -> None:
        """A trial's function raised, or its process died: it is retried, or has failed for good.

        Where the whole sweep is about to end, that may be the reason, and the trial is interrupted like the others.
        """
        self._look()
        self._create(trial)
        one = self.state.trials[trial]
        if trial in self.overdue():
            error = f"{error.rstrip()}\nno report for {self.spec.faults.report_timeout:g} s: its worker was ended\n"
        if not one.status.final:
            reason = reason_of(error)
            # What the trial cannot help is not counted, as long as it gets on at all.
            counted = counted or (not keeps_slot and one.retried_at == (one.generation, one.epoch))
            details = {"reason": shortened(reason), "error": error, "fault": fault}
            if fault == "storage":
                self.halt(f"a file cannot be kept: {reason.partition(': ')[2]}", resumable=True)
            allowed = self.spec.faults.max_failures
            match what_follows(fault, one.failures + counted, allowed, sweep_stops=self.resumable):
                case "stop":
                    self._stop(one, Stop(str(self.halted)), spent=True)
                case "end":
                    self._end(one, "failed", details)
                case "retry":
                    self._ledger.event("retried", trial, details | {"counted": int(counted)})
            self._settle()
            self._commit()
        if not keeps_slot:
            self._placing.give_back(trial)

    @_in_turn
    def returned(self, trial: str) -> None:
        """A trial's function ended; unless that had been decided, it returned before the last epoch."""
        one = self.state.trials.get(trial)
        if trial in self._placing.placed and one is not None and not one.status.final:
            self._end(one, "stopped", {"reason": "its function returned early"})
            self._settle()
            self._commit()
        self._placing.give_back(trial)

    def overdue(self) -> list[str]:
        """Running trials that were not heard of for longer than the spec allows."""
        limit = self.spec.faults.report_timeout
        if limit is None:
            return []
        running = [trial for trial in self._placing.placed if trial in self._heard]
        return [trial for trial in running if self._now() - self._heard[trial] > limit]

    def node(self, kind: str, details: Mapping[str, Any]) -> None:
        """A node of the cluster came, went, or is about to go."""
        self._ledger.event(kind, details=details)
        self._commit()

    @_in_turn
    def tick(self, *, now: bool = False) -> bool:
        """Whether the stage must end now; asked several times a second. `now`: look at the ground in any case."""
        if now or self._now() >= self._look_due:
            self._look()
        limit = self.spec.budget.wall_time
        if limit is not None and self._ledger.elapsed >= limit:
            self.halt(f"the wall time of {limit:g} s is used up")
        return self.halted is not None

    def halt(self, reason: str, *, resumable: bool = False) -> None:
        """No trial may run any more."""
        if self.halted is None:
            self.halted, self.resumable = reason, resumable

    @_in_turn
    def close(self) -> None:
        """The stage ended: give every trial a final state, tidy up, write the tables a last time.

        Where the folder is no longer the sweep's, nothing is removed there and nothing written.
        """
        self._look()
        for trial in [trial for trial in self.state.trials.values() if not trial.status.final]:
            rules, spent = self._ledger.rules[trial.arm], self.halted is not None or self._placing.exhausted(trial.arm)
            self._stop(trial, self._out_of_budget(trial) if spent else rules.verdict(trial.trial), spent=spent)
        if self.resumable:
            self._ledger.event("interrupted", details={"reason": self.halted})
        self._commit()
        self._retention.tidy()
        if self.loss is not None:
            self._ledger.follow(self.loss.folder)
        self._ledger.write_tables()

    def evaluated(self, arm: str, trial: str, metrics: Mapping[str, Any]) -> None:
        """The winner of an arm met the test split."""
        self._ledger.event("evaluated", trial, {"trial": trial, **metrics}, arm=arm)
        self._ledger.commit()
        self._ledger.write_tables()

    # How

    def _look(self) -> None:
        """See whether all that the sweep stands on is there."""
        self._look_due = self._now() + LOOK_SECONDS
        if self.loss is None and (loss := self._ground()):
            self.loss = loss
            self._retention.hands_off = loss.folder != self._ledger.folder
            self.halt(loss.reason, resumable=True)

    def _create(self, trial: str) -> None:
        """The first thing that is written down of a trial is its configuration."""
        if trial not in self.state.trials:
            candidate = self._placing.placed[trial]
            details = {"number": candidate.number, "hyperparameters": self._starting_values(candidate)}
            self._ledger.event("created", trial, details, arm=candidate.arm)
            del self._drawn[trial]

    def _starting_values(self, candidate: Candidate) -> dict[str, Value]:
        """Chosen when the trial gets its slot: what is reported until its worker starts does not change them."""
        if candidate.trial not in self._drawn:
            self._drawn[candidate.trial] = self._ledger.starting_values(candidate.arm, candidate.number)
        return self._drawn[candidate.trial]

    def _commit(self) -> None:
        """Disk first, then effects."""
        self._ledger.commit()
        touched, self._touched = self._touched, {}
        for trial in touched.values():
            self._retention.update(trial)
            if trial.status.final:
                self._placing.give_back(trial.trial)

    def _reported(self, trial: TrialState, message: Message) -> bool:
        """A new epoch: decide on its trial, and on those that waited for it."""
        report = self._ledger.report(message)
        rules = self._ledger.rules[trial.arm]
        decision = rules.decide(self._ledger.observation(report))
        if isinstance(decision, Continue) and report["epoch"] >= self.spec.train.epochs:
            decision = Stop("trained to the last epoch")
        if isinstance(decision, Yield) and not self._placing.somebody_is_behind(trial.epoch):
            decision = Continue()
        match decision:
            case Stop():
                self._stop(trial, decision)
            case Exploit():
                self._exploit(trial, decision)
            case Yield():
                self._ledger.event("paused", trial.trial, {"reason": "others are behind"})
            case Hold():
                self._ledger.event("paused", trial.trial, {"reason": "waits for others"})
        self._settle()
        self._check_budget(trial.arm, [report])
        return isinstance(decision, Continue)

    def _settle(self) -> None:
        """Carry out what is due for trials that wait; an end can make more of it due."""
        while due := self._due():
            for trial, step in due.items():
                one = self.state.trials[trial]
                match step:
                    case Stop():
                        self._stop(one, step)
                    case Exploit():
                        self._exploit(one, step)
                    case Join():
                        self._ledger.event("joined", trial, {"members": step.members, **step.details})

    def _due(self) -> dict[str, Step]:
        """What rules have decided on trials that wait, but for promotions: these wait for a slot (`Placing`)."""
        if self.halted is not None:
            return {}
        # Asked after every end too, since others may have waited for that trial alone.
        return {
            trial: step
            for arm, rules in self._ledger.rules.items()
            for trial, step in rules.next_steps(idle=self._idle(arm)).items()
            if not isinstance(step, Promote)
        }

    def _idle(self, arm: str) -> bool:
        return not self._placing.exhausted(arm) and self._placing.settled(arm)

    def _repeated(self, trial: TrialState, message: Message) -> bool:
        """An epoch that was reported before, trained again from an older checkpoint: the first report stays."""
        details = {"checkpoint": message.checkpoint, "digest": message.digest}
        self._ledger.event("repeated", trial.trial, details, epoch=message.epoch)
        return True

    def _restored(self, trial: TrialState, message: Message) -> None:
        passed = message.passed_over
        gone = {saved["path"] for saved in passed}
        details = {
            "reason": "; ".join(f"{saved['path']} {saved['reason']}" for saved in passed),
            "passed_over": [saved["path"] for saved in passed],
            "checkpoint": next(
                (checkpoint.path for checkpoint in reversed(trial.trail) if checkpoint.path not in gone), None
            ),
            "epoch": message.epoch - 1,
        }
        self._ledger.event("restored", trial.trial, details, epoch=message.epoch - 1)

    def _stop(self, trial: TrialState, stop: Stop, *, spent: bool = False) -> None:
        """End a trial, unless it has ended. `spent`: only because the budget, or the user's patience, is used up."""
        details = {"reason": stop.reason, **stop.details}
        sound = trial.last is not None and not diverged(trial.last, self.state.metric)
        if trial.epoch >= self.spec.train.epochs and sound:
            self._end(trial, "finished", details)
        elif spent and self.resumable:
            self._end(trial, "interrupted", details)
        else:
            self._end(trial, "stopped", details | ({"out_of_budget": True} if spent else {}))

    def _out_of_budget(self, trial: TrialState) -> Stop:
        return Stop(self.halted or self._ledger.spending.used_up(trial.arm) or "the sweep ended")

    def _end(self, trial: TrialState, kind: str, details: Mapping[str, Any]) -> None:
        """The first end counts."""
        if not trial.status.final:
            self._ledger.event(kind, trial.trial, details)
            self._touched[trial.trial] = trial

    def _exploit(self, trial: TrialState, exploit: Exploit) -> None:
        self._touched[trial.trial] = trial
        generation = trial.generation + 1
        details = exploit.to_details()
        changes = {name: {"from": old, "to": new} for name, (old, new) in exploit.mutated.items()}
        epoch = trial.epoch
        self._ledger.event("exploited", trial.trial, details, generation=generation, epoch=epoch)
        self._ledger.event("perturbed", trial.trial, changes, generation=generation, epoch=epoch)

    def _check_budget(self, arm: str, reports: Iterable[Record | None]) -> None:
        search, target = self.spec.search, self.spec.budget.target
        if target is not None and arm == MAIN_ARM:
            for report in reports:
                if report and not diverged(report, search.metric):
                    value = report[search.metric]
                    if search.sign * value >= search.sign * target:
                        self.halt(f"{report['trial']} reached the target: {search.metric} {value:.4g}")
        if all(self._placing.exhausted(arm) for arm in self.spec.arms):
            self.halt(str(self._ledger.spending.used_up(arm)))
