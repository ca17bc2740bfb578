"""Few configurations cover every axis, and a configuration that the spec names is tried first."""

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tlsweep.errors import SpecError
from tlsweep.spec import SweepSpec, load_spec
from tlsweep.spec.idle import remarks
from tlsweep.sweep.assignment import drawn

SPACE = {
    "lr": {"loguniform": [3e-5, 1e-3]},
    "batch_size": {"powers_of_two": [8, 64]},
    "momentum": {"uniform": [0, 0.9]},
}


def spec(seed: int = 0, train: dict[str, Any] | None = None, **search: Any) -> SweepSpec:
    search = {"strategy": "random", "sampler": "sobol", "trials": 16} | search
    if search["strategy"] == "pbt":
        del search["trials"]
    return load_spec({"seed": seed, "data": {"source": "digits"}, "train": train or SPACE, "search": search})


@settings(deadline=None)
@given(st.integers(0, 2**62), st.integers(0, 6))
def test_of_the_first_2_to_the_k_one_lies_in_each_part_of_every_axis(seed: int, power: int) -> None:
    count = 2**power
    configurations = [drawn(spec(seed, trials=64), number) for number in range(count)]
    shares = {
        "lr": [math.log(float(c["lr"]) / 3e-5) / math.log(1e-3 / 3e-5) for c in configurations],
        "momentum": [float(c["momentum"]) / 0.9 for c in configurations],
    }
    for values in shares.values():
        # A point may lie on the border of its part, where the logarithm's last digit decides.
        parts = sorted(min(int(value * count + 1e-9), count - 1) for value in values)
        assert parts == list(range(count))
    if power >= 2:
        sizes = [c["batch_size"] for c in configurations]
        assert {size: sizes.count(size) for size in (8, 16, 32, 64)} == dict.fromkeys((8, 16, 32, 64), count // 4)


def test_another_seed_draws_others_and_more_trials_change_none() -> None:
    few, many, other = (
        [drawn(spec(seed, trials=trials), n) for n in range(4)] for seed, trials in ((0, 4), (0, 64), (1, 4))
    )
    assert few == many
    assert few != other


@pytest.mark.parametrize("strategy", ["random", "asha", "pbt", "asha_then_pbt"])
def test_named_configurations_come_first_and_the_rest_of_them_is_drawn(strategy: str) -> None:
    given = [{"lr": 1e-4, "batch_size": 16}, {"momentum": 0.5}]
    told, plain = spec(strategy=strategy, points_to_evaluate=given), spec(strategy=strategy)
    for number, point in enumerate([*given, {}]):
        assert drawn(told, number) == drawn(plain, number) | point


def test_an_lr_per_batch_size_is_named_as_it_is_in_force() -> None:
    train = SPACE | {"lr": {"per": "batch_size", "power": 1, "loguniform": [3e-5, 1e-3]}}
    assert drawn(spec(train=train, points_to_evaluate=[{"lr": 2e-3}]), 0)["lr"] == 2e-3
    assert remarks(spec(train=train, points_to_evaluate=[{"lr": -1}]))


@pytest.mark.parametrize(
    ("point", "words"),
    [
        ({"lr": 1}, "points_to_evaluate[0].lr = 1 is outside of {'loguniform': [3e-05, 0.001]}; it is drawn instead"),
        ({"lr": "fast"}, "points_to_evaluate[0].lr = 'fast' is outside of"),
        ({"batch_size": 12}, "batch_size = 12 is outside of {'powers_of_two': [8, 64]}"),
        ({"optimizer": "adam"}, "optimizer = 'adam': optimizer is not searched, and is what train says"),
        ({"weights": "none"}, "weights = 'none': weights is not searched"),
        ({"optimizer": "sgd"}, ""),
    ],
)
@pytest.mark.parametrize("strategy", ["asha", "asha_then_pbt"])
def test_what_the_bounds_leave_out_is_drawn_and_told(strategy: str, point: Any, words: str) -> None:
    """A preset's recipe must not forbid other bounds, nor what `check --suggest` writes."""
    told = spec(strategy=strategy, points_to_evaluate=[point | {"momentum": 0.25}])
    assert drawn(told, 0) == drawn(spec(strategy=strategy), 0) | {"momentum": 0.25}
    assert words in "\n".join(remarks(told))
    assert bool(words) == any("points_to_evaluate" in remark for remark in remarks(told))


@pytest.mark.parametrize(
    ("points", "words"),
    [
        ([{"epochs": 3}], r"points_to_evaluate\[0\] names \['epochs'\], which is no hyperparameter of train"),
        ([{}] * 17, "lists 17 configurations, but only 16 are tried"),
        ({"lr": 1e-4}, "points_to_evaluate"),
    ],
)
@pytest.mark.parametrize("strategy", ["asha", "asha_then_pbt"])
def test_what_is_no_configuration_is_refused(strategy: str, points: Any, words: str) -> None:
    with pytest.raises(SpecError, match=words):
        spec(strategy=strategy, points_to_evaluate=points)
