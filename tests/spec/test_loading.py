"""Specs: presets, overrides, round trips, and one clear message for each mistake."""

from pathlib import Path
from typing import get_args

import pytest
import yaml
from pydantic import BaseModel

from tlsweep.errors import SpecError
from tlsweep.spec import Hyperparameters, PbtSearch, SourceTask, SweepSpec, TrainSpec, dump_spec, load_spec, presets
from tlsweep.spec.space import LogUniform, PowersOfTwo

MINIMAL = {"data": {"source": "digits"}, "search": {"strategy": "asha"}, "train": {"lr": {"loguniform": [1e-4, 0.1]}}}


@pytest.mark.parametrize("name", presets())
def test_every_preset_loads_and_its_complete_form_means_the_same(name: str) -> None:
    spec = load_spec(name)
    assert spec.name == name
    assert load_spec(yaml.safe_load(dump_spec(spec))) == spec


def test_the_promised_presets_ship_and_open_with_their_command() -> None:
    shipped = presets()
    assert {"digits", "folder", "cifar10-cnn", "mlp", "flowers102-resnet18", "mnist-to-semeion"} <= set(shipped)
    for text in shipped.values():
        head = [line for line in text.splitlines() if line.startswith("#")]
        assert any("tlsweep launch" in line for line in head)


def test_overrides_replace_any_field_and_read_numbers_as_people_write_them() -> None:
    spec = load_spec(MINIMAL, ["train.epochs=7", "train.lr=1e-3", "model.weights.data={source: digits}", "name=x"])
    assert (spec.train.epochs, spec.train.resolve({}).lr, spec.name) == (7, 1e-3, "x")
    assert isinstance(spec.model.weights, SourceTask)


def test_another_strategy_keeps_what_it_knows_and_drops_the_rest() -> None:
    tree = MINIMAL | {"search": {"strategy": "asha", "min_epochs": 3, "metric": "val_loss"}}
    search = load_spec(tree, ["search.strategy=pbt"]).search
    assert isinstance(search, PbtSearch)
    assert search.metric == "val_loss"


def test_exponents_without_a_point_are_numbers(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("data: {source: digits}\ntrain: {lr: {loguniform: [1e-4, 3E-1]}}\nsearch: {strategy: random}\n")
    spec = load_spec(file)
    assert spec.space["lr"] == LogUniform(1e-4, 0.3)
    assert spec.name == "mine"


def test_the_values_of_a_choice_have_the_type_of_their_field() -> None:
    """Mutations take them as they are."""
    choices = ["lr={choice: [1, '0.5']}", "batch_size={choice: [16.0, 32]}", "nesterov={choice: [0, 1]}"]
    space = load_spec(MINIMAL, [f"train.{choice}" for choice in choices]).space
    for name, kind in (("lr", float), ("batch_size", int), ("nesterov", bool)):
        assert {type(value) for value in space[name].extremes} == {kind}
    assert load_spec(MINIMAL, ["train.batch_size={powers_of_two: [8, 64]}"]).space["batch_size"] == PowersOfTwo(8, 64)


def test_the_section_train_has_every_hyperparameter_with_its_documentation() -> None:
    for name, field in Hyperparameters.model_fields.items():
        section = TrainSpec.model_fields[name]
        assert section.default == field.default
        assert section.description == field.description
        assert field.description


def test_every_field_of_every_section_is_documented() -> None:
    seen: set[type[BaseModel]] = set()

    def walk(model: type[BaseModel]) -> None:
        if model in seen:
            return
        seen.add(model)
        for name, field in model.model_fields.items():
            assert field.description, f"{model.__name__}.{name}"
            for part in _models_in(field.annotation):
                walk(part)

    walk(SweepSpec)
    assert len(seen) >= 12


def _models_in(annotation: object) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]


def test_durations_and_sizes() -> None:
    spec = load_spec(MINIMAL, ["budget.wall_time=1h30m", "data.memory_limit=512MB"])
    assert (spec.budget.wall_time, spec.data.memory_limit) == (5400, 512 * 1024**2)


