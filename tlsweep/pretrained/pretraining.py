"""Weights from a source task: trained once, kept under a hash of everything that made them."""

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import safetensors.numpy

from tlsweep.data import Task
from tlsweep.errors import ModelError
from tlsweep.models import Weights, read_weights
from tlsweep.models.statistics import Statistics
from tlsweep.pretrained.kept import kept
from tlsweep.spec import ModelSpec, SourceTask, TrainSettings, derive_seed
from tlsweep.spec.federation.fitting import OF_FEDERATION
from tlsweep.training.devices import Compute
from tlsweep.training.finetuning import finetune
from tlsweep.training.networks import trained_network
from tlsweep.training.reports import EpochReport, Snapshot
from tlsweep.training.transfer import Transfer

Progress = Callable[[int, int], None]
"""Called with epochs done and epochs in all."""

VERSION = 1
"""Raised whenever training gives other weights from the same arguments, so that kept ones are not used."""


def source_key(source: SourceTask, model: ModelSpec, seed: int, fingerprint: str) -> str:
    """A hash of what the weights follow from: the images, the training, the architecture, the seed.

    Args:
        source: only `epochs` and `train` count; where the images came from is in the fingerprint.
        model: only name and arguments count.
        seed: initialisation, order, augmentation and dropout follow from it.
        fingerprint: that of the source's `Task`.
    """
    recipe = {
        "version": VERSION,
        "data": fingerprint,
        "epochs": source.epochs,
        # None is a federation; and so the weights that earlier versions kept have the same key.
        "train": source.train.model_dump(mode="json", exclude=set(OF_FEDERATION)),
        "model": [model.name, model.args],
        "seed": seed,
    }
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:16]


def pretrain(
    source: SourceTask,
    model: ModelSpec,
    task: Task,
    *,
    seed: int,
    compute: Compute = Compute(),
    progress: Progress | None = None,
) -> Weights:
    """Train from random weights on a source task and return the weights of the last epoch, head included.

    Args:
        task: the images of `source.data`.

    Raises:
        ModelError: training diverged.
    """
    key = source_key(source, model, seed, task.fingerprint)
    # With a trial's own seed its new head would begin as the source's did, and gain what no other seed gains.
    transfer = Transfer(
        task, model.model_copy(update={"weights": None}), weights=None, seed=derive_seed(seed, "pretraining")
    )
    checkpoint = b""

    def report(row: EpochReport, snapshot: Snapshot) -> None:
        nonlocal checkpoint
        if not math.isfinite(row.train_loss):
            raise ModelError(
                f"pretraining on the source task diverged in epoch {row.epoch} with lr {source.train.lr}; "
                "lower model.weights.train.lr"
            )
        if row.epoch == source.epochs:
            checkpoint = snapshot()()
        if progress is not None:
            progress(row.epoch, source.epochs)

    settings = TrainSettings(epochs=source.epochs)
    finetune(source.train, settings, transfer, report=report, compute=compute)
    module = trained_network(checkpoint, transfer).module
    return Weights.from_state_dict(module.state_dict(), _origin(key), source_statistics(task))


def pretrained(
    source: SourceTask,
    model: ModelSpec,
    task: Task,
    *,
    seed: int,
    cache: Path,
    compute: Compute = Compute(),
    progress: Progress | None = None,
) -> Weights:
    """Do what `pretrain` does, once: read from `cache` if they are there. Of several processes one trains, the others
    wait for it; a damaged file is made again.

    Raises:
        ModelError: training diverged.
        ResultsError: the folder cannot be written.
    """
    path = _path(source, model, task, seed, cache)
    return kept(
        path,
        "weights of the source task",
        read=lambda: cached_weights(source, model, task, seed=seed, cache=cache),
        make=lambda: pretrain(source, model, task, seed=seed, compute=compute, progress=progress),
        as_bytes=lambda weights: safetensors.numpy.save(dict(weights.tensors)),
    )


def cached_weights(source: SourceTask, model: ModelSpec, task: Task, *, seed: int, cache: Path) -> Weights | None:
    """The weights that `pretrained` left in `cache`; None where there are none, or the file is damaged."""
    path = _path(source, model, task, seed, cache)
    try:
        weights = read_weights(path) if path.exists() else None
    except ModelError:
        return None
    origin = _origin(source_key(source, model, seed, task.fingerprint))
    return weights and replace(weights, origin=origin, statistics=source_statistics(task))


def source_statistics(task: Task) -> Statistics:
    """Find what the images of a source task are normalised with while its weights are trained."""
    return Statistics(task.mean, task.std, "as the source task's images were")


def _path(source: SourceTask, model: ModelSpec, task: Task, seed: int, cache: Path) -> Path:
    return cache / f"source-{source_key(source, model, seed, task.fingerprint)}.safetensors"


def _origin(key: str) -> str:
    return f"source task {key}"
