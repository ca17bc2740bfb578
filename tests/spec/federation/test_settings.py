"""How a federation is written: what reads back, and what is one message."""

from typing import Any

import pytest
import yaml

from tlsweep.errors import SpecError
from tlsweep.spec import ImageSpec, dump_spec, load_spec
from tlsweep.spec.federation import Federated, Split
from tlsweep.spec.images import require_images
from tlsweep.spec.reference import spec_fields

BASE: dict[str, Any] = {
    "data": {"source": "digits"},
    "train": {"lr": {"loguniform": [1e-3, 1]}, "federated": {"clients": 10}},
    "search": {"strategy": "random", "trials": 4},
}


def loaded(*overrides: str) -> ImageSpec:
    return require_images(load_spec(BASE, overrides), "a test")


@pytest.mark.parametrize(
    ("written", "split"),
    [("iid", Split()), ("{dirichlet: 0.5}", Split(dirichlet=0.5)), ("{classes: 2}", Split(classes=2)), ("{}", Split())],
)
def test_a_split_reads_back_as_it_is_written(written: str, split: Split) -> None:
    spec = loaded(f"train.federated.split={written}")
    federated = spec.train.settings().federated
    assert federated is not None
    assert federated.split == split
    assert load_spec(yaml.safe_load(dump_spec(spec))) == spec
    if written != "{}":
        assert yaml.safe_load(dump_spec(spec))["train"]["federated"]["split"] == yaml.safe_load(written)


def test_a_spec_without_a_federation_says_so() -> None:
    spec = loaded("train.federated=null")
    assert spec.train.settings().federated is None
    assert spec.train.settings() == spec.settings_in("main")
    assert load_spec({**BASE, "train": {"lr": BASE["train"]["lr"]}}) == spec


@pytest.mark.parametrize(
    ("clients", "fraction", "local_epochs", "picked", "passes"),
    [(10, 1.0, 1, 10, 1), (100, 0.1, 5, 10, 0.5), (49, 1 / 49, 1, 1, 1 / 49), (10, 0.29, 10, 3, 3), (1, 1.0, 4, 1, 4)],
)
def test_who_takes_part(clients: int, fraction: float, local_epochs: int, picked: int, passes: float) -> None:
    told = Federated(clients=clients, fraction=fraction, local_epochs=local_epochs)
    assert told.picked == picked
    assert told.passes == pytest.approx(passes)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.federated=true", "train.federated = True: must be a mapping of fields"),
        ("train.federated=10", "train.federated = 10: must be a mapping of fields"),
        ("train.federated={client: 3}", "train.federated: unknown field 'client'; did you mean 'clients'?"),
        ("train.federated.clients=0", "train.federated.clients = 0: must be at least 1"),
        ("train.federated.clients=1001", "train.federated.clients = 1001: must be at most 1000"),
        ("train.federated.clients=true", "train.federated.clients = 'true': must be a whole number"),
        ("train.federated.local_epochs=0", "train.federated.local_epochs = 0: must be at least 1"),
        ("train.federated.fraction=0", "train.federated.fraction = 0: must be above 0"),
        ("train.federated.fraction=1.1", "train.federated.fraction = 1.1: must be at most 1"),
        (
            "train.federated.fraction=0.05",
            "fraction 0.05 of 10 clients picks none; write at least 0.1, or more clients",
        ),
        ("train.federated.split=idd", "train.federated.split = 'idd': must be iid, {dirichlet: 0.5} or {classes: 2}"),
        ("train.federated.split=0.5", "train.federated.split = 0.5: must be a mapping of fields"),
        ("train.federated.split={dirichlet: 0}", "train.federated.split.dirichlet = 0: must be at least 0.001"),
        ("train.federated.split={dirichlet: 1e9}", "train.federated.split.dirichlet = 1000000000.0: must be at most"),
        ("train.federated.split={classes: 0}", "train.federated.split.classes = 0: must be at least 1"),
        ("train.federated.split={shards: 2}", "train.federated.split: unknown field 'shards'"),
        ("train.federated.split={dirichlet: 1, classes: 2}", "takes dirichlet or classes, not both"),
        ("train.federated.clients={choice: [1, 2]}", "train.federated.clients = {'choice': [1, 2]}: must be a whole"),
        ("train.server_optimizer=adagrad", "train.server_optimizer = 'adagrad': must be one of sgd, adam, yogi"),
        ("train.server_lr=0", "train.server_lr = 0: must be above 0"),
        ("train.server_momentum=1", "train.server_momentum = 1: must be below 1"),
        ("train.proximal=-0.1", "train.proximal = -0.1: must be at least 0"),
    ],
)
def test_a_mistake_is_one_message(override: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        loaded(override)
    assert message in str(caught.value)


def test_the_fields_are_explained() -> None:
    told = {field.path: field for field in spec_fields() if field.path.startswith("train.federated")}
    assert told["train.federated.split"].type == "iid, {dirichlet: number} or {classes: whole number}"
    assert told["train.federated.split"].default == "iid"
    assert told["train.federated"].default == "none"
    assert {"train.federated.split.dirichlet", "train.federated.split.classes"} <= told.keys()
