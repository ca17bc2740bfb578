"""An lr that is searched per batch size: an axis of its own in every search; in force is what the batch makes of it."""

import random
from typing import Any

import pytest
from populations import report, tell

from tlsweep.errors import SpecError
from tlsweep.schedulers import Created, Exploit, make_rules, make_tpe
from tlsweep.schedulers.tpe import STARTUP
from tlsweep.spec import ImageSpec, SweepSpec, load_spec
from tlsweep.spec.search.per_batch_size import PerBatchSize
from tlsweep.spec.search.space import LogUniform, Value
from tlsweep.sweep.assignment import starting_values

MINIMAL = {"data": {"source": "digits"}, "search": {"strategy": "asha"}}
LR = "train.lr={per: batch_size, power: %s, loguniform: [1e-4, 1e-2]}"
PLAIN = "train.lr={loguniform: [1e-4, 1e-2]}"
SIZES = "train.batch_size={powers_of_two: [8, 128]}"
POPULATION = {"strategy": "pbt", "population": 2, "quantile": 0.5}


def spec(*overrides: str, power: float | None = 0.5, search: dict[str, Any] | None = None) -> SweepSpec:
    lr = PLAIN if power is None else LR % power
    return load_spec(MINIMAL | {"search": search or {"strategy": "random"}}, [lr, SIZES, *overrides])


def at_reference(values: dict[str, Value], power: float, at: int = 32) -> float:
    return float(values["lr"]) / (int(values["batch_size"]) / at) ** power


def test_it_is_written_as_it_is_read() -> None:
    written = {"per": "batch_size", "power": 1, "at": 64, "loguniform": [1e-4, 1e-2]}
    loaded = load_spec(MINIMAL, [f"train.lr={written}"])
    assert loaded.train.lr == PerBatchSize(LogUniform(1e-4, 1e-2), 1, 64)
    assert loaded.model_dump(mode="json")["train"]["lr"] == written
    assert ImageSpec.model_validate(loaded.model_dump(mode="json")) == loaded
    assert load_spec(MINIMAL, [LR % "5e-1"]).model_dump(mode="json")["train"]["lr"]["at"] == 32


@pytest.mark.parametrize("search", [None, {"strategy": "grid", "points": 3}], ids=["random", "grid"])
@pytest.mark.parametrize("power", [0, 0.5, 1])
def test_at_the_reference_lr_is_drawn_as_if_there_were_no_batch_sizes(search: Any, power: float) -> None:
    scaled = spec("controls=[scratch]", "model.weights=DEFAULT", power=power, search=search)
    plain = spec(power=None, search=search)
    for number in range(15):
        values, drawn = starting_values(scaled, "main", number), starting_values(plain, "main", number)
        assert values["batch_size"] == drawn["batch_size"]
        assert at_reference(values, power) == pytest.approx(drawn["lr"], rel=1e-12)
        assert starting_values(scaled, "scratch", number)["lr"] == values["lr"]


def test_a_batch_size_that_all_trials_have_counts_too() -> None:
    scaled, plain = spec("train.batch_size=128"), spec(power=None)
    assert starting_values(scaled, "main", 3)["lr"] == pytest.approx(2 * float(starting_values(plain, "main", 3)["lr"]))


@pytest.mark.parametrize("strategy", ["pbt", "pb2"])
@pytest.mark.parametrize("mutate", [["lr", "batch_size"], ["batch_size"]])
def test_a_population_keeps_the_bounds_at_the_reference(strategy: str, mutate: list[str]) -> None:
    rules = make_rules(spec(search=POPULATION | {"strategy": strategy, "mutate": mutate}), "main")
    values: dict[str, Value] = {"lr": 0.004, "batch_size": 32, "momentum": 0.9}
    batch_sizes, references = set(), set()
    for generation in range(150):
        rules.apply(report("a", 1, 0.9, generation=generation, values=values))
        exploit = tell(rules, report("b", 1, 0.1, generation=generation, values=values))
        assert isinstance(exploit, Exploit)
        values = dict(exploit.hyperparameters)
        assert 1e-4 * (1 - 1e-12) <= at_reference(values, 0.5) <= 1e-2 * (1 + 1e-12)
        batch_sizes.add(values["batch_size"])
        references.add(f"{at_reference(values, 0.5):.9g}")
    assert batch_sizes == {8, 16, 32, 64, 128}
    assert (references == {"0.004"}) == ("lr" not in mutate)