MISTAKES = [
    ("train.lrr=3", "train: unknown field 'lrr'; did you mean 'lr'?"),
    ("serach.trials=3", "unknown field 'serach'; did you mean 'search'?"),
    ("train.lr=-1", "train.lr = -1: must be greater than 0"),
    ("train.lr={loguniform: [0.3, 0.1]}", "low < high"),
    ("train.lr={loguniform: [0, 0.1]}", "above 0"),
    ("train.lr={uniform: [-1, 0.1]}", "must be greater than 0 (value -1"),
    ("train.momentum={uniform: [0.5, 1.5]}", "less than 1 (value 1.5)"),
    ("train.batch_size={uniform: [8, 64]}", "whole numbers: use choice or powers_of_two"),
    ("train.optimizer=sgdd", "train.optimizer = 'sgdd': must be 'sgd', 'adam', 'adamw', 'schedule_free_sgd'"),
    ("train.optimizer={choice: [sgd, adamm]}", "value 'adamm'"),
    ("train.epochs=0", "train.epochs = 0: must be greater than or equal to 1"),
    ("train.nesterov=maybe", "train.nesterov = 'maybe'"),
    ("data.source=folderr", "data.source: unknown value 'folderr'; did you mean 'folder'?"),
    ("search.strategy=ashaa", "search.strategy: unknown value 'ashaa'; did you mean 'asha'?"),
    ("search.metric=accuracy", "search.metric = 'accuracy': must be one of"),
    ("data={}", "data: needs the field 'source'"),
    ("data={source: folder}", "data.path: is missing"),
    ("budget.wall_time=soon", "not a duration"),
    ("train.lr=.inf", "train.lr = inf: must be a finite number"),
    ("train.lr={choice: [0.1, .inf]}", "must be a finite number (value inf)"),
    ("train.lr={'a{b}': [1]}", "unknown distribution 'a{b}'"),
    ("train.batch_size={choice: [16, 16.0]}", "lists a value twice"),
    ("train={nesterov: true, momentum: {choice: [0, 0.9]}}", "needs momentum above 0"),
    ("train={nesterov: {choice: [true, false]}, momentum: 0}", "needs momentum above 0"),
    ("budget.target=.nan", "must be a finite number"),
    ("resources.gpus=1.5", "resources.gpus = 1.5: must be 'auto', 0, a fraction up to 1, or a whole number"),
    ("resources.gpus=.inf", "resources.gpus = inf: must be 'auto'"),
    ("resources.gpus=two", "resources.gpus = 'two': must be 'auto'"),
    ("controls=[scratch]", "model.weights is none already"),
    ("controls=[no-explore]", "no-explore is for search.strategy pbt and pb2; asha mutates nothing"),
    ("search.form=promoting", "search.form = 'promoting': must be one of"),
    ("search.min_reports=0", "search.min_reports = 0: must be greater than or equal to 1"),
    ("faults.max_failures=-1", "faults.max_failures = -1: must be greater than or equal to 0"),
    ("faults.report_timeout=soon", "not a duration"),
    ("train.batch_norm=thawed", "train.batch_norm = 'thawed': must be one of train, frozen"),
    ("model.weights={data: {source: dig}}", "model.weights.data.source: unknown value 'dig'; did you mean 'digits'?"),
    ("model.weights=3", "model.weights = 3"),
    ("name=../x", "name = '../x'"),
    ("train.lr", "write key.path=value"),
    ("train.lr.x=1", "has no fields"),
    ("train.lr={a: [}", "not valid YAML"),
]


@pytest.mark.parametrize(("override", "words"), MISTAKES)
def test_each_mistake_is_one_message_that_names_field_value_and_rule(override: str, words: str) -> None:
    base = MINIMAL | {"train": {"lr": 0.1}} if override == "train.lr.x=1" else MINIMAL
    with pytest.raises(SpecError) as caught:
        load_spec(base, [override])
    message = str(caught.value)
    assert words in message
    assert "mistakes" not in message  # one mistake, one line
    assert "\n" not in message


def test_several_mistakes_are_all_listed() -> None:
    with pytest.raises(SpecError, match="2 mistakes") as caught:
        load_spec(MINIMAL, ["train.lr=-1", "train.epochs=0"])
    assert len(str(caught.value).splitlines()) == 3


def test_pbt_without_anything_to_mutate_is_refused() -> None:
    with pytest.raises(SpecError, match="none of them is a distribution"):
        load_spec(MINIMAL, ["search.strategy=pbt", "train.lr=0.1"])
    with pytest.raises(SpecError, match="search.mutate names"):
        load_spec(MINIMAL, ["search.strategy=pbt", "search.mutate=[lrr]"])
    with pytest.raises(SpecError, match=r"search.mutate names \['epochs'\], which are no hyperparameters"):
        load_spec(MINIMAL, ["search.strategy=pbt", "search.mutate=[lr, epochs]"])


POPULATION = ["search.strategy=pbt", "train.batch_size={powers_of_two: [8, 64]}"]


@pytest.mark.parametrize("how", ["sqrt", "linear"])
def test_coupling_lr_to_the_batch_size_needs_both_to_be_searched(how: str) -> None:
    coupled = f"search.couple_lr={how}"
    assert load_spec(MINIMAL, [*POPULATION, coupled]).search.couple_lr == how  # type: ignore[union-attr]
    for constant in ("train.lr=0.1", "train.batch_size=16"):
        with pytest.raises(SpecError, match=f"search.couple_lr {how} .* train.lr and train.batch_size must both be"):
            load_spec(MINIMAL, [*POPULATION, coupled, constant])


