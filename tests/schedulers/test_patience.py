"""Patience: a trial ends when its metric has not got better for so many epochs, and not before."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from populations import report, tell

from tlsweep.errors import SpecError
from tlsweep.schedulers import Continue, Decision, Ended, Hold, Promote, Promoted, Rules, Stop, make_rules
from tlsweep.spec import ImageSpec
from tlsweep.spec.idle import refuse_idle


def spec(epochs: int = 20, **search: Any) -> ImageSpec:
    return ImageSpec.model_validate(
        {
            "data": {"source": "digits"},
            "train": {"lr": {"loguniform": [1e-4, 1e-1]}, "epochs": epochs},
            "search": {"strategy": "random", **search},
        }
    )


def ends(scores: list[float], patience: int, epochs: int) -> int | None:
    """The epoch after which a trial ends, by a loop over all earlier ones."""
    for epoch in range(patience + 1, min(len(scores), epochs - 1) + 1):
        if max(scores[epoch - patience : epoch]) <= max(scores[: epoch - patience]):
            return epoch
    return None


@given(scores=st.lists(st.sampled_from([0.1, 0.2, 0.3, 0.4]), min_size=1, max_size=12), patience=st.integers(1, 4))
def test_a_trial_ends_when_the_last_epochs_were_no_better_than_those_before(scores: list[float], patience: int) -> None:
    rules, end = make_rules(spec(12, patience=patience), "main"), ends(scores, patience, 12)
    for epoch, score in enumerate(scores[:end], start=1):
        decision = tell(rules, report("a", epoch, score))
        assert decision == rules.decide(report("a", epoch, score))  # asking changes nothing
        assert isinstance(decision, Stop if epoch == end else Continue)


@pytest.mark.parametrize(("metric", "verb"), [("val_accuracy", "risen"), ("val_loss", "fallen")])
def test_the_reason_says_for_how_long_and_since_when(metric: str, verb: str) -> None:
    rules = make_rules(spec(patience=2, metric=metric), "main")
    decisions = [tell(rules, report("a", epoch, score)) for epoch, score in enumerate((0.1, 0.3, 0.3, 0.2), start=1)]
    numbers = {"score": 0.2, "best_score": 0.3, "best_epoch": 2}
    assert decisions[-1] == Stop(f"{metric} has not {verb} for 2 epochs, since epoch 2", numbers)


def test_a_trial_that_diverged_ends_for_that() -> None:
    rules = make_rules(spec(patience=1), "main")
    tell(rules, report("a", 1, 0.5))
    decision = tell(rules, report("a", 2, math.nan))
    assert isinstance(decision, Stop)
    assert "diverged" in decision.reason


def asha(patience: int | None = 1) -> Rules:
    return make_rules(spec(strategy="asha", reduction_factor=2, min_reports=2, trials=4, patience=patience), "main")


def test_at_a_rung_a_trial_that_ends_counts_and_one_that_gets_better_waits() -> None:
    rules = asha()
    decisions: list[Decision] = [tell(rules, report("a", epoch, 0.5)) for epoch in (1, 2)]
    assert isinstance(decisions[0], Hold)
    assert isinstance(decisions[1], Stop)
    rules.apply(Ended("a"))
    assert isinstance(tell(rules, report("b", 1, 0.6)), Hold)
    assert rules.next_steps().keys() == {"b"}  # the better one of two


def test_one_that_went_on_and_is_complete_spares_the_sweep_the_others() -> None:
    """Without anybody trained to the end the best that is held goes on, where nothing else runs."""
    for patience in (None, 1):
        rules = asha(patience)
        for trial, score in (("a", 0.6), ("b", 0.5), ("c", 0.4), ("d", 0.3)):
            tell(rules, report(trial, 1, score))
        rules.apply(Promoted("a"))
        tell(rules, report("a", 2, 0.6))
        rules.apply(Ended("a"))
        rules.apply(Promoted("b"))
        tell(rules, report("b", 2, 0.5))
        rules.apply(Ended("b"))
        steps = rules.next_steps(idle=True)
        assert {trial: type(step) for trial, step in steps.items()} == (
            {"c": Stop, "d": Stop} if patience else {"d": Stop, "c": Promote}
        )


@pytest.mark.parametrize("strategy", ["pbt", "pb2", "asha_then_pbt"])
def test_a_population_refuses_it(strategy: str) -> None:
    with pytest.raises(ValueError, match=rf"search.patience = 3: with search.strategy {strategy} no trial ends"):
        spec(strategy=strategy, patience=3)


def test_one_that_could_never_act_is_refused() -> None:
    refuse_idle(spec(5, patience=3))
    with pytest.raises(SpecError, match="search.patience = 4: no trial could end before train.epochs 5; write less"):
        refuse_idle(spec(5, patience=4))
