"""ASHA, then PBT: who survives the screening, and that nothing is lost in between."""

from typing import Any

import pytest
from populations import due_now, next_promotion, report, tell

from tlsweep.errors import SpecError
from tlsweep.schedulers import Ended, Exploit, Hold, Join, Joined, Promoted, Stop, make_rules
from tlsweep.schedulers.screening import AshaThenPbt
from tlsweep.spec import load_spec

SPEC: dict[str, Any] = {
    "data": {"source": "digits"},
    "train": {"lr": {"loguniform": [1e-4, 1e-1]}, "batch_size": {"powers_of_two": [16, 128]}, "epochs": 12},
    "search": {"strategy": "asha_then_pbt", "trials": 9, "population": 3, "quantile": 0.34},
}


def rules(**search: Any) -> AshaThenPbt:
    made = make_rules(load_spec(SPEC | {"search": SPEC["search"] | search}), "main")
    assert isinstance(made, AshaThenPbt)
    return made


def screened(**search: Any) -> AshaThenPbt:
    """Nine trials at the rung of epoch 1, the three best at the one of epoch 3; trial `t8` is the best."""
    screening = rules(**search)
    for number in range(9):
        assert isinstance(tell(screening, report(f"t{number}", 1, number / 10)), Hold)
    while promotion := next_promotion(screening, idle=False):
        screening.apply(Promoted(promotion.trial))
        number = int(promotion.trial[1:])
        tell(screening, report(promotion.trial, 2, 0.5))
        assert isinstance(tell(screening, report(promotion.trial, 3, number / 10)), Hold)
    return screening


def joined(arm: AshaThenPbt) -> list[str]:
    """Carry out all that is due when nothing runs; who are the members, the best first."""
    members = []
    while steps := arm.next_steps(idle=True):
        for trial, step in steps.items():
            assert arm.stage == "asha"  # all of it is decided by the screening
            if isinstance(step, Join):
                members.append(trial)
                arm.apply(Joined(trial, step.members))
            else:
                arm.apply(Ended(trial))
    return members


def test_the_best_of_the_highest_rungs_are_the_population() -> None:
    arm = screened()
    assert (arm.stage, arm.takes_turns) == ("asha", False)
    assert joined(arm) == ["t8", "t7", "t6"]
    assert (arm.stage, arm.takes_turns, arm.accepts_new) == ("pbt", True, False)
    assert not any(arm.held(trial) for trial in ("t6", "t7", "t8"))
    assert arm.next_steps(idle=True) == {}


def test_where_too_few_reached_the_last_rung_the_best_below_it_join() -> None:
    assert joined(screened(population=5)) == ["t8", "t7", "t6", "t5", "t4"]


def test_who_cannot_survive_is_ended_early_and_who_may_is_not() -> None:
    ended = due_now(screened(population=5))
    assert set(ended) == {"t0", "t1", "t2", "t3"}
    assert all(isinstance(stop, Stop) and "at the rung of epoch 1" in stop.reason for stop in ended.values())


def test_of_the_last_rung_the_best_go_on_as_the_population() -> None:
    """More come there than may go on, since early on nobody knew of the better ones."""
    arm = screened(population=2, quantile=0.5)
    stop = due_now(arm)["t6"]
    assert isinstance(stop, Stop)
    assert stop.reason == "number 3 of 3 at the rung of epoch 3, where the best 2 make the population"
    assert (stop.details["threshold"], stop.details["score"]) == (0.7, 0.6)


def test_nobody_goes_on_from_the_last_rung_before_the_population_forms() -> None:
    arm = screened()
    assert next_promotion(arm, idle=True) is None
    assert all(arm.held(f"t{number}") for number in range(9))


def test_a_member_can_be_copied_from_where_it_survived() -> None:
    """The weak member at its next decision copies what a survivor brought along."""
    arm = screened()
    joined(arm)
    exploit = tell(arm, report("t6", 4, 0.0))
    assert isinstance(exploit, Exploit)
    assert (exploit.donor, exploit.epoch) == ("t8", 3)
    assert exploit.checkpoint in arm.needed("t8")


@pytest.mark.parametrize("interval", [2, 3])
def test_what_a_survivor_brings_along_can_be_copied_whatever_the_interval(interval: int) -> None:
    arm = screened(interval=interval)
    joined(arm)
    assert isinstance(tell(arm, report("t6", 4, float("nan"))), Exploit)


def test_a_budget_ends_the_screening_at_its_share() -> None:
    arm = rules(screening_share=0.5)
    for number in range(4):
        tell(arm, report(f"t{number}", 1, number / 10))
    assert next_promotion(arm, idle=False) is not None
    decision = tell(arm, report("t4", 1, 0.9, spent=0.5))
    assert isinstance(decision, Hold)
    assert not arm.accepts_new
    assert next_promotion(arm, idle=False) is None
    assert joined(arm) == ["t4", "t3", "t2"]
    # A worker had just begun with it when the screening ended.
    assert isinstance(tell(arm, report("t5", 1, 1.0)), Stop)


def test_a_diverged_trial_is_no_survivor() -> None:
    arm = rules(trials=3)
    for number, score in enumerate((0.1, float("nan"), 0.3)):
        decision = tell(arm, report(f"t{number}", 1, score))
        if isinstance(decision, Stop):
            arm.apply(Ended(f"t{number}"))
    assert joined(arm) == ["t2", "t0"]


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("search.population=10", "search.population 10 is chosen from search.trials 9"),
        ("search.screening_epochs=12", "search.screening_epochs 12 must lie from search.min_epochs 1 to below"),
        ("search.min_epochs=5", None),
        ("train.epochs=1", "search.screening_epochs 1 must lie from search.min_epochs 1 to below train.epochs 1"),
    ],
)
def test_a_screening_must_fit(override: str, words: str | None) -> None:
    if words is None:
        load_spec(SPEC, [override])
        return
    with pytest.raises(SpecError, match=words):
        load_spec(SPEC, [override])
