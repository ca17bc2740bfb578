"""ASHA, stopping form: decides as Ray Tune's AsyncHyperBandScheduler does; what diverged ends at once."""

import copy
import math
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from populations import answers, equal, report, tell

from tlsweep.schedulers import Continue, Decision, Observation, Stop, StoppingAsha
from tlsweep.schedulers.asha import cutoff, rungs
from tlsweep.spec import AshaSearch

Arrival = tuple[str, int, float]


def asha(min_epochs: int = 1, epochs: int = 9, eta: float = 3, *, min_reports: int = 1) -> StoppingAsha:
    search = AshaSearch(strategy="asha", min_epochs=min_epochs, reduction_factor=eta, min_reports=min_reports)
    return StoppingAsha(search, epochs)


@st.composite
def arrivals(draw: st.DrawFn) -> list[Arrival]:
    """Reports of up to 12 trials, each in the order of its epochs, interleaved at random."""
    waiting = {f"t{number}": 0 for number in range(draw(st.integers(1, 12)))}
    order = []
    for trial in draw(st.lists(st.sampled_from(sorted(waiting)), max_size=150)):
        waiting[trial] += 1
        order.append((trial, waiting[trial], draw(st.floats(0, 1))))
    return order


@settings(max_examples=60, deadline=None)
@given(arrivals(), st.integers(1, 3), st.sampled_from([2.0, 3.0, 4.0]), st.integers(4, 30))
def test_decisions_equal_rays(order: list[Arrival], min_epochs: int, eta: float, epochs: int) -> None:
    from ray.tune.schedulers import AsyncHyperBandScheduler

    theirs = AsyncHyperBandScheduler(
        time_attr="epoch", metric="score", mode="max", max_t=epochs, grace_period=min_epochs, reduction_factor=eta,
        brackets=1, stop_last_trials=False,
    )  # fmt: skip
    ours = asha(min_epochs, epochs, eta)
    trials = {name: SimpleNamespace(trial_id=name) for name, _, _ in order}
    for trial in trials.values():
        theirs.on_trial_add(None, trial)
    stopped = set()
    for name, epoch, score in order:
        if name in stopped or epoch >= epochs:
            continue
        wanted = theirs.on_trial_result(None, trials[name], {"epoch": epoch, "score": score})
        decision = tell(ours, report(name, epoch, score))
        assert isinstance(decision, Stop) == (wanted == "STOP")
        if isinstance(decision, Stop):
            stopped.add(name)


@given(
    st.lists(st.sampled_from([0.1, 0.5]) | st.floats(-1e6, 1e6), min_size=1, max_size=40),
    st.sampled_from([1.01, 1.5, 2, 2.5, 3, 4, 7]),
)
def test_the_score_that_the_best_share_reaches_is_numpys_to_the_last_bit(scores: list[float], eta: float) -> None:
    assert cutoff(sorted(scores, reverse=True), eta) == np.percentile(scores, (1 - 1 / eta) * 100)


@settings(max_examples=60, deadline=None)
@given(arrivals(), st.integers(1, 6))
def test_nobody_is_cut_before_enough_others_were_there(order: list[Arrival], min_reports: int) -> None:
    """A trial that is cut would have been cut with any smaller number."""
    ours, eager = asha(1, 30, 2, min_reports=min_reports), asha(1, 30, 2)
    for name, epoch, score in order:
        cut, would = (tell(rules, report(name, epoch, score)) for rules in (ours, eager))
        if isinstance(cut, Stop):
            assert cut.details["compared"] >= min_reports
            assert cut == would
        elif isinstance(would, Stop):
            assert would.details["compared"] < min_reports


@settings(max_examples=60, deadline=None)
@given(arrivals(), st.data())
def test_the_order_of_reports_of_different_rungs_does_not_matter(order: list[Arrival], data: st.DataObject) -> None:
    """Any interleaving that keeps each rung's own order, and each trial's, gives the same decisions."""
    milestones = rungs(1, 30, 3)
    reports = [report(*one) for one in order if one[1] in milestones]
    queues = {rung: [one for one in reports if one.epoch == rung] for rung in milestones}
    shuffled: list[Observation] = []
    while any(queues.values()):
        heads = [queue[0] for queue in queues.values() if queue]
        ready = [one for one in heads if all(one not in queues[rung] or one is queues[rung][0] for rung in milestones)]
        earlier = {one.trial: one.epoch for one in shuffled}
        ready = [
            one
            for one in ready
            if earlier.get(one.trial, 0) == max((r for r in milestones if r < one.epoch), default=0)
        ]
        one = data.draw(st.sampled_from(ready))
        queues[one.epoch].remove(one)
        shuffled.append(one)

    def decisions(sequence: list[Observation]) -> dict[tuple[str, int], Decision]:
        rules = asha(1, 30, 3)
        return {(one.trial, one.epoch): tell(rules, one) for one in sequence}

    assert decisions(reports) == decisions(shuffled)


@settings(max_examples=40, deadline=None)
@given(arrivals())
def test_questions_change_nothing_and_a_replayed_fold_answers_alike(order: list[Arrival]) -> None:
    asked, fresh = asha(1, 30, 3), asha(1, 30, 3)
    for one in (report(*arrival) for arrival in order):
        asked.apply(one)
        fresh.apply(one)
        first = asked.decide(one)
        before = copy.deepcopy(vars(asked))
        assert asked.decide(one) == first == fresh.decide(one)
        assert equal(answers(asked, ["t0", "t1"]), answers(fresh, ["t0", "t1"]))
        assert vars(asked) == before


def test_rungs_are_multiples_of_eta_below_the_last_epoch() -> None:
    assert rungs(1, 27, 3) == [1, 3, 9]
    assert rungs(2, 20, 2) == [2, 4, 8, 16]
    assert rungs(5, 5, 3) == []
    assert rungs(1, 4, 1.2) == [1, 2, 3]


@pytest.mark.parametrize("score", [math.nan, -math.inf])
def test_divergence_ends_a_trial_even_as_the_first_at_its_rung(score: float) -> None:
    rules = asha(3, 27)
    decision = tell(rules, report("t0", 1, score))
    assert isinstance(decision, Stop)
    assert "diverged" in decision.reason


def test_what_diverged_is_nobodys_measure() -> None:
    rules = asha()
    tell(rules, report("t0", 1, math.inf))
    assert tell(rules, report("t1", 1, 0.1)) == Continue()


def test_ties_go_on_and_the_reason_holds_the_numbers() -> None:
    rules = asha()
    decisions: list[Decision] = [tell(rules, report(f"t{at}", 1, 0.5)) for at in range(5)]
    assert decisions == [Continue()] * 5
    stop = tell(rules, report("t9", 1, 0.4))
    assert isinstance(stop, Stop)
    assert stop.details == {"rung": 1, "score": 0.4, "threshold": 0.5, "compared": 5, "rank": 6}


def test_a_trial_that_comes_past_rungs_counts_for_the_highest() -> None:
    rules = asha(1, 27)
    for trial in ("t0", "t1"):
        rules.apply(report(trial, 3, 0.5))
    assert isinstance(tell(rules, report("t2", 4, 0.4)), Stop)
    assert tell(rules, report("t3", 1, 0.1)) == Continue()  # nobody was counted at the first rung
