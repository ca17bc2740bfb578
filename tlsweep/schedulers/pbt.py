"""Population Based Training: asynchronous, quantiles and exploration as in Jaderberg et al. 2017.

"Population Based Training of Neural Networks", arXiv:1711.09846, section 4: truncation selection; and Ray Tune's
`PopulationBasedTraining` for what the paper leaves open. What differs from Ray: no mutation leaves the bounds or the
lattice, a diverged member is the first to be replaced, and a donor without a checkpoint is never copied.
"""

import math
from collections.abc import Iterable, Iterator, Mapping

from tlsweep.schedulers.decisions import (
    Continue,
    Decision,
    DecisionPoints,
    Ended,
    Exploit,
    Exploited,
    Fact,
    Observation,
    Reopened,
    Rules,
    Yield,
    diverged,
)
from tlsweep.schedulers.explore import Explorer, Interval, coupled_lr
from tlsweep.schedulers.population import Member, Ranks, Standings
from tlsweep.spec import PopulationSearch, generator
from tlsweep.spec.search.space import Distribution


class Pbt(Rules):
    """Every `interval` epochs a member of the lowest quantile copies one of the highest, and explores.

    With more members than slots, a member that reaches a decision gives up its slot while others are behind it.
    """

    def __init__(
        self, search: PopulationSearch, epochs: int, space: Mapping[str, Distribution], seed: int, explorer: Explorer
    ) -> None:
        self._search, self._epochs = search, epochs
        self._space, self._seed = space, seed
        self._explorer = explorer
        self._members: dict[str, Member] = {}
        self._standings = Standings()
        self._seen: list[Interval] = []

    @property
    def takes_turns(self) -> bool:
        return True

    @property
    def decision_points(self) -> DecisionPoints:
        return DecisionPoints(every=self._search.interval)

    # The fold

    def apply(self, fact: Fact) -> None:
        match fact:
            case Observation():
                self._observe(fact)
            case Exploited():
                self._exploited(fact.trial, fact.generation, fact.exploit)
            case Ended():
                self._ended(fact.trial)
            case Reopened():
                self._member(fact.trial).ended = False
                self._standings.put(fact.trial, self._member(fact.trial))

    def _member(self, trial: str) -> Member:
        return self._members.setdefault(trial, Member())

    def _observe(self, report: Observation) -> None:
        member = self._member(report.trial)
        member.number, member.generation = report.number, report.generation
        member.epoch = report.epoch
        if member.hyperparameters != report.hyperparameters:  # else one mapping for all its intervals
            member.hyperparameters = report.hyperparameters
        if self._decides(report):
            self._remember(member, report)

    def admit(self, report: Observation) -> None:
        """A trial that was trained before becomes a member; from where it stands others may copy it."""
        self.apply(report)
        if not self._decides(report):
            self._remember(self._members[report.trial], report)

    def _exploited(self, trial: str, generation: int, exploit: Exploit) -> None:
        member = self._member(trial)
        member.generation, member.epoch = generation, exploit.epoch
        member.copied = exploit.checkpoint
        member.start = (exploit.epoch, exploit.details["donor_score"])
        member.hyperparameters = exploit.hyperparameters

    def _ended(self, trial: str) -> None:
        """Leave a member out from now on: neither replaced nor copied, its score not counted, unless it is reopened.

        Of its checkpoints only the one that it would go on from itself can be relied on then.
        """
        member = self._member(trial)
        member.ended = True
        self._standings.put(trial, member)
        member.history = {epoch: state for epoch, state in member.history.items() if epoch == member.epoch}

    # The questions

    def decide(self, report: Observation) -> Decision:
        if not self._decides(report):
            return Continue()
        # It alone gives up its slot, and only to one that waits. In Ray each trial that waits makes every other one
        # pause at its next decision: nine pauses for two exploits among four members (measured, ray 2.60,
        # schedulers/pbt.py).
        return self._exploit(report.trial) or diverged(report) or Yield()

    def needed(self, trial: str) -> set[str]:
        member = self._members.get(trial, Member())
        return {state.checkpoint for state in member.history.values() if state.checkpoint}

    # How

    def _decides(self, report: Observation) -> bool:
        # Not at the last epoch: what is changed then is never trained, and would stand in the table as what led to the
        # result, as it does after Ray's own PBT.
        regular = report.epoch % self._search.interval == 0 and report.epoch < self._epochs
        return regular or diverged(report) is not None

    def _live(self) -> dict[str, Member]:
        """The members that have not ended, by number: what is decided does not depend on who reported first."""
        live = {trial: member for trial, member in self._members.items() if not member.ended}
        return dict(sorted(live.items(), key=lambda item: item[1].number))

    def _remember(self, member: Member, report: Observation) -> None:
        if member.latest and member.latest.generation != report.generation:
            member.history = {}
        if member.hyperparameters and member.start and report.epoch > member.start[0]:
            # The gain in a whole interval, as what was trained since may be more or less: from a donor's older
            # checkpoint, or to where it diverged.
            gain = (report.score - member.start[1]) * self._search.interval / (report.epoch - member.start[0])
            self._seen.append(Interval(report.number, report.epoch, member.hyperparameters, gain))
        member.latest = report
        self._standings.put(report.trial, member)
        if not diverged(report):
            member.start = (report.epoch, report.score)
            if report.checkpoint is not None:
                # Of every member, weak ones too: by the time another decides it may be strong. Ray remembers a
                # checkpoint only of who was strong when it reported, and passed over 5 of 6, 5 of 7 and 2 of 6 exploits
                # for want of one (measured, six members on two CPUs).
                member.history[report.epoch] = report
        self._forget_overtaken(member)

    def _forget_overtaken(self, member: Member) -> None:
        """Drop decisions that the slowest has passed; it may be a member that has not reported yet."""
        everybody = len(self._members) >= self._search.population
        live = (other.epoch for other in self._members.values() if not other.ended)
        slowest = min(live, default=0) if everybody else 0
        first = max((epoch for epoch in member.history if epoch <= slowest), default=0)
        member.history = {epoch: state for epoch, state in member.history.items() if epoch >= first}

    def _ranks(self) -> Ranks:
        return self._standings.ranks(self._search.quantile)

    def _exploit(self, trial: str) -> Exploit | None:
        """What replaces a member that is at a decision, if anything does."""
        report, ranks = self._members[trial].latest, self._ranks()
        source = self._choose(report, ranks) if report else None
        if not report or not source:
            return None
        exploit = self._copy(report, source, ranks, self._pending(without={trial}))
        if self._fails_again(report, exploit):
            return None
        return exploit

    def _fails_again(self, report: Observation, exploit: Exploit) -> bool:
        """Whether a member would go on from the state that it copied last, with the same values, and end where it is.

        Without explore that would never end where the donor's checkpoint is the younger one.
        """
        same = all(report.hyperparameters.get(name) == value for name, value in exploit.hyperparameters.items())
        return same and self._members[report.trial].copied == exploit.checkpoint

    def _choose(self, report: Observation, ranks: Ranks) -> Observation | None:
        """The state that a member of the lowest quantile, or one that diverged, is to copy."""
        lost = diverged(report)
        if not lost and report.trial not in ranks.lowest:
            return None
        donors = self._sources(ranks.highest, report, ranks)
        if lost and not donors:  # it cannot go on by itself: any sound member will do
            donors = self._sources(ranks.ascending, report, ranks)
        # A generator for each decision: asking twice gives one answer, and the order of reports changes none.
        rng = generator(self._seed, "donor", report.number, report.generation, report.epoch)
        return rng.choice(donors) if donors else None

    def _sources(self, donors: Iterable[str], report: Observation, ranks: Ranks) -> list[Observation]:
        """States of sound members that `report`'s trial can copy."""
        return [
            source
            for trial in donors
            if trial != report.trial and ranks.scores[trial] > -math.inf and (source := self._source(trial, report))
        ]

    def _source(self, donor: str, report: Observation) -> Observation | None:
        """The donor's state at the same progress if it has one, else the newest that is not ahead, else its first."""
        history = self._members[donor].history
        earlier = [at for at in history if at <= report.epoch]
        if earlier:
            return history[max(earlier)]
        return history[min(history)] if history else None

    def _pending(self, without: set[str]) -> Iterator[Interval]:
        """The intervals that members train now, or are about to; made only if somebody asks for them."""
        interval = self._search.interval
        for trial, member in self._live().items():
            if trial not in without and member.hyperparameters:
                yield Interval(member.number, (member.epoch // interval + 1) * interval, member.hyperparameters)

    def _copy(self, report: Observation, source: Observation, ranks: Ranks, pending: Iterable[Interval]) -> Exploit:
        rng = generator(self._seed, "mutation", report.number, report.generation, report.epoch)
        old = source.hyperparameters
        values, fresh = self._explorer(source, self._seen, pending, rng)
        new = {**old, **values}
        how = self._search.couple_lr
        if how != "none" and "lr" not in fresh and new["batch_size"] != old["batch_size"]:
            new["lr"] = coupled_lr(new["lr"], old["batch_size"], new["batch_size"], how, self._space["lr"])
        details = {"score": report.score, "donor_score": source.score, **ranks.details(report.trial)}
        return Exploit.of(source, new, details)