def test_pb2_mutates_numbers_and_pbt_anything() -> None:
    named = ["train.optimizer={choice: [sgd, adam]}", "search.mutate=[lr, optimizer]"]
    with pytest.raises(SpecError, match=r"pb2 mutates numbers only, not \['optimizer'\]; take them out"):
        load_spec(MINIMAL, ["search.strategy=pb2", *named])
    assert load_spec(MINIMAL, ["search.strategy=pbt", *named]).trials_per_arm == 8
    assert load_spec(MINIMAL, ["search.strategy=pb2"]).trials_per_arm == 8


@pytest.mark.parametrize("strategy", ["pbt", "pb2"])
def test_the_control_of_a_population_is_selection_alone(strategy: str) -> None:
    spec = load_spec(MINIMAL, [f"search.strategy={strategy}", "controls=no-explore"])
    assert spec.arms == ("main", "no-explore")


def test_some_optimizers_bring_defaults_of_their_own() -> None:
    """Only where nothing else is written, and where there is one optimizer alone."""
    prodigy = load_spec(MINIMAL, ["train={optimizer: prodigy}"]).train
    assert (prodigy.lr, prodigy.lr_schedule) == (1.0, "cosine")
    assert load_spec(MINIMAL, ["train={optimizer: prodigy, lr: 0.5}"]).train.lr == 0.5
    averaged = load_spec(MINIMAL, ["train={optimizer: schedule_free_sgd}"]).train
    assert (averaged.lr, averaged.lr_schedule) == (1e-3, "constant")
    assert load_spec(MINIMAL, ["train={optimizer: {choice: [prodigy, adam]}}"]).train.lr == 1e-3


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            "{optimizer: prodigy, layer_decay: 0.9}",
            "one learning rate for all layers, and layer_decay asks for several",
        ),
        (
            "{optimizer: {choice: [sgd, prodigy]}, head_lr_multiplier: {choice: [1, 10]}}",
            "head_lr_multiplier: 1, or take another optimizer",
        ),
        (
            "{optimizer: {choice: [sgd, schedule_free_sgd]}, momentum: {uniform: [0, 0.9]}}",
            "schedule_free_sgd needs momentum above 0, in every trial",
        ),
        ("{optimizer: prodigy, momentum: {choice: [0, 0.9]}}", "prodigy needs momentum above 0, in every trial"),
        ("{lr_schedule: adjusted, lr_raise: 1}", "train.lr_raise = 1: .*greater than 1"),
        ("{lr_schedule: one_cycle, lr_pct_start: 1}", "train.lr_pct_start = 1: .*less than 1"),
        ("{lr_schedule: one_cyle}", "value 'one_cyle'|lr_schedule = 'one_cyle'"),
    ],
)
def test_what_a_strategy_or_an_optimizer_cannot_do_is_one_message(values: str, message: str) -> None:
    with pytest.raises(SpecError, match=message) as caught:
        load_spec(MINIMAL, [f"train={values}"])
    assert "\n" not in str(caught.value)


def test_pbt_needs_factors_above_0() -> None:
    for factors in ("[]", "[0.8, 0]"):
        with pytest.raises(SpecError, match="factors needs numbers above 0"):
            load_spec(MINIMAL, ["search.strategy=pbt", f"search.factors={factors}"])


def test_grid_without_a_distribution_is_refused() -> None:
    with pytest.raises(SpecError, match="grid needs a distribution"):
        load_spec(MINIMAL, ["search.strategy=grid", "train.lr=0.1"])


def test_an_unknown_preset_is_told_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="did you mean the preset 'digits'"):
        load_spec("digit")
    file = tmp_path / "broken.yaml"
    file.write_text("data: [")
    with pytest.raises(SpecError, match="not valid YAML"):
        load_spec(file)
    file.write_text("- 1\n")
    with pytest.raises(SpecError, match="must hold sections"):
        load_spec(file)


def test_a_grid_counts_through_all_combinations() -> None:
    spec = load_spec(
        MINIMAL,
        [
            "search.strategy=grid",
            "search.points=3",
            "train.batch_size={choice: [8, 16]}",
            "train.nesterov={choice: [false, true]}",
        ],
    )
    points = [spec.grid_point(number) for number in range(spec.trials_per_arm)]
    assert len(points) == 12
    assert len({tuple(sorted(point.items())) for point in points}) == 12
    assert points[0] == {"lr": 1e-4, "batch_size": 8, "nesterov": False}
