"""ASHA: asynchronous successive halving, in both of its forms.

Li et al., "A System for Massively Parallel Hyperparameter Tuning" (MLSys 2020). The promotion form is its algorithm 2;
the stopping form is Ray Tune's (`AsyncHyperBandScheduler`, one bracket), whose decisions these equal for finite scores
and `min_reports` 1.
"""

from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any

from tlsweep.schedulers.decisions import (
    Completed,
    Continue,
    Decision,
    DecisionPoints,
    Ended,
    Fact,
    Hold,
    Observation,
    Promote,
    Promoted,
    Reopened,
    Rules,
    Step,
    Stop,
    diverged,
)
from tlsweep.schedulers.rung import Rung
from tlsweep.spec.search.common import HalvingSearch


def rungs(min_epochs: int, epochs: int, reduction_factor: float) -> list[int]:
    """The epochs at which trials are compared: min_epochs × eta^k, below `epochs`, ascending."""
    milestones: list[int] = []
    milestone: float = min_epochs
    while milestone < epochs:
        # With an eta that is no whole number two rungs may fall on one epoch.
        if not milestones or int(milestone) > milestones[-1]:
            milestones.append(int(milestone))
        milestone *= reduction_factor
    return milestones


def cutoff(best_first: Sequence[float], reduction_factor: float) -> float:
    """The score that the best 1/eta of `best_first` reach: `numpy.percentile`, without sorting them again."""
    share = (1 - 1 / reduction_factor) * 100 / 100  # as Ray asks numpy for it: the last bit decides on a tie
    below, part = divmod((len(best_first) - 1) * share, 1)
    # From the worst one up.
    low = best_first[-1 - int(below)]
    high = best_first[max(-2 - int(below), -len(best_first))]
    return low + (high - low) * part if part < 0.5 else high - (high - low) * (1 - part)


class Asha(Rules):
    """What both forms share: who arrived at which rung, in which order, with which score.

    A trial arrives at the highest rung that it has passed, once; one that diverged does not. Of equal scores at a rung
    the one that arrived earlier is better.
    """

    def __init__(self, search: HalvingSearch, epochs: int, *, below: int | None = None) -> None:
        """Begin without arrivals; all rungs lie below the epoch `below`, by default the last one, `epochs`."""
        self._eta, self._min_reports = search.reduction_factor, search.min_reports
        self._epochs = epochs
        milestones = rungs(search.min_epochs, epochs if below is None else below, search.reduction_factor)
        self._rungs = {milestone: Rung() for milestone in milestones}

    @property
    def decision_points(self) -> DecisionPoints:
        return DecisionPoints(at=tuple(self._rungs))

    def apply(self, fact: Fact) -> None:
        if isinstance(fact, Observation) and not diverged(fact):
            rung = self._rung(fact.epoch)
            if rung is not None:
                self._rungs[rung].arrive(fact)

    def _rung(self, epoch: int) -> int | None:
        return max((rung for rung in self._rungs if rung <= epoch), default=None)

    def _numbers(self, rung: int, score: float, threshold: float | None, compared: int, rank: int) -> dict[str, Any]:
        return {"rung": rung, "score": score, "threshold": threshold, "compared": compared, "rank": rank}


class StoppingAsha(Asha):
    """Stop a trial at a rung if it is worse than the best 1/eta of those that were there before it. Ties go on.

    Nobody is cut before `min_reports` others have been there.
    """

    def decide(self, report: Observation) -> Decision:
        if stop := diverged(report):
            return stop
        rung = self._rung(report.epoch)
        if rung is None or self._rungs[rung].arrivals[report.trial].epoch != report.epoch:
            return Continue()
        before = self._rungs[rung].before(report.trial)
        if len(before) < self._min_reports or report.score >= (threshold := cutoff(before, self._eta)):
            return Continue()
        rank = 1 + sum(score >= report.score for score in before)
        numbers = self._numbers(rung, report.score, threshold, len(before), rank)
        return Stop(f"below the best 1/{self._eta:g} at the rung of epoch {rung}", numbers)


