"""ASHA, promotion form: against a plain reading of algorithm 2 of Li et al. 2020, in a simulation with many workers."""

import copy
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from populations import answers, due_now, equal, next_promotion, report, tell

from tlsweep.schedulers import Continue, Ended, Fact, Hold, Observation, Promoted, PromotionAsha, Reopened, Stop
from tlsweep.schedulers.asha import rungs
from tlsweep.spec import AshaSearch


def asha(
    trials: int = 9, eta: float = 3, epochs: int = 9, *, min_epochs: int = 1, min_reports: int = 1
) -> PromotionAsha:
    search = AshaSearch(
        strategy="asha", form="promotion", trials=trials, min_epochs=min_epochs, reduction_factor=eta,
        min_reports=min_reports,
    )  # fmt: skip
    return PromotionAsha(search, epochs)


@dataclass
class Paper:
    """Algorithm 2 of the paper, as it is written: get_job over rungs of (score, arrival)."""

    eta: float
    min_reports: int
    milestones: Sequence[int]
    rungs: dict[int, list[tuple[str, float]]] = field(default_factory=dict)
    promoted: dict[int, set[str]] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)

    def arrive(self, trial: str, rung: int, score: float) -> None:
        self.rungs.setdefault(rung, []).append((trial, score))

    def get_job(self) -> tuple[str, int] | None:
        for rung in reversed(self.milestones):
            there = self.rungs.get(rung, [])
            if len(there) < self.min_reports:
                continue
            top = sorted(there, key=lambda one: one[1], reverse=True)[: math.floor(len(there) / self.eta)]
            candidates = [trial for trial, _ in top if trial not in self.promoted.get(rung, set()) | self.gone]
            if candidates:
                return candidates[0], rung
        return None

    def promote(self, trial: str, rung: int) -> None:
        self.promoted[rung] = {*self.promoted.get(rung, ()), trial}


@dataclass
class Run:
    """Trials on workers of different speed: each job trains a trial to its next rung, or to the end."""

    rules: PromotionAsha
    trials: int
    epochs: int
    rng: random.Random
    failure: float = 0.0
    """Chance that a job fails, or that its trial diverges."""
    drop: bool = True
    """Carry out what is due."""
    facts: list[Fact] = field(default_factory=list)
    promotions: list[tuple[str, int, bool]] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    stops: list[Stop] = field(default_factory=list)
    finished: list[str] = field(default_factory=list)
    at: dict[str, int] = field(default_factory=dict)
    scores: dict[tuple[str, int], float] = field(default_factory=dict)

    def fold(self, fact: Fact) -> None:
        self.rules.apply(fact)
        self.facts.append(fact)

    def start(self, *, idle: bool) -> str | None:
        if promotion := next_promotion(self.rules, idle=idle):
            self.promotions.append((promotion.trial, self.at[promotion.trial], promotion.details["idle"]))
            self.fold(Promoted(promotion.trial))
            return promotion.trial
        return None

    def simulate(self, workers: int, paper: Paper | None = None) -> None:
        new = [f"t{number}" for number in range(self.trials)]
        running: list[str] = []
        while True:
            while len(running) < workers:
                wanted = paper.get_job() if paper else None
                trial = self.start(idle=not running and not new)
                if paper and trial:
                    rung, idle = self.promotions[-1][1:]
                    assert wanted == (None if idle else (trial, rung))
                    paper.promote(trial, rung)
                elif paper:
                    assert wanted is None
                if trial is None and new:
                    trial = new.pop(0)
                if trial is None:
                    break
                running.append(trial)
            if not running:
                return
            self.complete(running.pop(self.rng.randrange(len(running))), paper)

    def complete(self, trial: str, paper: Paper | None) -> None:
        milestones = [*rungs(1, self.epochs, self.rules._eta), self.epochs]
        rung = next(one for one in milestones if one > self.at.get(trial, 0))
        if self.rng.random() < self.failure:
            if self.rng.random() < 0.5:
                one = report(trial, rung, math.nan)
                self.fold(one)
                assert isinstance(self.rules.decide(one), Stop)
            self.end(trial, paper)
        else:
            score = self.scores.setdefault((trial, rung), self.rng.choice([0.1, 0.2, 0.3, 0.4, 0.5]))
            one = report(trial, rung, score)
            self.at[trial] = rung
            self.fold(one)
            assert self.rules.decide(one) == (Hold() if rung < self.epochs else Continue())
            assert self.rules.held(trial) == (rung < self.epochs)
            if rung < self.epochs and paper:
                paper.arrive(trial, rung, score)
            if rung == self.epochs:
                self.finished.append(trial)
                self.end(trial, paper)
        while self.drop and (due := due_now(self.rules)):
            for hopeless, stop in due.items():
                assert isinstance(stop, Stop)
                self.dropped.append(hopeless)
                self.stops.append(stop)
                self.fold(Ended(hopeless))

    def end(self, trial: str, paper: Paper | None) -> None:
        self.fold(Ended(trial))
        if paper:
            paper.gone.add(trial)


