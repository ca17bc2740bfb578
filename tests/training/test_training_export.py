"""The exported model: the same outputs, bit for bit, from the files alone."""

import json
from pathlib import Path

import pytest
import torch
from training_trials import SMALL_CNN, Train

from tlsweep.data import Task
from tlsweep.data.batches import Batches
from tlsweep.errors import ResultsError
from tlsweep.spec import Hyperparameters, ModelSpec
from tlsweep.training import export_model, load_exported
from tlsweep.training.networks import trained_network

BATCH_NORM = ModelSpec(name="training_networks:with_batch_norm")


@pytest.mark.parametrize("model", [SMALL_CNN, BATCH_NORM], ids=["cnn", "batch-norm"])
@pytest.mark.parametrize("freeze", ["nothing", "backbone"])
def test_the_loaded_network_gives_the_same_outputs(
    digits: Task, train: Train, tmp_path: Path, model: ModelSpec, freeze: str
) -> None:
    checkpoint = train(Hyperparameters(lr=0.05, freeze=freeze), model=model).checkpoints[-1]
    export_model(tmp_path / "best", checkpoint, digits, model, weights=None, seed=1, metrics={"test": {"f1": 0.5}})
    module, info = load_exported(tmp_path / "best")
    original = trained_network(checkpoint, digits, model, weights=None, seed=1).module.eval()
    images, _ = next(iter(Batches(digits).evaluate("test", 50)))
    with torch.inference_mode():
        assert torch.equal(module(images), original(images))
    assert info.classes == digits.classes
    assert info.metrics == {"test": {"f1": 0.5}}
    assert info.model == {"name": model.name, "args": model.args, "num_classes": 10, "channels": 1}


def test_preprocessing_as_written_down_gives_the_batches_of_validation(
    digits: Task, train: Train, tmp_path: Path
) -> None:
    export_model(tmp_path, train().checkpoints[-1], digits, SMALL_CNN, weights=None, seed=1, metrics={})
    rule = json.loads((tmp_path / "preprocessing.json").read_text())
    pixels = torch.from_numpy(digits.images[digits.splits["val"]].copy()).permute(0, 3, 1, 2)
    mean, std = (torch.tensor(rule[name]).view(1, -1, 1, 1) for name in ("mean", "std"))
    images, _ = next(iter(Batches(digits).evaluate("val", 10**6)))
    torch.testing.assert_close((pixels / 255 - mean) / std, images)


def test_only_the_named_files_are_left_and_writing_again_replaces_them(
    digits: Task, train: Train, tmp_path: Path
) -> None:
    trial = train(epochs=2)
    for checkpoint in trial.checkpoints:
        export_model(tmp_path, checkpoint, digits, SMALL_CNN, weights=None, seed=1, metrics={})
    names = {"model.safetensors", "model.json", "classes.json", "preprocessing.json", "metrics.json"}
    assert {path.name for path in tmp_path.iterdir()} == names
    last = trained_network(trial.checkpoints[-1], digits, SMALL_CNN, weights=None, seed=1).module
    written = load_exported(tmp_path)[0].state_dict()
    assert all(torch.equal(tensor, written[name]) for name, tensor in last.state_dict().items())


@pytest.mark.parametrize("name", ["model.safetensors", "classes.json"])
@pytest.mark.parametrize("damage", ["missing", "truncated"])
def test_a_missing_or_damaged_file_is_one_message(
    digits: Task, train: Train, tmp_path: Path, name: str, damage: str
) -> None:
    export_model(tmp_path, train().checkpoints[-1], digits, SMALL_CNN, weights=None, seed=1, metrics={})
    path = tmp_path / name
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(ResultsError, match="does not hold a model exported by tlsweep"):
        load_exported(tmp_path)


def test_a_folder_that_cannot_be_written_is_one_message(digits: Task, train: Train, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ResultsError, match="cannot be written"):
        export_model(tmp_path / "file", train().checkpoints[-1], digits, SMALL_CNN, weights=None, seed=1, metrics={})
