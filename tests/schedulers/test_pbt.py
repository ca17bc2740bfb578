"""Population Based Training: quantiles as Ray's, mutations inside the bounds, what diverged is first out."""

import math
import random
from types import SimpleNamespace
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tlsweep.schedulers import Continue, Exploit, Observation, Pbt, Stop, Yield
from tlsweep.schedulers.pbt import explore, quantiles
from tlsweep.spec import PbtSearch
from tlsweep.spec.space import Distribution, LogUniform, PowersOfTwo

SPACE: dict[str, Distribution] = {"lr": LogUniform(1e-4, 1e-1), "batch_size": PowersOfTwo(16, 128)}
VALUES = {"lr": 1e-2, "batch_size": 32, "momentum": 0.9}


class FakeTrial(NamedTuple):
    trial_id: str

    def is_finished(self) -> bool:
        return False


def population(members: int = 4, interval: int = 2, epochs: int = 20, **options: object) -> Pbt:
    search = PbtSearch.model_validate({"strategy": "pbt", "population": members, "interval": interval, **options})
    return Pbt(search, epochs, SPACE, random.Random(0))


def report(trial: str, epoch: int, score: float, *, generation: int = 0, checkpoint: bool = True) -> Observation:
    path = f"{trial}/g{generation}-e{epoch}" if checkpoint else None
    return Observation(trial, generation, epoch, score, VALUES, path)


@given(
    st.dictionaries(st.text("abcdef", min_size=1, max_size=3), st.floats(-5, 5), min_size=0, max_size=20),
    st.sampled_from([0.1, 0.25, 0.3, 0.5]),
)
def test_quantiles_equal_rays(scores: dict[str, float], fraction: float) -> None:
    from ray.tune.schedulers import PopulationBasedTraining

    theirs = PopulationBasedTraining(
        time_attr="epoch", metric="score", mode="max", quantile_fraction=fraction, hyperparam_mutations={"lr": [1, 2]}
    )
    for name, score in scores.items():
        trial = FakeTrial(name)
        theirs._trial_state[trial] = SimpleNamespace(last_score=score)
    low, high = theirs._quantiles()
    assert quantiles(scores, fraction) == ([one.trial_id for one in low], [one.trial_id for one in high])


@settings(max_examples=20)
@given(st.integers(), st.floats(0, 1), st.lists(st.floats(0.1, 10), min_size=1, max_size=3))
def test_no_chain_of_explorations_leaves_the_space(seed: int, resample: float, factors: list[float]) -> None:
    rng, values = random.Random(seed), dict(VALUES)
    for _ in range(500):
        values = explore(values, SPACE, rng, factors=factors, resample_probability=resample)
        assert 1e-4 <= values["lr"] <= 1e-1
        assert values["batch_size"] in (16, 32, 64, 128)
        assert values["momentum"] == 0.9


def test_nothing_is_decided_between_intervals_and_at_the_end() -> None:
    pbt = population(epochs=4)
    assert pbt.observe(report("a", 1, 0.1)) == Continue()
    assert pbt.observe(report("a", 2, 0.1)) == Yield()
    assert pbt.observe(report("a", 4, 0.1)) == Continue()


def test_the_worst_copies_the_best_at_the_same_progress_and_mutates_inside_the_space() -> None:
    pbt = population()
    for trial, score in (("a", 0.9), ("b", 0.5), ("c", 0.4)):
        pbt.observe(report(trial, 2, score))
    pbt.observe(report("a", 4, 0.95))
    decision = pbt.observe(report("d", 2, 0.1))
    assert isinstance(decision, Exploit)
    assert (decision.donor, decision.epoch, decision.checkpoint) == ("a", 2, "a/g0-e2")
    assert decision.mutated["batch_size"][0] == 32
    assert decision.hyperparameters["momentum"] == 0.9
    assert decision.details["lowest"] == ["d"]
    assert decision.details["highest"] == ["a"]


def test_a_donor_without_a_checkpoint_is_never_copied() -> None:
    pbt = population()
    for trial, score in (("a", 0.9), ("b", 0.5), ("c", 0.4)):
        pbt.observe(report(trial, 2, score, checkpoint=False))
    assert pbt.observe(report("d", 2, 0.1)) == Yield()