@dataclass(frozen=True)
class Case:
    trials: int
    workers: int
    eta: float
    min_reports: int
    epochs: int
    seed: int

    def rules(self) -> PromotionAsha:
        return asha(self.trials, self.eta, self.epochs, min_reports=self.min_reports)

    def run(self, failure: float = 0.0, *, drop: bool = True) -> Run:
        return Run(self.rules(), self.trials, self.epochs, random.Random(self.seed), failure, drop)


CASES = st.builds(
    Case, st.integers(1, 30), st.integers(1, 9), st.sampled_from([2.0, 2.5, 3.0, 4.0]), st.integers(1, 5),
    st.integers(2, 30), st.integers(0, 10**6),
)  # fmt: skip
FAILURES = st.sampled_from([0.0, 0.2, 0.5])


@settings(max_examples=150, deadline=None)
@given(CASES, FAILURES)
def test_jobs_are_those_of_algorithm_2(case: Case, failure: float) -> None:
    """Dropping the hopeless does not change one of them; and what the idle rule adds is said to be idle."""
    run = case.run(failure)
    run.simulate(case.workers, Paper(case.eta, case.min_reports, rungs(1, case.epochs, case.eta)))
    assert len(set(run.promotions)) == len({(trial, rung) for trial, rung, _ in run.promotions}), "promoted twice"
    assert not set(run.dropped) & set(run.finished)


@settings(max_examples=100, deadline=None)
@given(CASES)
def test_whoever_is_dropped_would_never_have_been_promoted(case: Case) -> None:
    """The same sweep with and without dropping."""
    with_drops, without = case.run(drop=True), case.run(drop=False)
    with_drops.simulate(case.workers)
    without.simulate(case.workers)
    assert with_drops.promotions == without.promotions
    assert not without.dropped


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from([0.1, 0.2, 0.3, 0.4]), min_size=1, max_size=7),
    st.integers(0, 3), st.sampled_from([2.0, 3.0]), st.integers(1, 4), st.integers(0, 10**6),
)  # fmt: skip
def test_no_completion_of_what_is_to_come_promotes_one_that_is_dropped(
    scores: list[float], to_come: int, eta: float, min_reports: int, seed: int
) -> None:
    """From a random moment, over many random futures (scores above, among and below those so far)."""
    rules, rng = asha(len(scores) + to_come, eta, 27, min_reports=min_reports), random.Random(seed)
    for at, score in enumerate(scores):
        rules.apply(report(f"t{at}", 1, score))
        if rng.random() < 0.3 and (promotion := next_promotion(rules, idle=False)):
            rules.apply(Promoted(promotion.trial))
    hopeless = due_now(rules)
    for _ in range(20):
        future = copy.deepcopy(rules)
        for at in range(to_come):
            future.apply(report(f"t{len(scores) + at}", 1, rng.choice([0.0, 0.15, 0.25, 0.9])))
            while (promotion := next_promotion(future, idle=False)) and rng.random() < 0.8:
                assert promotion.trial not in hopeless
                future.apply(Promoted(promotion.trial))
        while promotion := next_promotion(future, idle=True):
            assert promotion.trial not in hopeless
            future.apply(Promoted(promotion.trial))
            if promotion.details["idle"]:
                break


