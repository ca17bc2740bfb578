"""Synchronous PBT: nobody goes on before all are there, and whatever ends, somebody can always go on."""

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from populations import Simulated, due_now, population, report, simulation, tell

from tlsweep.schedulers import Continue, Ended, Exploit, Exploited, Hold, Pbt, Reopened, Stop


def synchronous(members: int = 4, interval: int = 2, epochs: int = 20, **options: object) -> Pbt:
    return population(members, interval, epochs, synchronous=True, **options)  # type: ignore[arg-type]


def arrive(pbt: Pbt, scores: dict[str, float], *, epoch: int = 2, without: str = "") -> None:
    for trial, score in scores.items():
        pbt.apply(report(trial, epoch, score, checkpoint=trial not in without))


SCORES = {"a": 0.9, "b": 0.5, "c": 0.4, "d": 0.1}


def test_everybody_waits_for_the_last_even_for_one_that_was_never_heard_of() -> None:
    pbt = synchronous()
    for trial in "abc":
        assert tell(pbt, report(trial, 1, 0.5)) == Continue()
        assert tell(pbt, report(trial, 2, SCORES[trial])) == Hold()
    assert due_now(pbt) == {}
    assert all(pbt.held(trial) for trial in "abc")
    assert tell(pbt, report("d", 2, SCORES["d"])) == Hold()  # it is to be replaced
    assert [pbt.held(trial) for trial in "abcd"] == [False, False, False, True]
    due = due_now(pbt)
    assert set(due) == {"d"}
    exploit = due["d"]
    assert isinstance(exploit, Exploit)
    assert (exploit.donor, exploit.epoch, exploit.checkpoint, exploit.digest) == ("a", 2, "a/g0-e2", "sha of a/g0-e2")
    assert exploit.details["scores"] == SCORES
    pbt.apply(Exploited("d", 1, exploit))
    assert due_now(pbt) == {}
    assert not any(pbt.held(trial) for trial in "abcd")


def test_the_last_goes_on_at_once_unless_it_is_replaced() -> None:
    pbt = synchronous()
    arrive(pbt, {trial: SCORES[trial] for trial in "bcd"})
    assert tell(pbt, report("a", 2, 0.9)) == Continue()


def test_what_is_due_does_not_depend_on_who_came_first() -> None:
    order, dues = list(SCORES), []
    for seed in range(20):
        random.Random(seed).shuffle(order)
        pbt = synchronous(quantile=0.5)
        arrive(pbt, {trial: SCORES[trial] if trial != "c" else 0.5 for trial in order})
        dues.append(due_now(pbt))
    assert len(dues[0]) == 2
    assert all(due == dues[0] for due in dues)


def test_the_rest_stays_due_as_it_was_when_one_is_carried_out() -> None:
    """Also if a member ends in between, as when the driver is killed there."""
    for strategy in ("pbt", "pb2"):
        pbt = synchronous(quantile=0.5, strategy=strategy, interval=1)
        for epoch in (1, 2, 3, 4):
            arrive(pbt, {trial: score * epoch for trial, score in SCORES.items()}, epoch=epoch)
        due = dict(due_now(pbt))
        assert set(due) == {"c", "d"}
        for first, second in (("c", "d"), ("d", "c")):
            other = synchronous(quantile=0.5, strategy=strategy, interval=1)
            for epoch in (1, 2, 3, 4):
                arrive(other, {trial: score * epoch for trial, score in SCORES.items()}, epoch=epoch)
            taken = due[first]
            assert isinstance(taken, Exploit)
            other.apply(Exploited(first, 1, taken))
            assert due_now(other) == {second: due[second]}
            other.apply(Ended("a"))
            assert due_now(other) == {second: due[second]}
            assert not other.held("b")


def test_an_end_can_be_the_last_arrival() -> None:
    pbt = synchronous()
    arrive(pbt, {trial: SCORES[trial] for trial in "abc"})
    pbt.apply(Ended("d"))
    assert set(due_now(pbt)) == {"c"}
    pbt.apply(Reopened("d"))
    assert due_now(pbt) == {}
    assert pbt.held("a")


def test_all_that_diverged_are_replaced_and_are_the_lowest() -> None:
    pbt = synchronous()
    pbt.apply(report("b", 1, math.nan))
    arrive(pbt, {"a": 0.9, "c": math.inf, "d": 0.1})
    due = due_now(pbt)
    assert set(due) == {"b", "c"}  # of four one is the lowest quarter; d goes on
    assert all(isinstance(one, Exploit) and (one.donor, one.epoch) == ("a", 2) for one in due.values())


