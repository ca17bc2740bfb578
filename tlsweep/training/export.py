"""The fine-tuned network as files that need nothing of tlsweep: safetensors and JSON."""

import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from tlsweep.data import Task
from tlsweep.data.batches import Batches
from tlsweep.errors import ModelError
from tlsweep.files import StorageError, write_whole
from tlsweep.models.architectures import complete_args, construct, keeps_memory
from tlsweep.models.loading import load_state
from tlsweep.models.rebuilding import DIFFERENT, same_outputs
from tlsweep.models.statistics import PREPROCESSING
from tlsweep.spec import ModelSpec
from tlsweep.training.exported import CLASSES, METRICS, MODEL, WEIGHTS
from tlsweep.training.networks import trained_network
from tlsweep.training.transfer import Transfer

_COMPARED = 8
"""Validation images."""


def export_model(folder: Path, checkpoint: bytes | None, transfer: Transfer, *, metrics: Mapping[str, Any]) -> None:
    """Write the complete network of a checkpoint, frozen parts included, and what is needed to use it.

    The weights are written last: where they are, the other files are.

    Args:
        folder: made if missing; files of the same names are replaced, one by one.
        checkpoint: None for what the trial begins with.
        transfer: that of the trial that made the checkpoint.
        metrics: figures to keep beside the network, such as those on the test split.

    Raises:
        ResultsError: the checkpoint cannot be read, or the folder cannot be written.
        ModelError: the checkpoint is of another network.
    """
    task, model = transfer.task, transfer.model
    module = trained_network(checkpoint, transfer).module
    contents: dict[str, Any] = {
        MODEL: {
            "name": model.name,
            "args": complete_args(model, task.image_size),
            "num_classes": task.num_classes,
            "channels": task.channels,
            "requires": _requires(model),
        },
        CLASSES: task.classes,
        PREPROCESSING: preprocessing(task),
        METRICS: metrics,
    }
    # safetensors refuses tensors that share memory, as those of tied layers do.
    tensors = {name: tensor.detach().clone().contiguous() for name, tensor in module.state_dict().items()}
    _check_rebuilding(module, tensors, contents[MODEL], task)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            write_whole(folder / name, json.dumps(content, indent=2).encode(), sync=True)
        write_whole(folder / WEIGHTS, safetensors.torch.save(tensors), sync=True)
    except OSError as error:
        reason = f"the model cannot be written to it: {error.strerror}"
        raise StorageError(reason, str(folder), error.errno) from error


def _requires(model: ModelSpec) -> list[str]:
    """What to install where the network is built without tlsweep, in these versions."""
    packages = ("torch", "torchvision", "safetensors", *model.packages)
    # Which build of PyTorch it was (+cpu, +cu130) is the other machine's affair.
    return [f"{name}=={version(name).partition('+')[0]}" for name in packages]


def _check_rebuilding(module: nn.Module, tensors: dict[str, Tensor], architecture: dict[str, Any], task: Task) -> None:
    """Build the network from what is about to be written, and compare the logits of some validation images.

    Raises:
        ModelError: they differ.
    """
    again = ModelSpec(name=architecture["name"], args=architecture["args"])
    with torch.random.fork_rng(devices=[]):
        twin = construct(again, task.num_classes, task.channels, task.image_size, without_values=True)
    load_state(twin, tensors, assign=not keeps_memory(again.name))
    images, _ = next(iter(Batches(task).evaluate("val", _COMPARED)))
    if not same_outputs(module, twin, images):
        raise ModelError(f"the network of model.name {again.name} is not exported: {DIFFERENT}")


def preprocessing(task: Task) -> dict[str, Any]:
    """How a picture becomes what the network sees, as validation did it."""
    stored, look = int(task.images.shape[1]), task.rendering
    how = f"{look.interpolation} with antialias"
    resize = {
        "crop": f"short side to {stored} pixels, {how}, centre crop to {stored} x {stored}",
        "pad": f"long side to {stored} pixels, {how}, background beside it to {stored} x {stored}",
        "squash": f"to {stored} x {stored} pixels, {how}, whatever the aspect",
    }
    return {
        "channels": task.channels,
        "image_size": task.image_size,
        "stored_size": stored,
        "depth": f"of images with more than 8 bits a channel the highest 8 of {look.bits} (shift right by "
        f"{look.bits - 8})",
        "bits": look.bits,
        "background": look.background,
        "fit": look.fit,
        "interpolation": look.interpolation,
        "resize": f"{resize[look.fit]}; then centre crop to {task.image_size} x {task.image_size}",
        "scale": "divide by 255, subtract mean, divide by std, for each channel",
        "mean": task.mean,
        "std": task.std,
    }
