"""ASHA decides as Ray Tune's AsyncHyperBandScheduler does; what diverged ends at once."""

import math
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tlsweep.schedulers import Asha, Continue, Decision, Observation, Stop
from tlsweep.schedulers.asha import rungs


def observation(trial: str, epoch: int, score: float) -> Observation:
    return Observation(trial, 0, epoch, score, {}, None)


@st.composite
def arrivals(draw: st.DrawFn) -> list[tuple[str, int, float]]:
    """Reports of up to 12 trials, each in the order of its epochs, interleaved at random."""
    waiting = {f"t{number}": 0 for number in range(draw(st.integers(1, 12)))}
    order = []
    for trial in draw(st.lists(st.sampled_from(sorted(waiting)), max_size=150)):
        waiting[trial] += 1
        order.append((trial, waiting[trial], draw(st.floats(0, 1))))
    return order


@settings(max_examples=60, deadline=None)
@given(arrivals(), st.integers(1, 3), st.sampled_from([2.0, 3.0, 4.0]), st.integers(4, 30))
def test_decisions_equal_rays(
    order: list[tuple[str, int, float]], min_epochs: int, reduction_factor: float, epochs: int
) -> None:
    from ray.tune.schedulers import AsyncHyperBandScheduler

    theirs = AsyncHyperBandScheduler(
        time_attr="epoch", metric="score", mode="max", max_t=epochs, grace_period=min_epochs,
        reduction_factor=reduction_factor, brackets=1, stop_last_trials=False,
    )  # fmt: skip
    ours = Asha(min_epochs, epochs, reduction_factor)
    trials = {name: SimpleNamespace(trial_id=name) for name, _, _ in order}
    for trial in trials.values():
        theirs.on_trial_add(None, trial)
    stopped = set()
    for name, epoch, score in order:
        if name in stopped or epoch >= epochs:
            continue
        wanted = theirs.on_trial_result(None, trials[name], {"epoch": epoch, "score": score})
        decision = ours.observe(observation(name, epoch, score))
        assert isinstance(decision, Stop) == (wanted == "STOP")
        if isinstance(decision, Stop):
            stopped.add(name)


def test_rungs_are_multiples_of_eta_below_the_last_epoch() -> None:
    assert rungs(1, 27, 3) == [1, 3, 9]
    assert rungs(2, 20, 2) == [2, 4, 8, 16]
    assert rungs(5, 5, 3) == []
    assert rungs(1, 4, 1.2) == [1, 2, 3]


@pytest.mark.parametrize("score", [math.nan, -math.inf])
def test_divergence_ends_a_trial_even_as_the_first_at_its_rung(score: float) -> None:
    decision = Asha(3, 27, 3).observe(observation("t0", 1, score))
    assert isinstance(decision, Stop)
    assert "diverged" in decision.reason


def test_ties_go_on_and_the_reason_holds_the_numbers() -> None:
    asha = Asha(1, 9, 3)
    decisions: list[Decision] = [asha.observe(observation(f"t{at}", 1, 0.5)) for at in range(5)]
    assert decisions == [Continue()] * 5
    stop = asha.observe(observation("t9", 1, 0.4))
    assert isinstance(stop, Stop)
    assert stop.details == {"rung": 1, "score": 0.4, "threshold": 0.5, "compared": 5}
