"""A spec says which rules an arm gets."""

from typing import get_args

import pytest
from populations import report, tell

from tlsweep.schedulers import (
    RULES,
    Exploit,
    Independent,
    Pbt,
    PromotionAsha,
    Rules,
    StoppingAsha,
    SynchronousPbt,
    make_rules,
)
from tlsweep.spec import Budget, ImageSpec, SweepSpec
from tlsweep.spec.search.strategies import STRATEGIES


def spec(**search: object) -> SweepSpec:
    return ImageSpec.model_validate(
        {
            "data": {"source": "digits"},
            "train": {"lr": {"loguniform": [1e-4, 1e-1]}, "batch_size": {"powers_of_two": [16, 128]}, "epochs": 20},
            "search": search,
            "controls": ["no-explore"] if search["strategy"] in ("pbt", "pb2") and search.get("explore", True) else [],
        }
    )


@pytest.mark.parametrize(
    ("search", "wanted"),
    [
        ({"strategy": "random"}, Independent), ({"strategy": "grid"}, Independent),
        ({"strategy": "asha", "form": "stopping"}, StoppingAsha),
        ({"strategy": "asha", "form": "promotion"}, PromotionAsha),
        ({"strategy": "pbt"}, Pbt), ({"strategy": "pb2"}, Pbt),
        ({"strategy": "pbt", "synchronous": True}, SynchronousPbt),
        ({"strategy": "pb2", "synchronous": True}, SynchronousPbt),
    ],
)  # fmt: skip
def test_each_search_has_its_rules(search: dict[str, object], wanted: type[Rules]) -> None:
    assert type(make_rules(spec(**search), "main")) is wanted


def test_each_strategy_that_a_spec_may_name_has_rules() -> None:
    assert RULES.keys() == {get_args(model.model_fields["strategy"].annotation)[0] for model in STRATEGIES}


def changed(one: SweepSpec, arm: str) -> set[str]:
    """What an exploit changes, over several generations."""
    rules, names = make_rules(one, arm), set[str]()
    for generation in range(5):
        rules.apply(report("a", 1, 0.9, generation=generation))
        decision = tell(rules, report("b", 1, 0.1, generation=generation))
        assert isinstance(decision, Exploit)
        names |= set(decision.mutated)
    return names


@pytest.mark.parametrize("strategy", ["pbt", "pb2"])
def test_the_control_arm_and_explore_off_copy_without_a_change(strategy: str) -> None:
    assert changed(spec(strategy=strategy, population=2, quantile=0.5), "main") == {"lr", "batch_size"}
    assert changed(spec(strategy=strategy, population=2, quantile=0.5), "no-explore") == set()
    assert changed(spec(strategy=strategy, population=2, quantile=0.5, explore=False), "main") == set()
    assert changed(spec(strategy=strategy, population=2, quantile=0.5, mutate=["lr"]), "main") == {"lr"}


EVERY_EPOCH = list(range(1, 21))
ASHA = {"strategy": "asha", "min_epochs": 1, "reduction_factor": 3}
THEN_PBT = {**ASHA, "strategy": "asha_then_pbt", "trials": 9, "population": 3}


@pytest.mark.parametrize(
    ("search", "budget", "wanted"),
    [
        ({"strategy": "random"}, {}, []),
        ({"strategy": "random", "patience": 3}, {}, EVERY_EPOCH),
        ({**ASHA, "form": "stopping"}, {}, [1, 3, 9]),
        ({**ASHA, "form": "promotion"}, {}, [1, 3, 9]),
        ({"strategy": "pbt", "interval": 6}, {}, [6, 12, 18]),
        ({"strategy": "pbt", "interval": 6, "synchronous": True}, {}, [6, 12, 18]),
        (THEN_PBT, {}, None),
        (THEN_PBT, {"wall_time": 60}, EVERY_EPOCH),  # the screening's share of it is used up at no rung
    ],
)
def test_a_trial_is_asked_for_where_its_rules_may_decide_something(
    search: dict[str, object], budget: dict[str, object], wanted: list[int] | None
) -> None:
    points = make_rules(spec(**search).model_copy(update={"budget": Budget(**budget)}), "main").decision_points
    asked = [epoch for epoch in EVERY_EPOCH if points.includes(epoch)]
    if wanted is None:
        assert 1 in asked
        assert len(asked) < len(EVERY_EPOCH)
    else:
        assert asked == wanted