def test_a_copy_that_changes_nothing_has_the_donors_lr_to_the_last_digit() -> None:
    search = POPULATION | {"mutate": ["batch_size"], "resample_probability": 0}
    rules = make_rules(spec("train.batch_size={choice: [24]}", search=search), "main")
    values: dict[str, Value] = {"lr": 0.0123456789, "batch_size": 24, "momentum": 0.9}
    rules.apply(report("a", 1, 0.9, values=values))
    exploit = tell(rules, report("b", 1, 0.1, values=values))
    assert isinstance(exploit, Exploit)
    assert exploit.hyperparameters == values


def test_tpe_proposes_what_it_would_for_an_axis_of_its_own() -> None:
    tpe = {"strategy": "random", "sampler": "tpe"}
    scaled, plain = spec(search=tpe), spec(power=None, search=tpe)
    here, there = make_tpe(scaled, "main"), make_tpe(plain, "main")
    chance = random.Random(0)
    for number in range(STARTUP + 3):
        proposals = [sampler.propose(number) for sampler in (here, there)]
        values, drawn = (
            proposal or starting_values(one, "main", number)
            for proposal, one in zip(proposals, (scaled, plain), strict=True)
        )
        assert values["batch_size"] == drawn["batch_size"]
        assert at_reference(values, 0.5) == pytest.approx(drawn["lr"], rel=1e-9)
        score = chance.random()
        for sampler, given in ((here, values), (there, drawn)):
            sampler.apply(Created(f"t{number}", given))
            sampler.apply(report(f"t{number}", 1, score))


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("train.lr={per: epochs, power: 0.5, uniform: [0.1, 1]}", "train.lr = .*per batch_size, and not per 'epochs'"),
        ("train.lr={power: 0.5, uniform: [0.1, 1]}", "not per None; write {per: batch_size, power: 0.5"),
        ("train.lr={per: batch_size, uniform: [0.1, 1]}", "power must be a number from 0 to 1, not None"),
        ("train.lr={per: batch_size, power: 2, uniform: [0.1, 1]}", "from 0 to 1, not 2; .* 0.5 suits Adam, 1 SGD"),
        ("train.lr={per: batch_size, power: -0.5, uniform: [0.1, 1]}", "from 0 to 1, not -0.5"),
        ("train.lr={per: batch_size, power: true, uniform: [0.1, 1]}", "from 0 to 1, not True"),
        ("train.lr={per: batch_size, power: .nan, uniform: [0.1, 1]}", "must be a finite number"),
        ("train.lr={per: batch_size, power: 1, at: 0, uniform: [0.1, 1]}", "a whole number from 1, not 0"),
        ("train.lr={per: batch_size, power: 1, uniform: [0, 1]}", "must be above 0"),
        ("train.lr={per: batch_size, power: 1}", "a distribution has one key"),
        ("train.lr={per: batch_size, powr: 1, uniform: [0.1, 1]}", "unknown 'powr' beside per; did you mean 'power'"),
        ("train.weight_decay={per: batch_size, power: 1, uniform: [0.1, 1]}", "weight_decay = .*per is for train.lr"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_one_message(override: str, words: str) -> None:
    with pytest.raises(SpecError, match=words):
        load_spec(MINIMAL, [override])


def test_lr_is_not_coupled_to_the_batch_size_twice() -> None:
    with pytest.raises(SpecError, match="couple_lr sqrt: train.lr is searched per batch_size, and follows it already"):
        spec(search=POPULATION | {"couple_lr": "sqrt"})
