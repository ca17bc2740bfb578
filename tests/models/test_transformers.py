"""Transformers are told from other networks, and learn more slowly in their lower layers unless the spec says more."""

from typing import Any

import pytest

from tlsweep.data import load_task
from tlsweep.models.transformers import usual_layer_decay
from tlsweep.planning.suggestion import centre
from tlsweep.spec import ModelSpec, SweepSpec, load_spec
from tlsweep.sweep.assignment import starting_values
from tlsweep.sweep.prepare import settled

TRANSFORMERS = ["vit_b_32", "swin_t", "swin_v2_t", "maxvit_t"]
OTHERS = ["cnn", "mlp", "resnet18", "squeezenet1_1", "mobilenet_v3_small", "regnet_y_400mf", "convnext_tiny"]
WEIGHTS = "model.weights={data: {source: digits, domain: source}}"


@pytest.mark.parametrize("name", TRANSFORMERS + OTHERS)
def test_attention_tells_a_transformer(name: str) -> None:
    size = 224 if name not in ("cnn", "mlp") else 16
    usual = usual_layer_decay(ModelSpec(name=name), num_classes=3, channels=3, image_size=size)
    assert usual == (0.75 if name in TRANSFORMERS else 1)


def spec(*overrides: str, **train: Any) -> SweepSpec:
    base = {
        "data": {"source": "digits"},
        "train": train,
        "search": {"strategy": "random"},
        "model": {"name": "vit_b_32"},
    }
    return load_spec(base, [WEIGHTS, "data.image_size=32", *overrides])


def decays(one: SweepSpec) -> dict[str, Any]:
    one = settled(one, load_task(one.data, one.seed))
    return {arm: starting_values(one, arm, 0)["layer_decay"] for arm in one.arms}


def test_unwritten_it_is_that_of_the_network_where_that_begins_with_weights() -> None:
    found = decays(spec("controls=[scratch, hyperrule]"))
    assert found == {"main": 0.75, "scratch": 1.0, "hyperrule": 1.0}
    choice = "{choice: [none, {data: {source: digits, domain: source}}]}"
    several = settled(spec(f"model.weights={choice}"), load_task(spec().data, 0))
    drawn = [starting_values(several, "main", number) for number in range(8)]
    assert {(values["weights"], values["layer_decay"]) for values in drawn} == {("none", 1.0), ("digits-source", 0.75)}


@pytest.mark.parametrize(
    ("overrides", "wanted"),
    [
        (["train.layer_decay=0.9"], 0.9),
        (["train.layer_decay=1"], 1.0),
        (["train={optimizer: prodigy}"], 1.0),
        (["train.optimizer={choice: [adamw, prodigy]}"], 1.0),
        (["model.weights=none"], 1.0),
        (["model.name=cnn"], 1.0),
    ],
)
def test_what_is_written_counts_and_elsewhere_it_is_1(overrides: list[str], wanted: float) -> None:
    one = spec(*overrides)
    assert decays(one) == {"main": wanted}
    assert settled(one, load_task(one.data, 0)) == one


def test_what_a_launch_found_is_kept_in_its_spec() -> None:
    found = settled(spec(), load_task(spec().data, 0))
    assert found.usual_layer_decay == 0.75
    assert load_spec(found.model_dump(mode="json")) == found
    assert centre(found).layer_decay == 0.75