def test_one_that_diverged_takes_any_sound_one_or_is_stopped() -> None:
    for saved, wanted in (("d", Exploit), ("", Stop)):
        pbt = synchronous()
        arrive(pbt, {"a": 0.9, "b": 0.5, "c": math.nan, "d": 0.1}, without="".join(set("abcd") - set(saved)))
        assert {trial: type(one) for trial, one in due_now(pbt).items()} == {"c": wanted}


def test_a_donor_without_a_checkpoint_is_never_copied() -> None:
    pbt = synchronous()
    arrive(pbt, SCORES, without="a")
    assert due_now(pbt) == {}
    assert not any(pbt.held(trial) for trial in "abcd")


def test_after_the_last_decision_one_that_diverged_is_stopped_at_once() -> None:
    pbt = synchronous(epochs=4)
    arrive(pbt, SCORES)
    for trial in "abc":
        assert tell(pbt, report(trial, 3, 0.5)) == Continue()
    assert isinstance(tell(pbt, report("d", 3, math.nan)), Stop)
    assert tell(pbt, report("a", 4, 0.5)) == Continue()


def test_only_the_decision_that_is_next_can_still_be_copied() -> None:
    pbt = synchronous(interval=1)
    arrive(pbt, SCORES, epoch=1)
    assert pbt.needed("a") == {"a/g0-e1"}
    arrive(pbt, SCORES, epoch=2)
    assert pbt.needed("a") == {"a/g0-e2"}
    pbt.apply(report("b", 3, 0.1))
    assert pbt.needed("a") == set()


def test_a_reopened_member_that_is_behind_is_waited_for_but_waits_nowhere() -> None:
    pbt = synchronous()
    arrive(pbt, SCORES)
    pbt.apply(Ended("d"))
    for epoch in (3, 4, 5, 6):
        arrive(pbt, {trial: SCORES[trial] for trial in "abc"}, epoch=epoch)
    pbt.apply(Reopened("d"))
    assert pbt.held("a")
    assert tell(pbt, report("d", 4, 0.1)) == Continue()
    tell(pbt, report("d", 6, 0.1))
    assert set(due_now(pbt)) == {"d"}


@settings(max_examples=120, deadline=None)
@given(
    st.integers(2, 6), st.integers(1, 3), st.integers(1, 9), st.sampled_from([0.25, 0.5]),
    st.sampled_from([0.0, 0.1, 0.3]), st.sampled_from([0.0, 0.1, 0.3]), st.sampled_from([0.0, 0.5]),
    st.integers(0, 10**6),
)  # fmt: skip
def test_nobody_passes_a_decision_before_all_are_there_and_nothing_deadlocks(
    members: int, interval: int, epochs: int, quantile: float, ends: float, failures: float, unsaved: float, seed: int
) -> None:
    rng = random.Random(seed)

    def gain(_: Simulated) -> float:
        return math.nan if rng.random() < failures else rng.random()

    pbt = synchronous(members, interval, epochs, quantile=quantile)
    run = simulation(pbt, epochs, gain, members)
    run.saves = lambda: rng.random() >= unsaved
    while runnable := run.runnable():
        trial = rng.choice(runnable)
        one = run.members[trial]
        if one.epoch and one.epoch % interval == 0:
            others = [other for other in run.members.values() if not other.ended]
            assert all(other.epoch >= one.epoch for other in others), "it goes on while another has not come"
            assert all(math.isfinite(other.score) or other.epoch < epochs for other in others)
        if rng.random() < ends:
            run.end(rng.choice([name for name, other in run.members.items() if not other.ended]))
            run.settle()
        else:
            run.train(trial)
    assert all(one.ended for one in run.members.values()), "nobody may go on, but not all have ended"
    for trial, decision in run.decisions:
        if isinstance(decision, Exploit):
            assert decision.epoch % interval == 0
            assert decision.donor != trial


@pytest.mark.parametrize("scores", [{"a": 0.1, "b": 0.2}, {"a": math.nan, "b": 0.2}])
def test_a_population_of_two(scores: dict[str, float]) -> None:
    pbt = synchronous(members=2)
    arrive(pbt, scores)
    assert set(due_now(pbt)) == {"a"}
