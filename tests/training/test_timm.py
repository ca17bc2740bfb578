"""A trial of a network of timm: it goes on bit for bit, and what it exports needs timm alone."""

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import timm
import torch
from training_trials import Train

from tlsweep.data import Task
from tlsweep.data.batches import Batches
from tlsweep.errors import ResultsError
from tlsweep.spec import Hyperparameters, ModelSpec
from tlsweep.training import export_model, load_exported
from tlsweep.training.networks import trained_network
from tlsweep.training.transfer import Transfer

VIT = {"patch_size": 4, "depth": 2, "embed_dim": 16, "num_heads": 2}
SWIN = {"patch_size": 2, "window_size": 2, "embed_dim": 8, "depths": [2, 1], "num_heads": [2, 2]}


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("test_resnet", {}),
        ("test_convnext", {"patch_size": 1}),
        ("deit_tiny_distilled_patch16_224", VIT),
        ("swin_tiny_patch4_window7_224", SWIN),
    ],
)
@pytest.mark.parametrize("freeze", ["nothing", "gradual"])
def test_it_goes_on_and_is_had_again_without_tlsweep(
    digits: Task, train: Train, tmp_path: Path, name: str, args: dict[str, Any], freeze: str
) -> None:
    model = ModelSpec(name=f"timm/{name}", args=args)
    how = Hyperparameters(lr=0.01, freeze=freeze)
    whole = train(how, model=model, epochs=2, batch_norm="frozen")
    again = train(how, model=model, epochs=2, batch_norm="frozen", resume=whole.checkpoints[0])
    assert again.numbers == whole.numbers[1:]

    transfer = Transfer(digits, model, weights=None, seed=1)
    export_model(tmp_path, whole.checkpoints[-1], transfer, metrics={})
    module, info = load_exported(tmp_path)
    assert f"timm=={version('timm')}" in info.model["requires"]
    told = json.loads((tmp_path / "model.json").read_text())
    plain = timm.create_model(
        told["name"].removeprefix("timm/"), num_classes=told["num_classes"], in_chans=told["channels"], **told["args"]
    ).eval()
    plain.load_state_dict(safetensors.torch.load_file(tmp_path / "model.safetensors"))
    images, _ = next(iter(Batches(digits).evaluate("test", 50)))
    with torch.inference_mode():
        expected = trained_network(whole.checkpoints[-1], transfer).module.eval()(images)
        assert torch.equal(module(images), expected)
        assert torch.equal(plain(images), expected)

    for wrong in ({"checkpoint_path": "x"}, {"depths": [9] * 40, "depth": 10**5, "layers": [10**4] * 4}):
        (tmp_path / "model.json").write_text(json.dumps({**told, "args": told["args"] | wrong}))
        with pytest.raises(ResultsError, match="does not hold a model exported by tlsweep"):
            load_exported(tmp_path)
