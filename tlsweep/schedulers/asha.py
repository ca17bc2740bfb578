"""ASHA: asynchronous successive halving, in both of its forms.

Li et al., "A System for Massively Parallel Hyperparameter Tuning" (MLSys 2020). The promotion form is its algorithm 2;
the stopping form is Ray Tune's (`AsyncHyperBandScheduler`, one bracket), whose decisions these equal for finite scores
and `min_reports` 1.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

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


def cutoff(scores: Sequence[float], reduction_factor: float) -> float:
    """The score that the best 1/eta of `scores` reach (linear interpolation)."""
    return float(np.percentile(scores, (1 - 1 / reduction_factor) * 100))


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
        self._arrivals: dict[int, dict[str, Observation]] = {rung: {} for rung in milestones}

    @property
    def decision_points(self) -> DecisionPoints:
        return DecisionPoints(at=tuple(self._arrivals))

    def apply(self, fact: Fact) -> None:
        if isinstance(fact, Observation) and not diverged(fact):
            rung = self._rung(fact.epoch)
            if rung is not None:
                self._arrivals[rung].setdefault(fact.trial, fact)

    def _rung(self, epoch: int) -> int | None:
        return max((rung for rung in self._arrivals if rung <= epoch), default=None)

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
        if rung is None or self._arrivals[rung][report.trial].epoch != report.epoch:
            return Continue()
        arrivals = self._arrivals[rung]
        before = [arrivals[trial].score for trial in list(arrivals)[: list(arrivals).index(report.trial)]]
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
        self._closed = None if last_rung is None else max(self._arrivals, default=None)
        self._survivors = survivors
        self._trials = search.trials
        self._at: dict[str, int] = {}
        """The highest rung that each trial arrived at."""
        self._held: set[str] = set()
        self._ended: set[str] = set()
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
            case Reopened():
                self._ended.discard(fact.trial)

    def _arrived(self, report: Observation) -> None:
        rung = self._rung(report.epoch)
        if diverged(report) or rung is None:
            return
        self._finished |= report.epoch >= self._epochs
        if self._at.get(report.trial, 0) < rung:
            self._at[report.trial] = rung
            if report.epoch < self._epochs:
                self._held.add(report.trial)

    def decide(self, report: Observation) -> Decision:
        return diverged(report) or (Hold() if self.held(report.trial) else Continue())

    def held(self, trial: str) -> bool:
        return trial in self._held and trial not in self._ended

    def next_steps(self, *, idle: bool = False) -> Mapping[str, Step]:
        waiting = {rung: self._waiting(rung) for rung in self._arrivals}
        return self._hopeless(waiting) | self._promotion(waiting, idle=idle)

    def _promotion(self, waiting: dict[int, dict[str, int]], *, idle: bool) -> dict[str, Step]:
        """The best of the highest rung where a trial is held that is among the best 1/eta."""
        # Ranks ascend, so where the first of a rung may not go on nobody there may. To ask all of them took 1.2 ms for
        # each report of 1000 trials instead of 0.5 (measured, tests/bench/scale.py).
        best = [next(iter(ranks.items())) for ranks in reversed(waiting.values()) if ranks]
        for trial, rank in best:
            rung = self._at[trial]
            if rank <= self._places(rung, len(self._arrivals[rung])):
                return {trial: Promote(self._standing(trial, rank) | {"idle": False})}
        if idle and best and not self._finished:
            trial, rank = best[0]
            return {trial: Promote(self._standing(trial, rank) | {"idle": True})}
        return {}

    def _hopeless(self, waiting: dict[int, dict[str, int]]) -> dict[str, Step]:
        """An end for those that are held and will never be promoted, whatever the trials do that are still to come.

        While nobody was trained to the end, the best of them at each rung is kept for when there is nothing else to do.
        """
        hopeless: dict[str, Step] = {}
        to_come = self._trials - len(self._at.keys() | self._ended)
        for rung, arrivals in self._arrivals.items():
            expected = len(arrivals) + to_come
            places = self._places(rung, expected)
            beyond = [(trial, rank) for trial, rank in waiting[rung].items() if rank > places]
            dropped = beyond if self._finished else beyond[1:]
            hopeless |= {trial: self._cut(trial, rank, expected) for trial, rank in dropped}
            live = sum(self._at[trial] == rung and trial not in self._ended for trial in arrivals)
            to_come += live - len(dropped)
        return hopeless

    def hold(self, trial: str) -> None:
        """Let a trial wait where it is, at a rung or between two."""
        self._held.add(trial)

    def standing(self, trial: str) -> tuple[int, float] | None:
        """The highest rung that a trial arrived at, and its score there; None before its first."""
        if trial not in self._at:
            return None
        rung = self._at[trial]
        return rung, self._arrivals[rung][trial].score

    def ranking(self) -> list[str]:
        """The trials that have not ended, the best first: by rung, then by score there, then by arrival."""
        standing = [
            (rung, report.score, -place, trial)
            for rung, arrivals in self._arrivals.items()
            for place, (trial, report) in enumerate(arrivals.items())
            if self._at[trial] == rung and trial not in self._ended
        ]
        return [trial for *_, trial in sorted(standing, reverse=True)]

    def waiting(self) -> list[str]:
        """The trials that are held, by name."""
        return sorted(trial for trial in self._held if self.held(trial))

    def verdict(self, trial: str) -> Stop:
        if not self.held(trial) or trial not in self._at:
            return super().verdict(trial)
        rung = self._at[trial]
        return self._cut(trial, self._waiting(rung)[trial], len(self._arrivals[rung]))

    def _places(self, rung: int, arrived: int) -> int:
        """How many of the trials that arrived at a rung may go on from it."""
        if rung == self._closed or arrived < self._min_reports:
            return 0
        # The ⌊n/η⌋ of algorithm 2; the paper has no `min_reports`.
        return int(arrived / self._eta)

    def _waiting(self, rung: int) -> dict[str, int]:
        """Rank each trial held at the rung among all that arrived there, the best first."""
        arrivals = self._arrivals[rung]
        ranking = sorted(arrivals, key=lambda trial: -arrivals[trial].score)  # stable: the earlier of equals first
        return {trial: rank for rank, trial in enumerate(ranking, 1) if self.held(trial) and self._at[trial] == rung}

    def _standing(self, trial: str, rank: int) -> dict[str, Any]:
        """The numbers of a trial that goes on; the threshold is the score of the last place among those so far."""
        rung = self._at[trial]
        scores = self._scores(rung)
        threshold = scores[max(self._places(rung, len(scores)), 1) - 1]
        return self._numbers(rung, self._arrivals[rung][trial].score, threshold, len(scores), rank)

    def _scores(self, rung: int) -> list[float]:
        """What arrived at a rung, the best first."""
        return sorted((report.score for report in self._arrivals[rung].values()), reverse=True)

    def _cut(self, trial: str, rank: int, expected: int) -> Stop:
        """The end of a trial that stands behind the last place from which one can go on, if `expected` arrive.

        The threshold is the score of that place. That of the last place among those so far would be another one: of 8
        at a rung 2 go on, while the third still may if a ninth comes.
        """
        rung = self._at[trial]
        scores = self._scores(rung)
        places = self._survivors if rung == self._closed else self._places(rung, expected)
        if rung == self._closed:
            go_on = f"the best {places} make the population"
        elif places:
            go_on = f"the best {places} of {expected} go on" if places > 1 else f"the best of {expected} goes on"
        else:
            go_on = f"none of {expected} goes on"
        reason = f"number {rank} of {len(scores)} at the rung of epoch {rung}, where {go_on}"
        threshold = scores[places - 1] if 0 < places <= len(scores) else None
        numbers = self._numbers(rung, self._arrivals[rung][trial].score, threshold, len(scores), rank)
        return Stop(reason, numbers | {"places": places, "expected": expected})
