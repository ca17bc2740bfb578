"""Specs: presets, overrides, round trips, and one clear message for each mistake."""

import re
from pathlib import Path
from typing import get_args

import pytest
import yaml
from pydantic import BaseModel

from tlsweep.errors import SpecError
from tlsweep.spec import Hyperparameters, PbtSearch, SourceTask, SweepSpec, TrainSpec, dump_spec, load_spec, presets
from tlsweep.spec.loading import StoredSpec
from tlsweep.spec.search.space import LogUniform, PowersOfTwo

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
        assert section.default == ("auto" if name == "layer_decay" else field.default)
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
    spec = load_spec(MINIMAL, ["budget.wall_time=1h30m", "data.memory_limit=512MB", "data.disk_limit=0"])
    assert (spec.budget.wall_time, spec.data.memory_limit, spec.data.disk_limit) == (5400, 512 * 1024**2, 0)


MISTAKES = [
    ("train.lrr=3", "train: unknown field 'lrr'; did you mean 'lr'?"),
    ("serach.trials=3", "unknown field 'serach'; did you mean 'search'?"),
    ("train.lr=-1", "train.lr = -1: must be above 0"),
    ("train.lr={loguniform: [0.3, 0.1]}", "low < high"),
    ("train.lr={loguniform: [0, 0.1]}", "above 0"),
    ("train.lr={uniform: [-1, 0.1]}", "must be above 0 (value -1"),
    ("train.momentum={uniform: [0.5, 1.5]}", "must be below 1 (value 1.5)"),
    ("train.batch_size={uniform: [8, 64]}", "whole numbers: use choice or powers_of_two"),
    ("train.class_weights=balance", "train.class_weights = 'balance': must be one of none, balanced; did you mean"),
    ("train.class_weights={bees: 0}", "train.class_weights.bees = 0: must be above 0"),
    ("train.class_weights={'3': heavy}", "train.class_weights.3 = 'heavy': must be a number"),
    ("train.sampler=weighted", "train.sampler = 'weighted': must be one of shuffle, balanced"),
    ("train.focal_gamma=-1", "train.focal_gamma = -1: must be at least 0"),
    ("train.layer_decay=aut", "train.layer_decay = 'aut': must be a number, or auto"),
    ("train.layer_decay={choice: [auto, 0.9]}", "must be a number (value 'auto')"),
    ("train.optimizer=sgdd", "train.optimizer = 'sgdd': must be one of sgd, adam, adamw, schedule_free_sgd"),
    ("train.optimizer={choice: [sgd, adamm]}", "value 'adamm'"),
    ("train.epochs=0", "train.epochs = 0: must be at least 1"),
    ("train.nesterov=maybe", "train.nesterov = 'maybe'"),
    ("data.source=folderr", "data.source: unknown value 'folderr'; did you mean 'folder'?"),
    ("search.strategy=ashaa", "search.strategy: unknown value 'ashaa'; did you mean 'asha'?"),
    ("search.metric=accuracy", "search.metric = 'accuracy': must be one of"),
    ("data={}", "data: needs the field 'source'"),
    ("data={source: folder}", "data.path: is missing"),
    ("budget.wall_time=soon", "not a duration"),
    ("train.lr=.inf", "train.lr = inf: must be a finite number"),
    ("train.lr={choice: [0.1, .inf]}", "train.lr.choice.1 = inf: must be a finite number"),
    ("train.lr={'a{b}': [1]}", "unknown distribution 'a{b}'"),
    ("train.batch_size={choice: [16, 16.0]}", "lists a value twice"),
    ("train={nesterov: true, momentum: {choice: [0, 0.9]}}", "needs momentum above 0"),
    ("train={nesterov: {choice: [true, false]}, momentum: 0}", "needs momentum above 0"),
    ("budget.target=.nan", "must be a finite number"),
    ("resources.gpus=.inf", "resources.gpus = inf: must be a finite number"),
    ("resources.gpus=two", "resources.gpus = 'two': must be 'auto'"),
    ("controls=[scratch]", "model.weights is none already"),
    ("controls=[probe]", "controls: probe is solved for the features of model.weights, but they are none"),
    ("controls=[no-explore]", "no-explore is for search.strategy pbt and pb2; asha mutates nothing"),
    ("search.form=promoting", "search.form = 'promoting': must be one of"),
    ("search.min_reports=0", "search.min_reports = 0: must be at least 1"),
    ("faults.max_failures=-1", "faults.max_failures = -1: must be at least 0"),
    ("faults.report_timeout=soon", "not a duration"),
    ("train.batch_norm=thawed", "train.batch_norm = 'thawed': must be one of train, frozen"),
    ("model.weights={data: {source: dig}}", "model.weights.data.source: unknown value 'dig'; did you mean 'digits'?"),
    ("model.weights=3", "model.weights = 3"),
    ("name=../x", "name = '../x': must begin with a letter or digit, and hold only these and . _ -"),
    ("name='a b'", "name = 'a b': must begin with a letter or digit, and hold only these and . _ -"),
    ("train.lr", "write key.path=value"),
    ("train.lr.x=1", "has no fields"),
    ("train.lr={a: [}", "not valid YAML"),
]


