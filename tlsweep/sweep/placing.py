"""Who gets the next slot. Follows from the ledger alone, so that a resumed sweep goes on in the same order."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from itertools import takewhile

from tlsweep.schedulers import EACH_EPOCH, DecisionPoints, Promote
from tlsweep.spec import SweepSpec
from tlsweep.spec.search.space import Value
from tlsweep.store import SweepState, TrialState
from tlsweep.sweep.assignment import Assignment, trial_id, trial_seed
from tlsweep.sweep.ending import Ending
from tlsweep.sweep.ledger import Ledger
from tlsweep.sweep.packs.kinds import Kind, Kinds

AHEAD = 32
"""By how many a trial may overtake others to be trained with those of its kind."""


@dataclass(frozen=True)
class Candidate:
    """A trial that is to get a slot."""

    trial: str
    arm: str
    number: int
    promotion: Promote | None = None
    """Why it goes on, where it was held at a rung."""
    hyperparameters: Mapping[str, Value] = field(default_factory=dict)
    """What it starts with if it has not begun: drawn when it gets its slot, so that what is reported until its worker
    starts does not change it."""


class Placing:
    """Keeps who waits, and who has a slot.

    First comes a trial that lost its slot without a decision (its worker or the driver died), so that with one slot a
    resumed sweep trains in the same order as one that was never stopped. Then: in a population, who has the fewest
    epochs; else who was told to go on, then who is promoted, then a new one. Among arms of which one is a population
    already and the other not yet, who has used less of the budget.
    """

    def __init__(self, ledger: Ledger, ending: Ending) -> None:
        self._ledger, self._state = ledger, ledger.state
        self._ending = ending
        self._arms = {arm: rank for rank, arm in enumerate(ledger.spec.arms)}
        self._waiting = {trial.trial for trial in self._state.trials.values() if not trial.status.final}
        self.placed: dict[str, Candidate] = {}
        """Handed out, and not given back."""
        self._new = {candidate.trial: candidate for candidate in unborn(ledger.spec, ledger.state)}
        self._kinds = Kinds(ledger)

    def idle(self, arm: str) -> bool:
        """Whether all trials of an arm that have not ended are held, and none is to come, though it may spend more."""
        rules, known = self._ledger.rules[arm], self._state.trials

        def goes_on(trial: str) -> bool:
            one = known.get(trial)
            if one is None:
                return True  # it is about to begin
            return (one.resumable or not one.status.final) and not rules.held(trial)

        # These first: nearly always one of them answers, however many trials there were.
        if any(goes_on(candidate.trial) for candidate in self.placed.values() if candidate.arm == arm):
            return False
        if self._exhausted(arm):
            return False
        trials = [trial.trial for trial in known.values() if trial.arm == arm]
        if rules.accepts_new and len(trials) < self._ledger.spec.trials_in(arm):
            return False
        return not any(map(goes_on, trials))

    def next(self) -> Candidate | None:
        """Who is to get a slot; None if nobody can use one now. Changes nothing."""
        if self._ending.halted is not None:
            return None
        waiting = min(self._runnable(), key=self._order, default=None)
        new = self._peek_new()
        if waiting is not None and (new is None or not self._behind(new, waiting)):
            promoted = self._promoted(new) if self._turns(waiting.arm) else None
            if promoted is None or not self._used_less(promoted.arm, waiting.arm):
                return Candidate(waiting.trial, waiting.arm, waiting.number)
            return promoted
        return self._promoted(new) or new

    def beside(self, trials: Sequence[str], places: int) -> Candidate | None:
        """Who is to be trained beside these, which share one of so many places; None if nobody is.

        In the order of `next`, but of those alone that can be computed together with them. Trials of a kind are spread
        over all places.
        """
        kind, retried = self._kind(trials[0]), any(self._was_retried(trial) for trial in trials)
        room = self._kinds.room(kind, places)
        # What made a trial fail may be another one beside it: alone it will come out.
        if self._ending.halted is not None or room <= len(trials) or retried:
            return None
        placed = sum(self._kind(trial) == kind for trial in self.placed)
        waiting = [candidate for candidate in self._in_line(kind.arm) if self._kind(candidate.trial) == kind]
        share = math.ceil((placed + len(waiting)) / places)
        return next(iter(waiting), None) if len(trials) < min(room, share) else None

    def learn_room(self, trial: str, room: int) -> None:
        """Note how many trials like this one a place has room for."""
        self._kinds.learn(self._kind(trial), room)

    def _in_line(self, arm: str) -> Iterator[Candidate]:
        """Those of an arm that could have a slot now."""
        runnable = sorted(self._runnable(), key=self._order)
        behind = min((waiting.epoch for waiting in runnable), default=0) if self._turns(arm) else math.inf
        for waiting in runnable:
            if waiting.arm == arm and waiting.epoch <= behind and not self._was_retried(waiting.trial):
                yield Candidate(waiting.trial, arm, waiting.number)
        if self._exhausted(arm):
            return
        for trial, step in self._ledger.rules[arm].next_steps(idle=False).items():
            if isinstance(step, Promote) and not self._was_retried(trial):
                yield Candidate(trial, arm, self._state.trials[trial].number, step)
        first = self._peek_new()
        if first is None or self._closed(arm) or not self._ledger.draws_by_number(arm):
            return
        # No further ahead, or those of other kinds and arms would not begin before all of this one have.
        ahead = first.number + AHEAD
        for candidate in takewhile(lambda candidate: candidate.number <= ahead, self._new.values()):
            if candidate.arm == arm:
                yield candidate

    def _kind(self, trial: str) -> Kind:
        one, candidate = self._state.trials.get(trial), self.placed.get(trial) or self._new.get(trial)
        if one is not None:
            return self._kinds.of(one.arm, one.hyperparameters)
        assert candidate is not None
        return self._kinds.of_new(candidate.arm, candidate.number, candidate.hyperparameters)

    def _was_retried(self, trial: str) -> bool:
        """Whether it has not got on since."""
        one = self._state.trials.get(trial)
        return one is not None and one.retried_at == (one.generation, one.epoch)

    def wanted(self) -> int:
        """How many trials could have a slot now, those that have one included; held ones may be promoted later."""
        if self._ending.halted is not None:
            return 0
        new = 0
        if self._peek_new() is not None:
            spec, born = self._ledger.spec, Counter(trial.arm for trial in self._state.trials.values())
            new = sum(spec.trials_in(arm) - born[arm] for arm in spec.arms if not self._closed(arm))
        unborn_placed = sum(trial not in self._state.trials for trial in self.placed)
        return len(self.placed) + sum(1 for _ in self._runnable()) + max(0, new - unborn_placed)

    def place(self, candidate: Candidate) -> None:
        """Give a candidate a slot, from now on."""
        self._new.pop(candidate.trial, None)
        if candidate.trial not in self._state.trials:
            values = self._ledger.starting_values(candidate.arm, candidate.number)
            candidate = replace(candidate, hyperparameters=values)
        self._waiting.discard(candidate.trial)
        self.placed[candidate.trial] = candidate

    def assignment(self, trial: str) -> Assignment:
        """What a worker must know to start or go on with a trial that has a slot."""
        candidate, one = self.placed[trial], self._state.trials.get(trial)
        return Assignment(
            trial=trial,
            arm=candidate.arm,
            generation=one.generation if one else 0,
            parent_trial=one.parent_trial if one else None,
            seed=trial_seed(self._ledger.spec, candidate.number, one.epoch if one else 0),
            hyperparameters=dict(one.hyperparameters if one else candidate.hyperparameters),
            trail=one.trail if one else (),
            micro_batches=dict(self._state.micro_batches),
            decision_points=self._decision_points(candidate.arm),
            best=self._best(one) if one else None,
            reported=one.epoch if one and one.last and one.last["generation"] == one.generation else 0,
            tells_room=self._kinds.unknown(self._kind(trial)),
        )

    def _decision_points(self, arm: str) -> DecisionPoints:
        budget = self._ledger.spec.budget
        # Any epoch may use up a budget, which is kept to the epoch; how far a trial gets must not depend on how many of
        # its reports happened to go as one.
        unlimited = budget.epochs is None and budget.device_hours is None
        return self._ledger.rules[arm].decision_points if unlimited else EACH_EPOCH

    def _best(self, one: TrialState) -> tuple[float, float | None] | None:
        return (one.best[self._state.metric], one.best.get("val_loss")) if one.best else None

    def give_back(self, trial: str) -> None:
        """Its slot is free; unless it has ended, it waits."""
        self.placed.pop(trial, None)
        one = self._state.trials.get(trial)
        if one is not None and not one.status.final:
            self._waiting.add(trial)
        else:
            self._waiting.discard(trial)

    def somebody_is_behind(self, epoch: int) -> bool:
        """Whether a trial that could run now waits with less progress than `epoch`."""
        return self._peek_new() is not None or any(trial.epoch < epoch for trial in self._runnable())

    def _order(self, one: TrialState) -> tuple[bool, int, int, int, int]:
        # A member that copied an earlier state is as far as before: those that did so less often come first, or two
        # that copy each other's past would never let the others on.
        turn = (one.epoch, one.generation) if self._turns(one.arm) else (0, 0)
        return not one.placed, *turn, one.number, self._arms[one.arm]

    def _exhausted(self, arm: str) -> bool:
        return self._ledger.spending.used_up(arm) is not None

    def _turns(self, arm: str) -> bool:
        return self._ledger.rules[arm].takes_turns

    def _used_less(self, arm: str, other: str) -> bool:
        epochs = self._ledger.spending.epochs
        return epochs.get(arm, 0) < epochs.get(other, 0)

    def _promoted(self, new: Candidate | None) -> Candidate | None:
        """Who is promoted next, in the arm that has used least."""
        for arm in sorted(self._arms, key=lambda arm: self._ledger.spending.epochs.get(arm, 0)):
            if self._exhausted(arm):
                continue
            idle = new is None and not self._runs(arm)
            for trial, step in self._ledger.rules[arm].next_steps(idle=idle).items():
                if isinstance(step, Promote):
                    return Candidate(trial, arm, self._state.trials[trial].number, step)
        return None

    def _behind(self, new: Candidate, waiting: TrialState) -> bool:
        """Whether in a population a member that has not begun comes before one that has."""
        if not self._turns(waiting.arm) or waiting.placed:
            return False
        return (False, 0, 0, new.number, self._arms[new.arm]) < (False, *self._order(waiting)[1:])

    def _runnable(self) -> Iterator[TrialState]:
        free: Set[str] = self._waiting
        for rules in self._ledger.rules.values():
            free = rules.free(free)
        exhausted = {arm for arm in self._arms if self._exhausted(arm)}
        for trial in free:
            one = self._state.trials[trial]
            if one.arm not in exhausted:
                yield one

    def _closed(self, arm: str) -> bool:
        """Whether no trial of an arm begins any more."""
        return self._exhausted(arm) or not self._ledger.rules[arm].accepts_new

    def _runs(self, arm: str) -> bool:
        return any(candidate.arm == arm for candidate in self.placed.values())

    def _peek_new(self) -> Candidate | None:
        while self._new:
            first = next(iter(self._new.values()))
            if not self._closed(first.arm):
                return first
            del self._new[first.trial]
        return None


def unborn(spec: SweepSpec, state: SweepState) -> Iterator[Candidate]:
    """Trials that have not begun: the same number in each arm in turn."""
    counts = {arm: spec.trials_in(arm) for arm in spec.arms}
    for number in range(max(counts.values())):
        for arm, count in counts.items():
            trial = trial_id(arm, number)
            if number < count and trial not in state.trials:
                yield Candidate(trial, arm, number)
