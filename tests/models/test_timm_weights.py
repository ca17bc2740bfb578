"""Weights of timm's hub: fetched, read, told what they are, or one error; the hub is a folder here."""

import json
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import safetensors.torch
import timm
import torch
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
from timm.models import get_pretrained_cfg
from torch import Tensor

from tlsweep.errors import ModelError
from tlsweep.models import resolve_weights
from tlsweep.models.resizing import PLAIN, Resizing, expected_resizing
from tlsweep.models.weights import weights_names
from tlsweep.spec import ModelSpec

TINY = "timm/test_vit"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    def download(owner_and_name: str, name: str, *, revision: str | None) -> str:
        path = tmp_path / owner_and_name / (revision or "main") / name
        if not path.parent.is_dir():
            raise LocalEntryNotFoundError("Please check your connection")
        if not path.exists():
            raise EntryNotFoundError("404")
        return str(path)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    return tmp_path


def put(hub: Path, place: str, files: dict[str, Any]) -> None:
    folder = hub / place
    folder.mkdir(parents=True)
    for name, content in files.items():
        if name.endswith(".safetensors"):
            safetensors.torch.save_file(content, folder / name)
        elif name.endswith(".bin"):
            torch.save(content, folder / name)
        else:
            (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    return dict(timm.create_model("test_vit").state_dict())


def found(weights: str | None, name: str = TINY) -> Any:
    return resolve_weights(ModelSpec(name=name, weights=weights))


@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin"])
@pytest.mark.parametrize("name", ["DEFAULT", "r160_in1k"])
def test_a_tag_is_fetched_from_the_hub_with_its_statistics(
    hub: Path, state: dict[str, Tensor], name: str, file: str
) -> None:
    put(hub, "timm/test_vit.r160_in1k/main", {file: state})
    weights = found(name)
    assert weights.origin == "timm test_vit.r160_in1k"
    assert set(weights.tensors) == set(state)
    assert weights.statistics.mean == weights.statistics.std == (0.5, 0.5, 0.5)
    assert weights.statistics.reason == "as timm says of test_vit.r160_in1k"


def test_the_default_is_timm_s_own() -> None:
    names = weights_names(ModelSpec(name="timm/vit_small_patch16_224"))
    assert names["DEFAULT"] == get_pretrained_cfg("vit_small_patch16_224")
    assert {"augreg_in1k", "dino"} <= names.keys()


@pytest.mark.parametrize("place", ["me/mine", "me/mine@v2"])
def test_anybody_s_weights_on_the_hub_say_what_they_are(hub: Path, state: dict[str, Tensor], place: str) -> None:
    where, _, revision = place.partition("@")
    config = {
        "architecture": "test_vit", "pretrained_cfg": {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]},
        "model_args": {"depth": 6},
    }  # fmt: skip
    put(hub, f"{where}/{revision or 'main'}", {"config.json": config, "model.safetensors": state})
    weights = found(f"hf-hub:{place}")
    assert weights.origin == f"hf-hub:{place}, made with model.args: {{'depth': 6}}"
    assert weights.statistics.mean == (0.1, 0.2, 0.3)
    assert weights.statistics.reason == f"as the config.json of hf-hub:{place} says"


def test_a_file_has_the_statistics_of_timm_s_weights(tmp_path: Path, state: dict[str, Tensor]) -> None:
    torch.save({"state_dict": state}, tmp_path / "mine.pth")
    weights = found(str(tmp_path / "mine.pth"))
    assert weights.statistics.reason == "as for timm's weights of timm/test_vit, which the file fits"


@pytest.mark.parametrize(
    ("files", "weights", "told"),
    [
        (
            {},
            "DEFAULT",
            r"timm test_vit.r160_in1k could not be fetched from the hub .*check your connection.*path of a",
        ),
        ({"me/mine": {"x": ""}}, "hf-hub:me/mine", "has no config.json on the hub"),
        ({"me/mine": {"config.json": "{"}}, "hf-hub:me/mine", "config.json of hf-hub:me/mine cannot be read"),
        ({"me/mine": {"config.json": []}}, "hf-hub:me/mine", "it is no mapping"),
        ({"me/mine": {"config.json": {"architecture": "resnet18"}}}, "hf-hub:me/mine", "are of timm/resnet18, and"),
        ({"me/mine": {"config.json": {}}}, "hf-hub:me/mine", "has no model.safetensors or pytorch_model.bin"),
        ({}, "hf-hub:me", "not of the form hf-hub:owner/name"),
        ({}, "augreg", r"neither a name of timm/test_vit's weights .DEFAULT, r160_in1k., nor hf-hub:owner/name nor"),
    ],
)
def test_what_cannot_be_had_is_one_error(hub: Path, files: dict[str, Any], weights: str, told: str) -> None:
    for place, content in files.items():
        put(hub, f"{place}/main", content)
    with pytest.raises(ModelError, match=told) as error:
        found(weights)
    assert "\n" not in str(error.value)


def test_pictures_are_resized_as_the_hub_says(hub: Path) -> None:
    settings = {"interpolation": "bilinear", "crop_pct": 0.9, "input_size": [3, 224, 224]}
    put(hub, "me/mine/main", {"config.json": {"architecture": "test_vit", "pretrained_cfg": settings}})
    told = expected_resizing(ModelSpec(name=TINY, weights="hf-hub:me/mine"))
    assert told == Resizing("bilinear", 224 / 248, "as the config.json of hf-hub:me/mine says")
    put(hub, "me/odd/main", {"config.json": {"pretrained_cfg": {"interpolation": "x", "crop_pct": 0, "input_size": 3}}})
    assert expected_resizing(ModelSpec(name=TINY, weights="hf-hub:me/odd")) == PLAIN


def test_the_hub_is_for_networks_of_timm() -> None:
    with pytest.raises(ModelError, match=r"are for a network of timm, and model.name is resnet18"):
        found("hf-hub:me/mine", name="resnet18")
