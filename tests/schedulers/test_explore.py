"""Explore never leaves the space, and couples lr with the batch size where it is told to."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from populations import SPACE, VALUES, population, report, tell

from tlsweep.schedulers import Exploit, Perturb
from tlsweep.schedulers.explore import coupled_lr
from tlsweep.spec.search.space import Choice, Distribution, LogUniform, PowersOfTwo, Uniform, Value

SPACES: list[dict[str, Distribution]] = [
    SPACE,
    {"lr": Choice((0.001, 0.01, 0.03, 0.1)), "batch_size": PowersOfTwo(2, 512)},
    {"lr": Uniform(0.01, 0.011), "batch_size": Choice((8, 24, 100))},
    {"lr": LogUniform(1e-9, 10.0), "batch_size": Choice((7,)), "momentum": Uniform(0.0, 0.99)},
]


def inside(distribution: Distribution, value: Value) -> bool:
    if isinstance(distribution, Choice):
        return value in distribution.values
    low, high = distribution.extremes
    return float(low) <= float(value) <= float(high)


@pytest.mark.parametrize("how", ["sqrt", "linear"])
@pytest.mark.parametrize("space", SPACES)
def test_100_000_mutations_stay_in_bounds_and_on_the_lattice(space: dict[str, Distribution], how: str) -> None:
    """12,500 for each of eight cases, each going on from the one before as in a population; a fifth by the rules."""
    rng, explore = random.Random(0), Perturb(space, (0.8, 1.25), 0.25)
    values = {name: distribution.sample(rng) for name, distribution in space.items()}
    pbt = population(members=2, quantile=0.5, space=space, couple_lr=how, mutate=list(space))
    moved = set()
    for generation in range(12_500):
        donor = report("a", 2, 0.9, generation=generation, values=values)
        if generation % 5 == 0:
            pbt.apply(donor)
            exploit = tell(pbt, report("b", 2, 0.1, generation=generation, values=values))
            assert isinstance(exploit, Exploit)
            values = dict(exploit.hyperparameters)
        else:
            values = {**values, **explore(donor, [], [], rng).values}
            old, new = donor.hyperparameters["batch_size"], values["batch_size"]
            values["lr"] = coupled_lr(values["lr"], old, new, how, space["lr"])  # type: ignore[arg-type]
        assert all(inside(distribution, values[name]) for name, distribution in space.items()), values
        moved |= {name for name in values if values[name] != donor.hyperparameters[name]}
    assert moved == {name for name, distribution in space.items() if len(set(distribution.extremes)) > 1}


@given(st.integers(), st.floats(0, 1), st.lists(st.floats(0.1, 10), min_size=1, max_size=3))
def test_whatever_the_factors(seed: int, resample: float, factors: list[float]) -> None:
    explore, rng = Perturb(SPACE, factors, resample), random.Random(seed)
    for _ in range(20):
        proposal = explore(report("a", 1, 0.5), [], [], rng)
        assert all(inside(SPACE[name], value) for name, value in proposal.values.items())
        assert set(proposal.values) == set(SPACE)


def test_resampled_values_are_fresh_and_perturbed_ones_are_not() -> None:
    always, never = Perturb(SPACE, (1.25,), 1.0), Perturb(SPACE, (1.25,), 0.0)
    assert always(report("a", 1, 0.5), [], [], random.Random(0)).fresh == {"lr", "batch_size"}
    proposal = never(report("a", 1, 0.5), [], [], random.Random(0))
    assert proposal.fresh == set()
    assert proposal.values["lr"] == pytest.approx(0.0125)
    assert proposal.values["batch_size"] in (16, 64)


@pytest.mark.parametrize(
    ("how", "new", "wanted"), [("linear", 64, 0.02), ("sqrt", 64, 0.01 * math.sqrt(2)), ("linear", 16, 0.005)]
)
def test_lr_follows_the_batch_size(how: str, new: int, wanted: float) -> None:
    assert coupled_lr(0.01, 32, new, how, SPACE["lr"]) == pytest.approx(wanted)  # type: ignore[arg-type]


def test_coupling_ends_at_the_bounds_and_lands_on_the_lattice() -> None:
    assert coupled_lr(0.09, 16, 128, "linear", SPACE["lr"]) == 0.1
    assert coupled_lr(0.01, 16, 32, "linear", Choice((0.01, 0.018, 0.1))) == 0.018


def exploit_of(seed: int, **options: object) -> Exploit:
    pbt = population(members=2, quantile=0.5, seed=seed, **options)  # type: ignore[arg-type]
    pbt.apply(report("a", 2, 0.9))
    exploit = tell(pbt, report("b", 2, 0.1))
    assert isinstance(exploit, Exploit)
    return exploit


@pytest.mark.parametrize("mutate", [["batch_size"], ["lr", "batch_size"]])
def test_a_copy_couples_lr_even_where_lr_is_not_mutated(mutate: list[str]) -> None:
    for seed in range(20):
        options = {"mutate": mutate, "factors": [1.0], "resample_probability": 0}
        values = exploit_of(seed, couple_lr="linear", **options).hyperparameters
        assert values["lr"] == pytest.approx(0.01 * float(values["batch_size"]) / 32)
        assert exploit_of(seed, **options).hyperparameters["lr"] == 0.01


def test_a_fresh_lr_is_not_coupled() -> None:
    for seed in range(20):
        plain = exploit_of(seed, resample_probability=1)
        assert exploit_of(seed, resample_probability=1, couple_lr="linear").hyperparameters == plain.hyperparameters


def test_with_explore_off_a_copy_keeps_the_donors_values() -> None:
    exploit = exploit_of(0, explore=False, couple_lr="linear")
    assert exploit.hyperparameters == VALUES
    assert exploit.mutated == {}