MISPLACED = [
    ("epochs=3", "unknown field 'epochs'; did you mean 'train.epochs'?"),
    ("lr=0.1", "unknown field 'lr'; did you mean 'train.lr'?"),
    ("trials=3", "unknown field 'trials'; did you mean 'search.trials'?"),
    ("gpus=1", "unknown field 'gpus'; did you mean 'resources.gpus'?"),
    ("search.epochs=3", "search: unknown field 'epochs'; did you mean 'train.epochs'?"),
    ("train.weights=x", "train: unknown field 'weights'; did you mean 'model.weights'?"),
    ("train.mutate=[lr]", "train: unknown field 'mutate'; did you mean 'search.mutate'?"),
    ("train.learning_rate=1", "train: unknown field 'learning_rate'; did you mean 'lr'?"),
    ("search={strategy: pbt, trials: 3}", "search: unknown field 'trials'; did you mean 'population'?"),
    (
        "search={strategy: grid, trials: 3}",
        "unknown field 'trials'; it is a field of strategy random, asha, asha_then_pbt",
    ),
    ("search.population=3", "search: unknown field 'population'; did you mean 'trials'?"),
    ("search.interval=3", "unknown field 'interval'; it is a field of strategy pbt, pb2, asha_then_pbt"),
    ("data.path=x", "data: unknown field 'path'; it is a field of source folder"),
]
NUMBERLIKE = ("1d-3", "1e−3", "10^-3", "1/1000", "2**-3", "2024-01-01")
RANGES = [
    ("train.lr=1e-4..1e-3", "a range to search is written {loguniform: [0.0001, 0.001]}"),
    (
        "train.lr=[1e-4, 1e-3]",
        "a range to search is written {loguniform: [0.0001, 0.001]}, two values {choice: [0.0001",
    ),
    ("train.lr=loguniform(1e-4, 1e-3)", "is written {loguniform: [0.0001, 0.001]}"),
    ("train.lr='1e-3 - 1e-4'", "is written {loguniform: [0.0001, 0.001]}"),
    ("train.lr=[0.1, 0.2, 0.3]", "several values to choose from are written {choice: [0.1, 0.2, 0.3]}"),
    ("train.weight_decay=[0, 0.1]", "is written {uniform: [0, 0.1]}, two values {choice: [0, 0.1]}"),
    ("train.batch_size=8..64", "is written {powers_of_two: [8, 64]}"),
    ("train.batch_size=[8, 60]", "several values to choose from are written {choice: [8, 60]}"),
    ("train.batch_size='8, 16,32'", "several values to choose from are written {choice: [8, 16, 32]}"),
    ("train.batch_size='(8, 64)'", "is written {powers_of_two: [8, 64]}"),
    ("train.lr='1e-4 to 1e-3'", "is written {loguniform: [0.0001, 0.001]}"),
    ("train.lr='1e-4–1e-3'", "is written {loguniform: [0.0001, 0.001]}"),
    ("train.lr=1,5e-3", "train.lr = '1,5e-3': must be a number with a decimal point: 1.5e-3"),
    ("train.lr=0,001", "train.lr = '0,001': must be a number with a decimal point: 0.001"),
    *((f"train.lr={value}", f"train.lr = '{value}': must be a number") for value in NUMBERLIKE),
    ("train.lr={loguniform: {low: 1e-4, high: 1e-3}}", "loguniform takes a list [low, high], not {'low'"),
    ("train.batch_size={choice: 8}", "choice takes a list of values, not 8"),
    ("train.lr={loguniform: [a, 1]}", "loguniform takes two finite numbers [low, high], not ['a', 1]"),
    ("train.optimizer=[sgd, adam]", "several values to choose from are written {choice: [sgd, adam]}"),
    ("name=064", "name = 64: must be text; put it in quotes"),
]
BOUNDS = [
    ("search={strategy: grid, points: 1000000000}", "search.points = 1000000000: must be at most 1000"),
    ("search={strategy: grid, points: 999}", "search.points 999 makes a grid of 9.98e+05 trials, more than 100,000"),
    ("data.repeats=10000", "data.repeats = 10000: must be at most 1000"),
    ("data={source: digits, folds: 50, repeats: 50}", "folds x repeats = 2,500: a trial trains this many networks"),
    ("search.trials=1e9", "search.trials = 1000000000.0: must be at most 100000"),
    (f"search.trials=1{'0' * 300}", "search.trials: must be a number below 2^64"),
    ("search.reduction_factor=1.0000001", "must be at least 1.01"),
    ("search={strategy: pbt, population: 1000000}", "search.population = 1000000: must be at most 10000"),
    ("controls=[hyperrule, hyperrule]", "one of the controls stands twice"),
    ("track=[mlflow, mlflow]", "one of the trackers stands twice"),
    ("track=tensorbord", "must be one of tensorboard, mlflow, wandb; did you mean 'tensorboard'?"),
    (f"data.memory_limit={'9' * 390}GB", "data.memory_limit = inf: must be a finite number"),
]
GPUS = [
    ("resources.gpus=2", "resources.gpus = 2: must be 'auto', or a number from 0 to 1: a process trains on one GPU"),
    ("resources.gpus=1.5", "resources.gpus = 1.5: must be 'auto', or a number from 0 to 1"),
    ("resources.gpus=-1", "resources.gpus = -1: must be 'auto', or a number from 0 to 1"),
    ("resources.gpus=.nan", "resources.gpus = nan: must be a finite number"),
    ("resources.gpus=0.00001", "resources.gpus = 1e-05: must be at least 0.0001, or Ray would count none"),
    ("resources.cpus=0", "resources.cpus = 0: must be above 0"),
    ("resources.cpus=-2", "resources.cpus = -2: must be above 0"),
    ("resources.cpus=.nan", "resources.cpus = nan: must be a finite number"),
    ("resources.cpus=0.00001", "resources.cpus = 1e-05: must be at least 0.0001"),
]


