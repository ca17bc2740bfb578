"""The referee of a stage: every report and incident passes here, is written down, and only then has an effect."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tlsweep.errors import ResultsError
from tlsweep.schedulers import Continue, Exploit, Join, Promote, Stop, Yield
from tlsweep.spec import SweepSpec
from tlsweep.store import SweepState, TrialState
from tlsweep.sweep.assignment import Assignment, Message
from tlsweep.sweep.ending import Ending
from tlsweep.sweep.faults import Fault, reason_of, shortened, what_follows
from tlsweep.sweep.ground import Loss
from tlsweep.sweep.ledger import Ledger, in_turn
from tlsweep.sweep.placing import Candidate, Placing
from tlsweep.sweep.retention import Retention
from tlsweep.sweep.rulings import Rulings
from tlsweep.sweep.watch import Watch

INTERRUPTED = "stopped by the user"
"""The reason to halt that is no reason of the sweep's."""


class Referee:
    """Is told what happens, asks the rules of each arm, and has what they decide written down.

    Knows nothing of Ray; Tune's trials come and go. Who is next, why nobody may go on and who is silent is asked of its
    parts.
    """

    def __init__(
        self,
        ledger: Ledger,
        retention: Retention,
        clock: Callable[[], float] = time.monotonic,
        ground: Callable[[], Loss | None] = lambda: None,
    ) -> None:
        self.spec: SweepSpec = ledger.spec
        self.state: SweepState = ledger.state
        self.turn = ledger.turn
        self.ending = Ending(ledger, retention, clock, ground)
        self.placing = Placing(ledger, self.ending)
        self.watch = Watch(self.placing, self.spec.faults.report_timeout, clock)
        self.began = clock()
        """The time at which it took over, by time.monotonic()."""
        self._ledger, self._retention = ledger, retention
        self._rulings = Rulings(ledger, self.ending)
        self._settle()
        self._commit()

    @in_turn
    def assign(self) -> Assignment | None:
        """Give the next slot to a trial; None if nobody can use it now."""
        candidate = self.placing.next()
        return None if candidate is None else self._assign(candidate)

    @in_turn
    def assign_beside(self, trials: Sequence[str], places: int) -> list[Assignment]:
        """Give more trials to a place that has these, if they can be computed together; there are so many places."""
        joined: list[Assignment] = []
        while candidate := self.placing.beside([*trials, *(assignment.trial for assignment in joined)], places):
            joined.append(self._assign(candidate))
        return joined

    def _assign(self, candidate: Candidate) -> Assignment:
        if candidate.promotion is not None:
            self._ledger.event("promoted", candidate.trial, candidate.promotion.details)
            self._ledger.commit()
        self.placing.place(candidate)
        self.watch.expect(candidate.trial)
        return self.placing.assignment(candidate.trial)

    @in_turn
    def learn_room(self, room: Mapping[str, int]) -> None:
        """Note with how many like them some trials can be trained in one place."""
        for trial, places in room.items():
            self.placing.learn_room(trial, places)

    @in_turn
    def started(self, trial: str) -> None:
        """Note that a worker takes the trial. Wall time begins with the first: starting workers may take longer.

        It is written with what is next: a trial that has reported nothing can begin again as if it never had.
        """
        self._ledger.start_clock()
        self.watch.hear(trial)
        self._create(trial)
        self._ledger.event("started", trial)

    @in_turn
    def tend(self) -> None:
        """Do what no worker waits for. Call it often, when all that was decided has been told."""
        self._commit()
        if self._ledger.tables_due:
            self.ending.look()  # the folder may have been moved since the last time, and another stand in its place
        if self.ending.loss is not None:
            return  # its tables are written where it is now, by `close`
        try:
            self._retention.remove_unclaimed()
            self._ledger.write_tables(if_due=True)
        except ResultsError:
            self.ending.look()
            if self.ending.loss is None:
                raise

    @in_turn
    def observe(self, of_each: Mapping[str, Sequence[Message]], *, leaving: bool = False) -> list[str]:
        """Take down reports of trials in one place and what is decided on them, at once; the trials that leave it.

        What is reported after the end does not count. `leaving`: the worker's node is about to be taken away.
        """
        self.ending.look()
        left = [name for name, messages in of_each.items() if not self._observed(name, messages, leaving=leaving)]
        self._commit()
        for name, messages in of_each.items():
            sent = [message.checkpoint for message in messages if message.checkpoint]
            self._retention.update(self.state.trials[name], *sent)
        for name in left:
            self.placing.give_back(name)
        return left

    def _observed(self, name: str, messages: Sequence[Message], *, leaving: bool) -> bool:
        """Decide on a trial with what it reported. True: it goes on where it is."""
        trial = self.state.trials[name]
        self.watch.hear(name)
        if reason := self.ending.why(trial.arm):
            self._rulings.stop(trial, Stop(reason), spent=True)
            return False
        # Of a budget that is used up, or a target that is reached, on the way all that was trained counts: its worker
        # kept the checkpoint of the best of all these epochs, and no other.
        goes_on = all(self._reported(trial, message) for message in messages)
        if goes_on and leaving:
            self._ledger.event("moved", name, {"reason": "its node is about to be taken away"})
        return goes_on and not leaving

    @in_turn
    def failed(
        self, trial: str, error: str, *, fault: Fault = "user", counted: bool = True, keeps_slot: bool = False
    ) -> None:
        """Retry a trial whose function raised, or whose process died, or end it for good.

        Where the whole sweep is about to end, that may be the reason, and the trial is interrupted like the others.
        """
        self.ending.look()
        self._create(trial)
        one = self.state.trials[trial]
        if trial in self.watch.overdue():
            error = f"{error.rstrip()}\nno report for {self.spec.faults.report_timeout:g} s: its worker was ended\n"
        if not one.status.final:
            reason = reason_of(error)
            # What the trial cannot help is not counted, as long as it gets on at all.
            counted = counted or (not keeps_slot and one.retried_at == (one.generation, one.epoch))
            details = {"reason": shortened(reason), "error": error, "fault": fault}
            if fault == "storage":
                self.ending.halt(f"a file cannot be kept: {reason.partition(': ')[2]}", resumable=True)
            allowed = self.spec.faults.max_failures
            match what_follows(fault, one.failures + counted, allowed, sweep_stops=self.ending.resumable):
                case "stop":
                    self._rulings.stop(one, Stop(str(self.ending.halted)), spent=True)
                case "end":
                    self._rulings.end(one, "failed", details)
                case "retry":
                    self._ledger.event("retried", trial, details | {"counted": int(counted)})
            self._settle()
            self._commit()
        if not keeps_slot:
            self.placing.give_back(trial)

    @in_turn
    def returned(self, trial: str) -> None:
        """Note that a trial's function ended; unless that had been decided, it returned before the last epoch."""
        one = self.state.trials.get(trial)
        if trial in self.placing.placed and one is not None and not one.status.final:
            self._rulings.end(one, "stopped", {"reason": "its function returned early"})
            self._settle()
            self._commit()
        self.placing.give_back(trial)

    def node(self, kind: str, details: Mapping[str, Any]) -> None:
        """Write down that a node of the cluster came, went, or is about to go."""
        self._ledger.event(kind, details=details)
        self._commit()

    @in_turn
    def close(self) -> None:
        """End the stage: give every trial a final state, tidy up, write the tables a last time.

        Where the folder is no longer the sweep's, nothing is removed there and nothing written.
        """
        self.ending.look()
        for trial in [trial for trial in self.state.trials.values() if not trial.status.final]:
            reason = self.ending.why(trial.arm)
            stop = Stop(reason) if reason else self._ledger.rules[trial.arm].verdict(trial.trial)
            self._rulings.stop(trial, stop, spent=reason is not None)
        if self.ending.resumable:
            self._ledger.event("interrupted", details={"reason": self.ending.halted})
        self._commit()
        self._retention.tidy()
        if self.ending.loss is not None:
            self._ledger.follow(self.ending.loss.folder)
        self._ledger.write_tables()

    def _create(self, trial: str) -> None:
        """Write down a trial's configuration, before anything else of it."""
        if trial not in self.state.trials:
            candidate = self.placing.placed[trial]
            details = {"number": candidate.number, "hyperparameters": dict(candidate.hyperparameters)}
            self._ledger.event("created", trial, details, arm=candidate.arm)

    def _commit(self) -> None:
        """Write to disk first, then let it have its effects."""
        for trial in self._rulings.commit():
            self._retention.update(trial)
            if trial.status.final:
                self.placing.give_back(trial.trial)

    def _reported(self, trial: TrialState, message: Message) -> bool:
        """Decide on a trial with a new epoch, and on those that waited for it. True: it goes on."""
        if message.passed_over:
            self._rulings.restored(trial, message)
        if message.epoch <= trial.epoch:  # trained again from an older checkpoint: the first report stays
            if message.checkpoint:
                details = {"checkpoint": message.checkpoint, "digest": message.digest}
                self._ledger.event("repeated", trial.trial, details, epoch=message.epoch)
            return True
        report = self._ledger.report(message)
        decision = self._ledger.rules[trial.arm].decide(self._ledger.observation(report))
        if isinstance(decision, Continue) and report["epoch"] >= self.spec.epochs:
            decision = Stop("trained to the last epoch")
        if isinstance(decision, Yield) and not self.placing.somebody_is_behind(trial.epoch):
            # A slot that nobody waits for is kept: for another trial a network is built, and a checkpoint loaded.
            decision = Continue()
        self._rulings.carry_out(trial, decision)
        self._settle()
        self.ending.check_budget(trial.arm, [report])
        return isinstance(decision, Continue)

    def _settle(self) -> None:
        """Carry out what is due for trials that wait; an end can make more of it due."""
        while self.ending.halted is None and (due := self._due()):
            for trial, step in due:
                self._rulings.carry_out(self.state.trials[trial], step)

    def _due(self) -> list[tuple[str, Stop | Exploit | Join]]:
        """What rules have decided on trials that wait, but for promotions: these wait for a slot (`Placing`)."""
        # Asked after every end too, since others may have waited for that trial alone.
        return [
            (trial, step)
            for arm, rules in self._ledger.rules.items()
            for trial, step in rules.next_steps(idle=self.placing.idle(arm)).items()
            if not isinstance(step, Promote)
        ]
