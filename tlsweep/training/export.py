"""The fine-tuned network as files that need nothing of tlsweep: safetensors and JSON."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import nn

from tlsweep.data import Task
from tlsweep.errors import ResultsError
from tlsweep.models import Weights, build_network
from tlsweep.spec import ModelSpec
from tlsweep.training.files import write_whole
from tlsweep.training.networks import trained_network

WEIGHTS, MODEL, CLASSES = "model.safetensors", "model.json", "classes.json"
PREPROCESSING, METRICS = "preprocessing.json", "metrics.json"


@dataclass(frozen=True)
class ExportInfo:
    """What has to be known to use an exported network; the contents of the JSON files."""

    model: dict[str, Any]
    """`name`, `args`, `num_classes`, `channels`."""
    classes: tuple[str, ...]
    """Names of the classes, in the order of the logits."""
    preprocessing: dict[str, Any]
    """`channels`, `image_size`, `stored_size`, `resize`, `scale`, `mean`, `std`."""
    metrics: dict[str, Any]
    """What the exporter gave."""


def export_model(
    folder: Path,
    checkpoint: bytes,
    task: Task,
    model: ModelSpec,
    *,
    weights: Weights | None,
    seed: int,
    metrics: Mapping[str, Any],
) -> None:
    """Write the complete network of a checkpoint, frozen parts included, and what is needed to use it.

    The weights are written last: where they are, the other files are.

    Args:
        folder: made if missing; files of the same names are replaced, one by one.
        weights, seed: those of the trial that made the checkpoint.
        metrics: figures to keep beside the network, such as those on the test split.

    Raises:
        ResultsError: the checkpoint cannot be read, or the folder cannot be written.
        ModelError: the checkpoint is of another network.
    """
    module = trained_network(checkpoint, task, model, weights=weights, seed=seed).module
    contents = {
        MODEL: {
            "name": model.name,
            "args": model.args,
            "num_classes": task.num_classes,
            "channels": task.channels,
        },
        CLASSES: task.classes,
        PREPROCESSING: preprocessing(task),
        METRICS: metrics,
    }
    # safetensors refuses tensors that share memory, as those of tied layers do.
    tensors = {name: tensor.detach().clone().contiguous() for name, tensor in module.state_dict().items()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            write_whole(folder / name, json.dumps(content, indent=2).encode())
        write_whole(folder / WEIGHTS, safetensors.torch.save(tensors))
    except OSError as error:
        raise ResultsError(f"the model cannot be written to {folder}: {error.strerror}; check the disk") from error


def preprocessing(task: Task) -> dict[str, Any]:
    """How a picture becomes what the network sees, as validation did it."""
    stored = int(task.images.shape[1])
    return {
        "channels": task.channels,
        "image_size": task.image_size,
        "stored_size": stored,
        "resize": f"short side to {stored} pixels, bilinear with antialias, centre crop to {stored} x {stored}; "
        f"then centre crop to {task.image_size} x {task.image_size}",
        "scale": "divide by 255, subtract mean, divide by std, for each channel",
        "mean": task.mean,
        "std": task.std,
    }


def load_exported(folder: Path) -> tuple[nn.Module, ExportInfo]:
    """The network that `export_model` wrote, in evaluation mode on the CPU, and how to use it.

    Raises:
        ResultsError: a file is missing or damaged.
    """
    try:
        parts = {name: json.loads((folder / name).read_text()) for name in (MODEL, CLASSES, PREPROCESSING, METRICS)}
        tensors = safetensors.torch.load((folder / WEIGHTS).read_bytes())
        architecture = parts[MODEL]
        module = build_network(
            ModelSpec(name=architecture["name"], args=architecture["args"]),
            num_classes=architecture["num_classes"],
            channels=architecture["channels"],
            image_size=parts[PREPROCESSING]["image_size"],
            seed=0,
        ).module
        module.load_state_dict(tensors)
    except (OSError, ValueError, KeyError, SafetensorError, RuntimeError) as error:
        raise ResultsError(f"{folder} does not hold a model exported by tlsweep: {error}; export it again") from error
    info = ExportInfo(parts[MODEL], tuple(parts[CLASSES]), parts[PREPROCESSING], parts[METRICS])
    return module.eval(), info