@pytest.mark.parametrize(("override", "words"), MISTAKES + MISPLACED + RANGES + BOUNDS + GPUS)
def test_each_mistake_is_one_message_that_names_field_value_and_rule(override: str, words: str) -> None:
    base = MINIMAL | {"train": {"lr": 0.1}} if override == "train.lr.x=1" else MINIMAL
    if "strategy: grid" in override:
        base = MINIMAL | {"train": {"lr": {"loguniform": [1e-4, 0.1]}, "momentum": {"uniform": [0, 0.9]}}}
    with pytest.raises(SpecError) as caught:
        load_spec(base, [override])
    message = str(caught.value)
    assert words in message
    assert "mistakes" not in message  # one mistake, one line
    assert "\n" not in message


@pytest.mark.parametrize(("mean", "count"), [([128], 1), ([128, 117, 104], 3)])
def test_pixels_that_were_not_scaled_are_told_once_each(mean: list[float], count: int) -> None:
    with pytest.raises(SpecError) as caught:
        load_spec("digits", [f"data.normalize={{mean: {mean}, std: {[0.2] * count}}}"])
    message = str(caught.value)
    assert message.count("data.normalize") == count
    assert message.count("must be at most 1, as pixels are scaled to 0..1; divide by 255") == count
    assert "values" not in message