def test_a_diverged_member_takes_any_sound_one_where_the_best_have_no_checkpoint() -> None:
    pbt = population()
    for trial, score in (("a", 0.9), ("b", 0.5), ("c", 0.4)):
        pbt.observe(report(trial, 2, score, checkpoint=trial == "c"))
    decision = pbt.observe(report("d", 2, math.nan))
    assert isinstance(decision, Exploit)
    assert decision.donor == "c"


def test_what_a_member_that_has_not_reported_yet_may_copy_is_kept() -> None:
    pbt = population(interval=1)
    for epoch in (1, 2, 3):
        for trial, score in (("a", 0.9), ("b", 0.5), ("c", 0.4)):
            pbt.observe(report(trial, epoch, score))
    assert pbt.needed("a") == {"a/g0-e1", "a/g0-e2", "a/g0-e3"}
    decision = pbt.observe(report("d", 1, 0.1))
    assert isinstance(decision, Exploit)
    assert decision.checkpoint == "a/g0-e1"


def test_what_all_have_passed_is_forgotten() -> None:
    pbt = population(interval=1)
    for epoch in (1, 2, 3):
        for trial in "abcd":
            pbt.observe(report(trial, epoch, 0.5))
    pbt.observe(report("a", 4, 0.5))
    assert pbt.needed("a") == {"a/g0-e3", "a/g0-e4"}
    for trial in "bcd":
        pbt.ended(trial)
    pbt.observe(report("a", 5, 0.5))
    assert pbt.needed("a") == {"a/g0-e5"}


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_what_is_no_longer_needed_is_never_copied(data: st.DataObject) -> None:
    """In whatever order members report, end, and go back to a donor's earlier epoch."""
    pbt, members, epochs = population(members=4, interval=1, quantile=0.5), "abcd", dict.fromkeys("abcd", 0)
    generations, gone, there = dict.fromkeys(members, 0), set[str](), set[str]()
    for _ in range(60):
        trial = data.draw(st.sampled_from(members))
        epochs[trial] += 1
        score = data.draw(st.floats(0, 1) | st.just(math.nan))
        decision = pbt.observe(report(trial, epochs[trial], score, generation=generations[trial]))
        if isinstance(decision, Exploit):
            assert decision.checkpoint not in gone
            generations[trial] += 1
            epochs[trial] = decision.epoch
        there |= pbt.needed(trial)
        gone |= {path for path in there if path.startswith(trial)} - pbt.needed(trial)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_diverged_member_is_replaced_at_once_even_between_intervals(bad: float) -> None:
    pbt = population()
    for trial, score in (("a", 0.9), ("b", 0.5), ("c", 0.4)):
        pbt.observe(report(trial, 2, score))
    decision = pbt.observe(report("d", 3, bad))
    assert isinstance(decision, Exploit)
    assert decision.donor == "a"


def test_a_diverged_member_without_any_donor_is_stopped() -> None:
    assert isinstance(population().observe(report("a", 1, math.nan)), Stop)


def test_a_diverged_member_is_never_a_donor() -> None:
    pbt = population(members=2, quantile=0.5)
    pbt.observe(report("a", 2, math.nan))
    assert pbt.observe(report("b", 2, 0.1)) == Yield()


def test_members_that_ended_are_neither_donors_nor_counted() -> None:
    pbt = population()
    for trial, score in (("a", 0.9), ("b", 0.5), ("c", 0.4)):
        pbt.observe(report(trial, 2, score))
    pbt.ended("a")
    decision = pbt.observe(report("d", 2, 0.1))
    assert isinstance(decision, Exploit)
    assert decision.donor == "b"


def test_after_an_exploit_the_history_begins_anew() -> None:
    pbt = population()
    for trial, score in (("a", 0.9), ("b", 0.5), ("c", 0.4), ("d", 0.1)):
        pbt.observe(report(trial, 2, score))
    pbt.observe(report("d", 4, 0.99, generation=1))
    assert pbt.needed("d") == {"d/g1-e4"}


def test_the_same_seed_gives_the_same_decisions() -> None:
    def run() -> list[object]:
        pbt, noise = population(members=6, interval=1), random.Random(1)
        return [
            pbt.observe(report(f"t{trial}", epoch, noise.random(), generation=0))
            for epoch in range(1, 10)
            for trial in range(6)
        ]

    first = run()
    assert first == run()
    assert any(isinstance(decision, Exploit) for decision in first)
