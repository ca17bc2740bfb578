"""Specs of a function of the user's own: read, written, refused."""

from typing import Any

import pytest
from own_functions import QUADRATIC

from tlsweep.errors import SpecError
from tlsweep.spec import FunctionSpec, dump_spec, load_spec
from tlsweep.spec.search.space import Choice, Uniform
from tlsweep.spec.yaml_text import read_yaml
from tlsweep.store.tables.own import check_names


def function_spec(*overrides: str, **changes: Any) -> FunctionSpec:
    spec = load_spec({**QUADRATIC, **changes}, overrides)
    assert isinstance(spec, FunctionSpec)
    return spec


def with_space(**changes: Any) -> dict[str, Any]:
    return {"space": {name: value for name, value in {**QUADRATIC["space"], **changes}.items() if value is not None}}


def test_values_and_distributions_of_any_names_are_read() -> None:
    spec = function_spec(**with_space(rank={"choice": [8, 4]}, alpha=1, fast=True))
    assert list(spec.space) == ["lr", "batch_size", "scale", "form", "rank"]
    assert (spec.space["rank"], spec.space["scale"]) == (Choice((4, 8)), Uniform(0.5, 1.5))
    assert spec.types() == {
        "lr": float, "batch_size": int, "momentum": float, "scale": float, "form": str, "rank": int, "alpha": int,
        "fast": bool,
    }  # fmt: skip
    values = spec.completed("main", {"lr": 0.1, "batch_size": 8, "scale": 1.0, "form": "a", "rank": 8})
    assert values == {
        "lr": 0.1, "batch_size": 8, "momentum": 0.5, "scale": 1.0, "form": "a", "rank": 8, "alpha": 1, "fast": True
    }  # fmt: skip


def test_it_is_written_as_it_is_read() -> None:
    spec = function_spec(**with_space(lr={"per": "batch_size", "power": 0.5, "loguniform": [1e-4, 1e-2]}))
    assert load_spec(read_yaml(dump_spec(spec), "spec")) == spec
    assert list(read_yaml(dump_spec(spec), "spec"))[:5] == ["name", "seed", "trial", "space", "epochs"]


def test_an_override_reaches_a_hyperparameter() -> None:
    assert function_spec("space.momentum=0.9", "epochs=3").written["momentum"] == 0.9


BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "no function": ({"trial": "finetune"}, "trial = 'finetune': must be package.module:function"),
    "no name at all": ({"trial": None}, "trial = None: must be package.module:function"),
    "beside data": ({"data": {"source": "digits"}}, "data: trial names a function of yours"),
    "beside train": ({"train": {"lr": 0.1}}, "train: trial names a function of yours"),
    "beside controls": ({"controls": ["scratch"]}, "controls: trial names a function of yours"),
    "no space": ({"space": None}, "space: must be a mapping"),
    "no lr": (with_space(lr=None), "space.lr: is missing"),
    "no batch size": (with_space(batch_size=None), "space.batch_size: is missing"),
    "lr below 0": (with_space(lr=-1), "space.lr = -1: must be above 0"),
    "half a batch": (with_space(batch_size=1.5), "space.batch_size = 1.5: must be a whole number"),
    "a list": (with_space(scale=[1, 2]), "several values to choose from are written {choice: [1, 2]}"),
    "null": ({"space": {**QUADRATIC["space"], "scale": None}}, "space.scale = None: must be a number, text"),
    "unknown distribution": (with_space(scale={"unifrom": [0, 1]}), "did you mean 'uniform'?"),
    "more than a table holds": (with_space(scale=2**63), "must be below 2^63, as whole numbers of a table are"),
    "mixed values": (with_space(scale={"choice": [1, "b"]}), "must be all numbers, all text"),
    "a name that is no name": (with_space(**{"lora-rank": 1}), "space.lora-rank: a hyperparameter's name"),
    "another type than everywhere": (with_space(momentum="high"), "space.momentum = 'high': every sweep has a column"),
    "per elsewhere": (with_space(scale={"per": "batch_size", "power": 1, "uniform": [0, 1]}), "per is for lr alone"),
    "no epochs": ({"epochs": None}, "epochs"),
    "epochs below 1": ({"epochs": 0}, "epochs = 0: must be at least 1"),
    "no mode": ({"search": {"strategy": "random", "metric": "dice"}}, "mode is missing; write min"),
    "the wrong mode": (
        {"search": {"strategy": "random", "metric": "val_loss", "mode": "max"}},
        "val_loss is better when lower",
    ),
    "an odd metric": ({"search": {"strategy": "random", "metric": "val loss", "mode": "min"}}, "search.metric"),
    "recipe": ({"search": {"strategy": "recipe", "schedule": [{"to_epoch": 1}]}}, "cannot train a function of yours"),
    "mutates what is not there": (
        {"search": {"strategy": "pbt", "mutate": ["rank"], "metric": "val_loss"}},
        "search.mutate names ['rank'], which are no hyperparameters of space",
    ),
    "unknown field": ({"epoch": 3}, "unknown field 'epoch'"),
}


@pytest.mark.parametrize(("changes", "said"), BROKEN.values(), ids=BROKEN)
def test_what_cannot_be_is_refused_in_one_line(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError) as error:
        load_spec({**QUADRATIC, **changes})
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["epoch", "trial", "node", "status", "val_loss", "best_val_loss", "kind"])
def test_a_hyperparameter_cannot_have_the_name_of_a_column(name: str) -> None:
    with pytest.raises(SpecError, match=f"space.{name}: every sweep has a column {name}"):
        check_names(function_spec(**with_space(**{name: 1.0})))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("lambda", "is a word of Python's own, so that trial.values has no such name"),
        ("keys", "trial.values.keys is something else, as of every mapping"),
        ("_values", "trial.values._values is something else, as of every mapping"),
        ("best_f1", "columns that begin with best_ have what metrics were at the best epoch"),
        ("last_layers", "columns that begin with last_ have what metrics were at the last epoch"),
        ("start_scale", "the column start_scale has what scale is at the start"),
    ],
)
def test_a_hyperparameter_cannot_have_a_name_that_nobody_could_read(name: str, said: str) -> None:
    with pytest.raises(SpecError) as error:
        check_names(function_spec(**with_space(**{name: 1.0})))
    assert str(error.value) == f"space.{name}: {said}; give it another name"
    check_names(function_spec(**with_space(start_factor=1.0)))  # of no factor


@pytest.mark.parametrize("name", ["epoch", "lr", "scale", "node"])
def test_a_metric_cannot_have_the_name_of_another_column(name: str) -> None:
    search = {"strategy": "random", "metric": name, "mode": "min"}
    with pytest.raises(SpecError, match=f"search.metric = {name}"):
        check_names(function_spec(search=search))


def test_a_sweep_over_images_has_a_mode_only_as_its_metric_has_it() -> None:
    images = {"data": {"source": "digits"}, "search": {"strategy": "random", "metric": "val_loss", "mode": "min"}}
    assert load_spec(images).search.sign == -1
    with pytest.raises(SpecError, match="better when lower"):
        load_spec(images, ["search.mode=max"])
    with pytest.raises(SpecError, match="must be one of val_accuracy"):
        load_spec(images, ["search.metric=dice"])