@settings(max_examples=100, deadline=None)
@given(CASES)
def test_somebody_is_trained_to_the_end(case: Case) -> None:
    run = case.run()
    run.simulate(case.workers)
    assert run.finished
    idle = [rung for _, rung, idle in run.promotions if idle]
    assert len(idle) == len(set(idle)), "the idle rule is for one trial at each rung"


@settings(max_examples=60, deadline=None)
@given(CASES)
def test_when_all_have_come_the_best_have_gone_on(case: Case) -> None:
    """At every rung all of the best floor(n/eta); others only because they were among the best when fewer had come."""
    run = case.run()
    run.simulate(case.workers)
    for rung in rungs(1, case.epochs, case.eta):
        there = [fact for fact in run.facts if isinstance(fact, Observation) and fact.epoch == rung]
        ranking = sorted(there, key=lambda one: -one.score)
        places = math.floor(len(there) / case.eta) if len(there) >= case.min_reports else 0
        gone_on = {trial for trial, at, _ in run.promotions if at == rung}
        assert {one.trial for one in ranking[:places]} <= gone_on


@settings(max_examples=40, deadline=None)
@given(CASES, FAILURES)
def test_questions_change_nothing_and_a_replayed_fold_answers_alike(case: Case, failure: float) -> None:
    run, asked, quiet = case.run(failure), case.rules(), case.rules()
    run.simulate(case.workers)
    names = [f"t{number}" for number in range(case.trials)]
    for fact in run.facts:
        for rules in (asked, quiet):
            rules.apply(fact)
        before = copy.deepcopy(vars(asked))
        first = answers(asked, names)
        assert equal(answers(asked, names), first)
        assert vars(asked) == before
    assert equal(answers(asked, names), answers(quiet, names))
    assert vars(asked) == vars(quiet)


@settings(max_examples=40, deadline=None)
@given(st.permutations([("a", 1), ("b", 1), ("c", 3), ("d", 3), ("e", 9), ("f", 9)]))
def test_the_order_of_reports_of_different_rungs_does_not_matter(order: list[tuple[str, int]]) -> None:
    """Each rung's own order is kept: by name."""
    rules, sorted_rules = asha(10, 2, 27), asha(10, 2, 27)
    kept = {rung: iter(sorted(one for one in order if one[1] == rung)) for rung in (1, 3, 9)}
    for _, rung in order:
        trial, epoch = next(kept[rung])
        rules.apply(report(trial, epoch, 0.5))
    for trial, epoch in sorted(order):
        sorted_rules.apply(report(trial, epoch, 0.5))
    assert equal(answers(rules, list("abcdef")), answers(sorted_rules, list("abcdef")))


def held_at_1(*scores: float, trials: int = 9, min_reports: int = 1) -> PromotionAsha:
    rules = asha(trials, min_reports=min_reports)
    for at, score in enumerate(scores):
        assert tell(rules, report(f"t{at}", 1, score)) == Hold()
    return rules


def promoted(rules: PromotionAsha, *, idle: bool = False) -> str | None:
    promotion = next_promotion(rules, idle=idle)
    if promotion:
        rules.apply(Promoted(promotion.trial))
    return promotion.trial if promotion else None


def test_the_highest_rung_comes_first_and_the_reason_holds_the_numbers() -> None:
    rules = held_at_1(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, trials=20)
    for trial in ("t7", "t6"):
        assert promoted(rules) == trial
        assert not rules.held(trial)
        assert tell(rules, report(trial, 2, 0.1)) == Continue()
        assert tell(rules, report(trial, 3, 0.9)) == Hold()
    assert promoted(rules) is None
    rules.apply(report("t8", 1, 0.0))
    rules.apply(report("t9", 3, 0.1))
    promotion = next_promotion(rules, idle=False)
    assert promotion is not None
    assert promotion.trial == "t7"  # it arrived before t6, with the same score
    assert promotion.details == {"rung": 3, "score": 0.9, "threshold": 0.9, "compared": 3, "rank": 1, "idle": False}


def test_one_that_ended_keeps_its_place_in_the_ranking_and_the_next_goes_on() -> None:
    rules = held_at_1(0.9, 0.8, 0.7, 0.1, 0.1)
    rules.apply(Ended("t0"))
    assert promoted(rules) is None
    rules.apply(report("t5", 1, 0.1))
    assert promoted(rules) == "t1"
    assert promoted(rules) is None


