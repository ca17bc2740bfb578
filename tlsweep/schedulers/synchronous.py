"""Synchronous Population Based Training: all members wait for each other at every decision."""

from collections.abc import Mapping, Set
from dataclasses import dataclass

from tlsweep.schedulers.decisions import Continue, Decision, Exploit, Exploited, Fact, Hold, Observation, Stop, diverged
from tlsweep.schedulers.explore import Explorer, Interval
from tlsweep.schedulers.pbt import Pbt
from tlsweep.schedulers.population import Member, Ranks
from tlsweep.spec import PopulationSearch
from tlsweep.spec.search.space import Distribution


@dataclass(frozen=True)
class Round:
    """A decision on the whole population."""

    epoch: int
    ranks: Ranks
    replaced: Mapping[str, tuple[Observation, Observation | None]]
    """The members that do not go on by themselves: where each stood, and the state that it copies, if there is one."""
    going_on: tuple[Interval, ...]
    """What the others train next."""


class SynchronousPbt(Pbt):
    """Lets everybody wait at a decision until all that live are there, or diverged; then the weak copy the strong.

    No counter says which decision is next, so nothing can lose count: a report of a later epoch is the proof that all
    passed the one before.
    """

    def __init__(
        self, search: PopulationSearch, epochs: int, space: Mapping[str, Distribution], seed: int, explorer: Explorer
    ) -> None:
        super().__init__(search, epochs, space, seed, explorer)
        self._passed = 0
        """Epoch of the last decision that all have passed."""
        self._opened: Round | None = None
        """The decision that is being carried out: what happens to members meanwhile does not change it."""
        self._opened_actions: Mapping[str, Exploit | Stop] = {}
        self._known: tuple[Round | None] | None = None
        """The answer of `_round`, until the next fact: it is asked for every member that waits."""

    @property
    def _barrier(self) -> int:
        return self._passed + self._search.interval

    # The fold

    def apply(self, fact: Fact) -> None:
        match fact:
            case Observation():
                interval = self._search.interval
                self._passed = max(self._passed, (fact.epoch - 1) // interval * interval)
            case Exploited():
                self._open_round()
        super().apply(fact)
        self._known = None

    def _open_round(self) -> None:
        """Fix all of a decision with its first exploit."""
        now = self._round()
        if now is not None and now is not self._opened:
            self._opened, self._opened_actions = now, self._actions(now)

    # The questions

    def decide(self, report: Observation) -> Decision:
        stop = diverged(report)
        if stop and self._barrier >= self._epochs:
            return stop  # nobody will stand anywhere that it could copy
        return Hold() if self.held(report.trial) else Continue()

    def held(self, trial: str) -> bool:
        member = self._members.get(trial)
        if member is None or member.ended or not (member.lost or self._is_at_barrier(member)):
            return False
        now = self._round()
        return now is None or trial in self._outstanding(now)

    def free(self, trials: Set[str]) -> Set[str]:
        return {trial for trial in trials if not self.held(trial)}

    def next_steps(self, *, idle: bool = False) -> Mapping[str, Exploit | Stop]:
        now = self._round()
        if now is None or not (outstanding := self._outstanding(now)):
            return {}
        return {trial: action for trial, action in self._actions(now).items() if trial in outstanding}

    def needed(self, trial: str) -> set[str]:
        """Keep what was written at the decision that is next, or under way: nothing else can still be copied."""
        member = self._members.get(trial, Member())
        return {
            state.checkpoint for epoch, state in member.history.items() if state.checkpoint and epoch > self._passed
        }

    # How

    def _is_at_barrier(self, member: Member) -> bool:
        return self._barrier <= member.epoch < self._epochs

    def _round(self) -> Round | None:
        """The decision that can be taken now; None while somebody is missing."""
        if self._known is None:
            self._known = (self._find_round(),)
        return self._known[0]

    def _find_round(self) -> Round | None:
        if self._opened and self._opened.epoch == self._barrier:
            return self._opened
        live = self._live()
        everybody = len(self._members) >= self._search.population
        there = all(member.lost or self._is_at_barrier(member) for member in live.values())
        if not (everybody and there and self._barrier < self._epochs):
            return None
        ranks = self._ranks()
        standing = {trial: member.latest for trial, member in live.items() if member.latest}
        choices = {trial: (report, self._choose(report, ranks)) for trial, report in standing.items()}
        replaced = {
            trial: choices[trial]
            for trial in sorted(choices, key=lambda trial: ranks.scores[trial])  # the worst first
            if choices[trial][1] or diverged(choices[trial][0])
        }
        return Round(self._barrier, ranks, replaced, tuple(self._pending(without=set(replaced))))

    def _outstanding(self, now: Round) -> set[str]:
        """Members that are to be replaced, and were not yet."""
        return {
            trial
            for trial, (report, _) in now.replaced.items()
            if not self._members[trial].ended and self._members[trial].generation == report.generation
        }

    def _actions(self, now: Round) -> Mapping[str, Exploit | Stop]:
        """Work out the actions in order: each knows what the ones before it will try."""
        if now is self._opened:
            return self._opened_actions
        actions, pending = dict[str, Exploit | Stop](), list(now.going_on)
        for trial, (report, source) in now.replaced.items():
            exploit = self._copy(report, source, now.ranks, pending) if source else None
            if exploit and not self._fails_again(report, exploit):
                pending.append(Interval(report.number, now.epoch + self._search.interval, exploit.hyperparameters))
                actions[trial] = exploit
            elif stop := diverged(report):
                actions[trial] = stop
        return actions

    def _source(self, donor: str, report: Observation) -> Observation | None:
        """The donor's state at this very decision."""
        return self._members[donor].history.get(self._barrier)