class PromotionAsha(Asha):
    """Hold every trial at each rung, and let the best 1/eta of those that have been there go on.

    Where nothing runs, nothing is promotable and nobody was trained to the end yet, the best that is held at the
    highest rung goes on all the same: rounding down, or the failure of those that went on, would leave the sweep
    without a finished trial. One that went on from a rung, and is complete before the last epoch, is a finished one.
    """

    def __init__(self, search: HalvingSearch, epochs: int, *, last_rung: int | None = None, survivors: int = 0) -> None:
        """Begin with nobody held; from `last_rung`, if there is such a rung, no trial goes on, however good it is.

        The best `survivors` wait there for whoever asked for that rung.
        """
        super().__init__(search, epochs, below=None if last_rung is None else last_rung + 1)
        self._closed = None if last_rung is None else max(self._rungs, default=None)
        self._survivors = survivors
        self._trials = search.trials
        self._at: dict[str, int] = {}
        """The highest rung that each trial arrived at."""
        self._held: set[str] = set()
        self._ended: set[str] = set()
        self._holding: set[str] = set()
        """Those that are held and have not ended."""
        self._begun: set[str] = set()
        """The trials that arrived at a rung, or ended before."""
        self._promoted: set[str] = set()
        self._finished = False
        """Whether a trial was trained to the end."""

    def apply(self, fact: Fact) -> None:
        super().apply(fact)
        match fact:
            case Observation():
                self._arrived(fact)
            case Promoted():
                self._held.discard(fact.trial)
                self._promoted.add(fact.trial)
            case Completed():
                self._finished |= fact.trial in self._promoted
            case Ended():
                self._ended.add(fact.trial)
                self._begun.add(fact.trial)
            case Reopened():
                self._ended.discard(fact.trial)
                if fact.trial not in self._at:
                    self._begun.discard(fact.trial)
        self._settle(fact.trial)

    def _arrived(self, report: Observation) -> None:
        rung = self._rung(report.epoch)
        if diverged(report) or rung is None:
            return
        self._finished |= report.epoch >= self._epochs
        before = self._at.get(report.trial, 0)
        if before < rung:
            if before:
                self._rungs[before].settle(report.trial, live=False, held=False)
            self._at[report.trial] = rung
            self._begun.add(report.trial)
            if report.epoch < self._epochs:
                self._held.add(report.trial)

    def _settle(self, trial: str) -> None:
        """Take a trial's place among the others, after whatever happened to it."""
        live, held = trial not in self._ended, trial in self._held
        if live and held:
            self._holding.add(trial)
        else:
            self._holding.discard(trial)
        if trial in self._at:
            self._rungs[self._at[trial]].settle(trial, live=live, held=held)

    def decide(self, report: Observation) -> Decision:
        return diverged(report) or (Hold() if self.held(report.trial) else Continue())

    def held(self, trial: str) -> bool:
        return trial in self._holding

    def free(self, trials: Set[str]) -> Set[str]:
        return trials - self._holding

    def next_steps(self, *, idle: bool = False) -> Mapping[str, Step]:
        return self._hopeless() | self._promotion(idle=idle)

    def _promotion(self, *, idle: bool) -> dict[str, Step]:
        """The best of the highest rung where a trial is held that is among the best 1/eta."""
        # Where the first of a rung may not go on nobody there may.
        best = [next(iter(rung.waiting)).trial for rung in reversed(self._rungs.values()) if rung.waiting]
        for trial in best:
            rung = self._at[trial]
            if self._rungs[rung].rank(trial) <= self._places(rung, len(self._rungs[rung].all)):
                return {trial: Promote(self._standing(trial) | {"idle": False})}
        if idle and best and not self._finished:
            return {best[0]: Promote(self._standing(best[0]) | {"idle": True})}
        return {}

    def _hopeless(self) -> dict[str, Step]:
        """An end for those that are held and will never be promoted, whatever the trials do that are still to come.

        While nobody was trained to the end, the best of them at each rung is kept for when there is nothing else to do.
        """
        hopeless: dict[str, Step] = {}
        to_come = self._trials - len(self._begun)
        for milestone, rung in self._rungs.items():
            expected = len(rung.all) + to_come
            places = self._places(milestone, expected)
            beyond = rung.waiting_behind(places)
            dropped = beyond if self._finished else beyond[1:]
            hopeless |= {trial: self._cut(trial, expected) for trial in dropped}
            to_come += len(rung.live) - len(dropped)
        return hopeless

    def hold(self, trial: str) -> None:
        """Let a trial wait where it is, at a rung or between two."""
        self._held.add(trial)
        self._settle(trial)

    def standing(self, trial: str) -> tuple[int, float] | None:
        """The highest rung that a trial arrived at, and its score there; None before its first."""
        if trial not in self._at:
            return None
        rung = self._at[trial]
        return rung, self._rungs[rung].arrivals[trial].score

    def ranking(self) -> Iterator[str]:
        """The trials that have not ended, the best first: by rung, then by score there, then by arrival."""
        return (key.trial for rung in reversed(self._rungs.values()) for key in rung.live)

    def waiting(self) -> list[str]:
        """The trials that are held, by name."""
        return sorted(self._holding)

    def verdict(self, trial: str) -> Stop:
        if not self.held(trial) or trial not in self._at:
            return super().verdict(trial)
        return self._cut(trial, len(self._rungs[self._at[trial]].all))

    def _places(self, rung: int, arrived: int) -> int:
        """How many of the trials that arrived at a rung may go on from it."""
        if rung == self._closed or arrived < self._min_reports:
            return 0
        # The ⌊n/η⌋ of algorithm 2; the paper has no `min_reports`.
        return int(arrived / self._eta)

    def _standing(self, trial: str) -> dict[str, Any]:
        """The numbers of a trial that goes on; the threshold is the score of the last place among those so far."""
        at = self._at[trial]
        rung = self._rungs[at]
        threshold = rung.all.score(max(self._places(at, len(rung.all)), 1))
        return self._numbers(at, rung.arrivals[trial].score, threshold, len(rung.all), rung.rank(trial))

    def _cut(self, trial: str, expected: int) -> Stop:
        """The end of a trial that stands behind the last place from which one can go on, if `expected` arrive.

        The threshold is the score of that place. That of the last place among those so far would be another one: of 8
        at a rung 2 go on, while the third still may if a ninth comes.
        """
        at = self._at[trial]
        rung = self._rungs[at]
        rank, compared = rung.rank(trial), len(rung.all)
        places = self._survivors if at == self._closed else self._places(at, expected)
        if at == self._closed:
            go_on = f"the best {places} make the population"
        elif places:
            go_on = f"the best {places} of {expected} go on" if places > 1 else f"the best of {expected} goes on"
        else:
            go_on = f"none of {expected} goes on"
        reason = f"number {rank} of {compared} at the rung of epoch {at}, where {go_on}"
        threshold = rung.all.score(places) if 0 < places <= compared else None
        numbers = self._numbers(at, rung.arrivals[trial].score, threshold, compared, rank)
        return Stop(reason, numbers | {"places": places, "expected": expected})
