"""Trials on image files, in memory and on disk, and on photographs with ImageNet weights."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from training_trials import ONE_THREAD, Train

from tlsweep.data import load_task
from tlsweep.data.pixels.mapped import Mapped
from tlsweep.data.pixels.streamed import Streamed
from tlsweep.models import resolve_weights
from tlsweep.spec import Augment, FolderData, Hyperparameters, ModelSpec
from tlsweep.training import evaluate_checkpoint, export_model, load_exported
from tlsweep.training.transfer import Transfer


def test_a_task_on_disk_or_streamed_gives_the_numbers_of_one_in_memory(train: Train, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("ants", "bees"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(12):
            pixels = rng.integers(0, 256, (20, 20, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / name / f"{number}.png")
    data = FolderData(source="folder", path=str(tmp_path / "images"), image_size=16)
    memory, mapped, stream = (
        load_task(data.model_copy(update={"memory_limit": memory, "disk_limit": disk}), 0, cache=tmp_path / "cache")
        for memory, disk in ((2**30, 0), (1, 2**30), (1, 0))
    )
    assert [type(task.images) for task in (memory, mapped, stream)] == [np.ndarray, Mapped, Streamed]
    assert train(task=stream).numbers == train(task=mapped).numbers == train(task=memory).numbers


@pytest.mark.data
def test_photographs_with_a_frozen_imagenet_backbone(train: Train, test_data: Path, tmp_path: Path) -> None:
    """A new head in three epochs; the checkpoint is the head's, the export is complete."""
    data = FolderData(
        source="folder",
        path=str(test_data / "datasets" / "hymenoptera_data"),
        image_size=96,
        augment=Augment(crop="none"),
        on_bad_image="skip",
    )
    model = ModelSpec(
        name="squeezenet1_1", weights=str(test_data / "weights" / "squeezenet1_1_imagenet1k_v1_fp16rounded.pth")
    )
    task, weights = load_task(data, 0), resolve_weights(model)
    hyperparameters = Hyperparameters(lr=3e-3, batch_size=16, optimizer="adam", freeze="backbone")
    trial = train(hyperparameters, task=task, model=model, weights=weights, epochs=3)
    assert trial.rows[-1].val_accuracy > 0.7
    assert len(trial.checkpoints[-1]) < 30_000
    assert weights is not None
    transfer = Transfer(task, model, weights=weights, seed=5)
    evaluation = evaluate_checkpoint(trial.checkpoints[-1], transfer, split="val", compute=ONE_THREAD)
    assert evaluation.loss == trial.rows[-1].val_loss
    export_model(tmp_path, trial.checkpoints[-1], transfer, metrics={})
    exported = load_exported(tmp_path)[0].state_dict()
    assert torch.equal(exported["features.0.weight"], torch.tensor(weights.tensors["features.0.weight"]).float())