def test_a_list_that_is_too_short_is_told_so() -> None:
    with pytest.raises(SpecError, match=r"data.normalize.mean = \[\]: must have at least 1 values"):
        load_spec("digits", ["data.normalize={mean: [], std: [0.2]}"])


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
    assert spec.model_copy(update={"controls": ()}).arms == ("main",)  # not what the other one was asked for


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
            "{optimizer: {choice: [sgd, schedule_free_sgd]}, ema: {choice: [0, 0.9]}}",
            "schedule_free_sgd averages the weights itself, and ema would average its averages; write ema: 0",
        ),
        ("{noise_scale: true, precision: fp16}", "measures gradients that precision: fp16 would lose; write precision"),
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
        ("{lr_schedule: adjusted, lr_raise: 1}", "train.lr_raise = 1: .*above 1"),
        ("{lr_schedule: one_cycle, lr_pct_start: 1}", "train.lr_pct_start = 1: .*below 1"),
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


@pytest.mark.parametrize("gpus", ["auto", 0, 0.25, 1 / 3, 1])
def test_a_trial_gets_one_gpu_or_a_part_of_it(gpus: float | str) -> None:
    assert load_spec(MINIMAL | {"resources": {"gpus": gpus}}).resources.gpus == gpus


@pytest.mark.parametrize("gpus", [2, 4.0])
def test_a_sweep_of_an_earlier_version_keeps_its_gpus(gpus: float) -> None:
    stored = StoredSpec(MINIMAL | {"resources": {"gpus": gpus}})
    assert load_spec(stored, ["search.trials=99"]).resources.gpus == gpus


def test_many_mistakes_are_counted_where_they_are_too_many_to_show() -> None:
    wrong = [f"train.{name}=-1" for name in Hyperparameters.model_fields]
    with pytest.raises(SpecError, match=r"spec has \d\d mistakes:\n") as caught:
        load_spec(MINIMAL, wrong)
    assert len(str(caught.value)) <= 500
    assert re.search(r"\n  and \d+ more$", str(caught.value))


@pytest.mark.parametrize(
    ("asked", "there", "nearest"),
    [("flower.yaml", "flowers.yaml", "flowers.yaml"), ("flowers", "flowers.yml", "flowers.yml"),
     ("my_spce.yaml", "my_spec.yaml", "my_spec.yaml"), ("flower.yml", "flower.yaml", "flower.yaml")],
)  # fmt: skip
def test_a_file_with_a_similar_name_is_named(tmp_path: Path, asked: str, there: str, nearest: str) -> None:
    (tmp_path / there).touch()
    with pytest.raises(SpecError, match=f"no file '.*{asked}'; did you mean the file '.*{nearest}'?"):
        load_spec(tmp_path / asked)


@pytest.mark.parametrize("source", ["x" * 5000, "a\0b", "~nobody-here/x.yaml", "/", "x/\udcea.yaml", "/dev/zero"])
def test_a_path_that_cannot_be_is_a_mistake_like_any_other(source: str) -> None:
    with pytest.raises(SpecError, match="there is no preset and no file|cannot read the spec") as caught:
        load_spec(source)
    assert len(str(caught.value)) <= 500


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


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ({"loguniform": ["1e-5", "1e-3"]}, {"loguniform": [1e-5, 1e-3]}),
        ({"uniform": ["0.1", 1]}, {"uniform": [0.1, 1]}),
        ({"choice": ["1e-5", 0.1]}, {"choice": [1e-5, 0.1]}),
        ("1e-5", 1e-5),
    ],
)
def test_numbers_may_be_text_in_a_distribution_as_outside_of_one(written: object, meant: object) -> None:
    """PyYAML reads 1e-5 as text, and so do those who hand us what it read."""
    spec = load_spec(MINIMAL | {"train": {"lr": written}})
    assert spec == load_spec(MINIMAL | {"train": {"lr": meant}})


def test_numbers_of_a_lattice_may_be_text() -> None:
    spec = load_spec(MINIMAL | {"train": {"batch_size": {"powers_of_two": ["8", "64"]}}})
    assert spec.train.model_dump()["batch_size"] == {"powers_of_two": [8, 64]}


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "null\n"])
def test_a_spec_that_says_nothing_is_called_empty(tmp_path: Path, text: str) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(SpecError, match=r"holds no values; it must hold sections such as data:, model:"):
        load_spec(tmp_path / "mine.yaml")


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-16-le", "utf-32"])
def test_a_file_in_another_encoding_says_how_to_save_it(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "mine.yaml").write_bytes("# Größe\ndata: {source: digits}\n".encode(encoding))
    with pytest.raises(SpecError, match=r"mine.yaml' is not UTF-8 text; save it as UTF-8"):
        load_spec(tmp_path / "mine.yaml")