def test_a_reopened_one_can_be_promoted_again() -> None:
    rules = held_at_1(0.9, 0.8, 0.7)
    rules.apply(Ended("t0"))
    assert not rules.held("t0")
    rules.apply(Reopened("t0"))
    assert rules.held("t0")
    assert promoted(rules) == "t0"


@pytest.mark.parametrize(("reports", "goes"), [(4, None), (5, "t0")])
def test_nobody_goes_on_before_enough_reports(reports: int, goes: str | None) -> None:
    assert promoted(held_at_1(0.9, *[0.1] * (reports - 1), min_reports=5)) == goes


def test_idle_the_best_of_the_highest_rung_goes_on_and_after_its_failure_the_next() -> None:
    rules = held_at_1(0.5, 0.6, trials=2)
    assert promoted(rules) is None
    assert promoted(rules, idle=True) == "t1"
    rules.apply(Ended("t1"))
    assert promoted(rules, idle=True) == "t0"
    rules.apply(report("t0", 3, 0.6))
    assert promoted(rules, idle=True) == "t0"
    rules.apply(report("t0", 9, 0.6))
    assert promoted(rules, idle=True) is None


def test_the_hopeless_are_dropped_and_told_why() -> None:
    rules = held_at_1(0.9, 0.8, 0.7, 0.6, 0.5, 0.4, trials=9)
    due = due_now(rules)
    assert set(due) == {"t4", "t5"}  # 3 of 9 may go on; t3 is kept for when nothing else can
    assert due["t5"] == Stop(
        "number 6 of 6 at the rung of epoch 1, where the best 3 of 9 go on",
        {"rung": 1, "score": 0.4, "threshold": 0.7, "compared": 6, "rank": 6, "places": 3, "expected": 9},
    )


@pytest.mark.parametrize(
    ("scores", "min_reports", "where"),
    [
        ((0.9, 0.8, 0.7, 0.6, 0.5, 0.4), 1, "number 6 of 6 at the rung of epoch 1, where the best 2 of 6 go on"),
        ((0.9, 0.8, 0.7), 1, "number 3 of 3 at the rung of epoch 1, where the best of 3 goes on"),
        ((0.9, 0.8), 1, "number 2 of 2 at the rung of epoch 1, where none of 2 goes on"),
        ((0.9, 0.8, 0.7), 4, "number 3 of 3 at the rung of epoch 1, where none of 3 goes on"),
    ],
)
def test_who_still_waits_when_nobody_comes_any_more_is_told_why(
    scores: tuple[float, ...], min_reports: int, where: str
) -> None:
    assert held_at_1(*scores, min_reports=min_reports).verdict(f"t{len(scores) - 1}").reason == where


@settings(max_examples=100, deadline=None)
@given(CASES, FAILURES)
def test_the_numbers_of_who_is_dropped_are_those_that_decided(case: Case, failure: float) -> None:
    run = case.run(failure)
    run.simulate(case.workers)
    for stop in run.stops:
        told = stop.details
        there = [score for (_, rung), score in run.scores.items() if rung == told["rung"]]
        assert told["places"] < told["rank"] <= told["compared"] <= len(there) <= told["expected"]
        assert told["places"] == (int(told["expected"] / case.eta) if told["expected"] >= case.min_reports else 0)
        assert (told["threshold"] is None) == (told["places"] == 0)
        if told["places"]:
            assert told["score"] <= told["threshold"]
            assert sum(score >= told["threshold"] for score in there) >= told["places"]


def test_a_trial_that_diverged_is_stopped_and_counts_nowhere() -> None:
    rules = held_at_1(0.9, 0.8)
    assert isinstance(tell(rules, report("t2", 1, math.nan)), Stop)
    assert not rules.held("t2")
    assert promoted(rules) is None


def test_a_trial_that_comes_past_rungs_is_held_at_the_highest() -> None:
    rules = asha(9, 3, 27)
    assert tell(rules, Observation("t0", 0, 0, 4, 0.5, {}, None)) == Hold()
    promotion = next_promotion(rules, idle=True)
    assert promotion is not None
    assert promotion.details["rung"] == 3
