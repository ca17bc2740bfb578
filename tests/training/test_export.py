"""The exported model: the same outputs, bit for bit, from the files alone."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from training_trials import SMALL_CNN, Train

from tlsweep.data import Task, load_task
from tlsweep.data.batches import Batches
from tlsweep.errors import DataError, ResultsError
from tlsweep.spec import FolderData, Hyperparameters, ModelSpec
from tlsweep.training import ExportInfo, export_model, load_exported
from tlsweep.training.export import preprocessing
from tlsweep.training.networks import trained_network
from tlsweep.training.transfer import Transfer

BATCH_NORM = ModelSpec(name="training_networks:with_batch_norm")


@pytest.mark.parametrize("model", [SMALL_CNN, BATCH_NORM], ids=["cnn", "batch-norm"])
@pytest.mark.parametrize("freeze", ["nothing", "backbone"])
def test_the_loaded_network_gives_the_same_outputs(
    digits: Task, train: Train, tmp_path: Path, model: ModelSpec, freeze: str
) -> None:
    checkpoint = train(Hyperparameters(lr=0.05, freeze=freeze), model=model).checkpoints[-1]
    export_model(
        tmp_path / "best", checkpoint, Transfer(digits, model, weights=None, seed=1), metrics={"test": {"f1": 0.5}}
    )
    module, info = load_exported(tmp_path / "best", own_code=True)
    original = trained_network(checkpoint, Transfer(digits, model, weights=None, seed=1)).module.eval()
    images, _ = next(iter(Batches(digits).evaluate("test", 50)))
    with torch.inference_mode():
        assert torch.equal(module(images), original(images))
    assert info.classes == digits.classes
    assert info.metrics == {"test": {"f1": 0.5}}
    packages = ["torch", "torchvision", "safetensors"]
    assert [requirement.partition("==")[0] for requirement in info.model.pop("requires")] == packages
    assert info.model == {"name": model.name, "args": model.args, "num_classes": 10, "channels": 1}


def test_preprocessing_as_written_down_gives_the_batches_of_validation(
    digits: Task, train: Train, tmp_path: Path
) -> None:
    export_model(tmp_path, train().checkpoints[-1], Transfer(digits, SMALL_CNN, weights=None, seed=1), metrics={})
    rule = json.loads((tmp_path / "preprocessing.json").read_text())
    pixels = torch.from_numpy(digits.images[digits.splits["val"]].copy()).permute(0, 3, 1, 2)
    mean, std = (torch.tensor(rule[name]).view(1, -1, 1, 1) for name in ("mean", "std"))
    images, _ = next(iter(Batches(digits).evaluate("val", 10**6)))
    torch.testing.assert_close((pixels / 255 - mean) / std, images)


@pytest.mark.parametrize("fit", ["crop", "pad", "squash"])
@pytest.mark.parametrize("kind", ["colour", "grey", "grey of 12 bits"])
def test_a_new_picture_is_prepared_as_validation_saw_it(tmp_path: Path, fit: str, kind: str) -> None:
    for seed, folder in enumerate(f"{split}/{name}" for split in ("train", "val", "test") for name in ("ant", "bee")):
        (tmp_path / folder).mkdir(parents=True)
        _picture(seed, kind).save(tmp_path / folder / "0.png")
    data = {"source": "folder", "path": str(tmp_path), "image_size": 21, "fit": fit, "background": (9, 8, 7)}
    task = load_task(FolderData.model_validate(data), 0)
    info = ExportInfo({}, task.classes, preprocessing(task), {})
    images, _ = next(iter(Batches(task).evaluate("val", 100)))
    prepared = [info.prepare(Image.open(tmp_path / "val" / name / "0.png")) for name in ("ant", "bee")]
    torch.testing.assert_close(torch.cat(prepared), images)


def test_arrays_are_transformed_as_the_pictures_that_they_hold(digits: Task) -> None:
    transform = ExportInfo({}, digits.classes, preprocessing(digits), {}).transform()
    for kind in ("colour", "grey"):
        image = _picture(1, kind)
        assert torch.equal(transform(np.asarray(image)), transform(image))
        assert image.size == (70, 50)  # one in memory is not used up
    assert transform(_picture(1, "grey")).shape == (1, 8, 8)
    for wrong in (np.zeros((5, 5), np.float32), np.zeros((5, 5, 2), np.uint8), "picture.png"):
        with pytest.raises(DataError, match="not a PIL image or a uint8 array of shape"):
            transform(wrong)


def _picture(seed: int, kind: str) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    if kind == "grey of 12 bits":
        return Image.fromarray(pixels[..., 0].astype(np.uint16) * 16)
    return Image.fromarray(pixels if kind == "colour" else pixels[..., 0])


def test_only_the_named_files_are_left_and_writing_again_replaces_them(
    digits: Task, train: Train, tmp_path: Path
) -> None:
    trial = train(epochs=2)
    for checkpoint in trial.checkpoints:
        export_model(tmp_path, checkpoint, Transfer(digits, SMALL_CNN, weights=None, seed=1), metrics={})
    names = {"model.safetensors", "model.json", "classes.json", "preprocessing.json", "metrics.json"}
    assert {path.name for path in tmp_path.iterdir()} == names
    last = trained_network(trial.checkpoints[-1], Transfer(digits, SMALL_CNN, weights=None, seed=1)).module
    written = load_exported(tmp_path)[0].state_dict()
    assert all(torch.equal(tensor, written[name]) for name, tensor in last.state_dict().items())


@pytest.mark.parametrize("name", ["model.safetensors", "classes.json"])
@pytest.mark.parametrize("damage", ["missing", "truncated"])
def test_a_missing_or_damaged_file_is_one_message(
    digits: Task, train: Train, tmp_path: Path, name: str, damage: str
) -> None:
    export_model(tmp_path, train().checkpoints[-1], Transfer(digits, SMALL_CNN, weights=None, seed=1), metrics={})
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
        export_model(
            tmp_path / "file", train().checkpoints[-1], Transfer(digits, SMALL_CNN, weights=None, seed=1), metrics={}
        )
