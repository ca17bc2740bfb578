"""Distributions never leave their bounds or their lattice, whatever is asked of them."""

import math
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlsweep.spec.search.space import Choice, Distribution, LogUniform, PowersOfTwo, Uniform, parse_distribution

positive = st.floats(1e-9, 1e6)
pairs = st.tuples(positive, positive).filter(lambda pair: pair[0] < pair[1])
distributions = st.one_of(
    pairs.map(lambda pair: LogUniform(*pair)),
    pairs.map(lambda pair: Uniform(*pair)),
    st.lists(st.integers(1, 1000), min_size=1, max_size=8, unique=True).map(lambda values: Choice(tuple(values))),
    st.tuples(st.integers(0, 10), st.integers(1, 5)).map(lambda p: PowersOfTwo(2 ** p[0], 2 ** (p[0] + p[1]))),
)


def contains(distribution: Distribution, value: object) -> bool:
    if isinstance(distribution, Choice):
        return value in distribution.values
    assert isinstance(distribution, Uniform | LogUniform)
    assert isinstance(value, float)
    return distribution.low <= value <= distribution.high


@given(distributions, st.integers(), st.lists(st.floats(0.01, 100), min_size=1, max_size=4))
def test_no_sample_and_no_chain_of_mutations_leaves_the_distribution(
    distribution: Distribution, seed: int, factors: list[float]
) -> None:
    rng = random.Random(seed)
    value = distribution.sample(rng)
    for _ in range(30):
        assert contains(distribution, value)
        value = distribution.perturb(value, rng, factors)


@given(distributions, st.floats(0, 1), st.floats(0, 1))
def test_a_quantile_lies_inside_and_never_falls(distribution: Distribution, one: float, other: float) -> None:
    low, high = (distribution.quantile(share) for share in sorted((one, other)))
    assert contains(distribution, low)
    assert float(low) <= float(high)


@given(distributions, st.floats(-1e9, 1e9))
def test_clip_ends_inside_and_keeps_what_is_inside(distribution: Distribution, value: float) -> None:
    inside = distribution.clip(value)
    assert contains(distribution, inside)
    assert distribution.clip(inside) == inside


@given(distributions)
def test_yaml_round_trip(distribution: Distribution) -> None:
    assert parse_distribution(distribution.to_yaml()) == distribution


@given(distributions, st.integers(2, 9))
def test_grid_lies_inside_and_reaches_both_ends(distribution: Distribution, points: int) -> None:
    grid = distribution.grid(points)
    assert all(contains(distribution, value) for value in grid)
    if not isinstance(distribution, Choice):
        assert len(grid) == points
        assert grid[0] == pytest.approx(distribution.extremes[0])
        assert grid[-1] == pytest.approx(distribution.extremes[1])


@pytest.mark.parametrize(
    ("distribution", "points", "grid"),
    [
        (LogUniform(1e-4, 1e-2), 3, [1e-4, 1e-3, 1e-2]),
        (LogUniform(1e-5, 1e-1), 5, [1e-5, 1e-4, 1e-3, 1e-2, 1e-1]),
        (LogUniform(3e-5, 3e-1), 5, [3e-5, 3e-4, 3e-3, 3e-2, 3e-1]),
        (LogUniform(1e-3, 0.8), 2, [1e-3, 0.8]),
        (Uniform(0, 0.9), 4, [0.0, 0.3, 0.6, 0.9]),
        (Uniform(0.1, 0.7), 3, [0.1, 0.4, 0.7]),
        (LogUniform(5e-324, 1e308), 2, [5e-324, 1e308]),
    ],
)
def test_a_grid_has_the_numbers_that_a_person_would_write(
    distribution: Distribution, points: int, grid: list[float]
) -> None:
    assert distribution.grid(points) == grid


def test_loguniform_gives_each_decade_the_same_share() -> None:
    rng = random.Random(0)
    space = LogUniform(1e-4, 1e-1)
    decades = Counter(math.floor(math.log10(float(space.sample(rng)))) for _ in range(6000))
    assert all(decades[decade] == pytest.approx(2000, rel=0.1) for decade in (-4, -3, -2))


def test_a_lattice_is_left_for_a_neighbour_only() -> None:
    rng = random.Random(0)
    lattice = PowersOfTwo(8, 128)
    assert {lattice.perturb(32, rng, [2.0]) for _ in range(100)} == {16, 64}
    assert {lattice.perturb(8, rng, [2.0]) for _ in range(100)} == {16}
    assert {lattice.perturb(128, rng, [2.0]) for _ in range(100)} == {64}


def test_an_unordered_choice_changes_to_any_other_value() -> None:
    rng = random.Random(0)
    choice = Choice(("sgd", "adam", "adamw"))
    assert {choice.perturb("adam", rng, [1.0]) for _ in range(100)} == {"sgd", "adamw"}


@pytest.mark.parametrize(
    ("mapping", "words"),
    [
        ({"loguniform": [0.3, 0.1]}, "low < high"),
        ({"loguniform": [0, 0.1]}, "above 0"),
        ({"loguniform": [-1, 0.1]}, "above 0"),
        ({"uniform": [1, 1]}, "low < high"),
        ({"uniform": [1]}, r"\[low, high\]"),
        ({"uniform": ["a", 2]}, "two finite numbers"),
        ({"uniform": [0, float("inf")]}, "two finite numbers"),
        ({"powers_of_two": [10, 20]}, "powers of two"),
        ({"powers_of_two": [64, 16]}, "low < high"),
        ({"choice": []}, "at least one"),
        ({"choice": [1, 1]}, "twice"),
        ({"choice": 3}, "takes a list"),
        ({"logunifrm": [1, 2]}, "did you mean 'loguniform'"),
        ({"uniform": [0, 1], "choice": [1]}, "one key"),
    ],
)
def test_a_wrong_distribution_says_what_would_be_right(mapping: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_distribution(mapping)
