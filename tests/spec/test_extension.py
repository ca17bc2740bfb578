"""A resume may ask for more of the same sweep, never for another one."""

import pytest

from tlsweep.errors import SpecError
from tlsweep.spec import SweepSpec, dump_spec, load_spec
from tlsweep.spec.earlier import BEFORE, as_it_was_meant
from tlsweep.spec.extension import EXTENDABLE, extensions, going_on, unwritten
from tlsweep.spec.yaml_text import read_yaml

BASE = {
    "name": "mine",
    "data": {"source": "digits"},
    "train": {"epochs": 4, "lr": {"loguniform": [1e-4, 0.1]}},
    "search": {"strategy": "random", "trials": 4},
    "budget": {"epochs": 12, "wall_time": "10m"},
}


def spec(*overrides: str) -> SweepSpec:
    return load_spec(BASE, overrides)


def test_nothing_changed_is_nothing_extended() -> None:
    assert extensions(spec(), spec("name=elsewhere")) == {}
    assert extensions(spec("track=mlflow"), spec("track=[tensorboard, wandb]")) == {}


@pytest.mark.parametrize(
    ("override", "found"),
    [
        ("search.trials=5", {"search.trials": (4, 5)}),
        ("train.epochs=6", {"train.epochs": (4, 6)}),
        ("budget.epochs=13", {"budget.epochs": (12, 13)}),
        ("budget.epochs=null", {"budget.epochs": (12, None)}),
        ("budget.wall_time=1h", {"budget.wall_time": (600.0, 3600.0)}),
    ],
)
def test_what_may_grow_may_grow(override: str, found: dict[str, tuple[object, object]]) -> None:
    assert extensions(spec(), spec(override)) == found
    assert set(found) <= set(EXTENDABLE)


def test_several_fields_may_grow_at_once() -> None:
    assert set(extensions(spec(), spec("search.trials=5", "train.epochs=6"))) == {"search.trials", "train.epochs"}


@pytest.mark.parametrize(
    ("override", "value", "before"),
    [
        ("search.trials=3", "3", "4"),
        ("train.epochs=1", "1", "4"),
        ("budget.epochs=11", "11", "12"),
        ("budget.wall_time=5m", "300.0", "600.0"),
    ],
)
def test_nothing_may_become_less(override: str, value: str, before: str) -> None:
    field = override.partition("=")[0]
    with pytest.raises(SpecError, match=f"^{field} = {value}: the sweep began with {before}, .* can only extend it"):
        extensions(spec(), spec(override))


def test_a_limit_where_there_was_none_is_less() -> None:
    with pytest.raises(SpecError, match="^budget.epochs = 100: the sweep began with None"):
        extensions(spec("budget.epochs=null"), spec("budget.epochs=100"))


@pytest.mark.parametrize(
    ("override", "field"),
    [
        ("seed=1", "seed"),
        ("train.lr=0.1", "train.lr"),
        ("train.lr={loguniform: [1e-4, 0.2]}", "train.lr.loguniform"),
        ("train.momentum=0.5", "train.momentum"),
        ("search.strategy=asha", "search.strategy"),
        ("search.strategy=pbt", "search.strategy"),
        ("data={source: folder, path: x, image_size: 32}", "data.source"),
        ("data={source: torchvision, dataset: MNIST}", "data.source"),
        ("search.metric=val_loss", "search.metric"),
        ("budget.target=0.9", "budget.target"),
        ("model.name=mlp", "model.name"),
        ("data.labels_per_class=5", "data.labels_per_class"),
        ("faults.max_failures=5", "faults.max_failures"),
    ],
)
def test_any_other_change_is_refused_and_the_field_is_named(override: str, field: str) -> None:
    with pytest.raises(
        SpecError, match=rf"^{field}\S* = .*: the sweep began with .*; put it back, or start a new sweep$"
    ):
        extensions(spec(), spec(override))


LATER = {f"{section}.{name}": value for section, fields in BEFORE.items() for name, value in fields.items()}


@pytest.mark.parametrize("field", LATER)
def test_a_file_without_the_fields_that_came_later_goes_on_with_what_its_sweep_did(field: str) -> None:
    began = load_spec(as_it_was_meant(BASE))
    assert extensions(began, going_on(began, spec("search.trials=5"))) == {"search.trials": (4, 5)}
    with pytest.raises(SpecError, match=f"^{field} = 'auto': the sweep began with {LATER[field]!r}"):
        extensions(began, going_on(began, spec(f"{field}=auto")))


def test_a_file_that_is_sent_to_a_cluster_still_leaves_them_out() -> None:
    began, sent = load_spec(as_it_was_meant(BASE)), spec("train.head=random")
    there = load_spec(read_yaml(dump_spec(sent, unwritten(sent)), "sent"))
    assert there == sent
    assert extensions(began, going_on(began, there)) == {}


@pytest.mark.parametrize("section", BEFORE)
def test_a_section_that_was_not_written_means_what_it_meant(section: str) -> None:
    assert as_it_was_meant({})[section] == BEFORE[section]
