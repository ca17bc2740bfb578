"""Features of a split under a frozen backbone: computed once, kept under a hash of everything that made them."""

import hashlib
import io
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from tlsweep.data.task import Indices
from tlsweep.models.architectures import is_own_code
from tlsweep.models.features import head_inputs
from tlsweep.models.probe import Progress
from tlsweep.pretrained.kept import kept
from tlsweep.training.devices import Compute, choose_device, isolated, move_to_device
from tlsweep.training.evaluation import evaluation_batch_size, make_batches
from tlsweep.training.microbatch import MicroBatch
from tlsweep.training.networks import new_network
from tlsweep.training.transfer import Transfer

Features = npt.NDArray[np.float32]

VERSION = 3
"""Raised whenever the same arguments give other features, so that kept ones are not used."""


def features(
    transfer: Transfer,
    split: str,
    *,
    cache: Path | None = None,
    compute: Compute = Compute(),
    progress: Progress | None = None,
) -> tuple[Features, Indices]:
    """What goes into the new head for each image of a split, without augmentation, dropout or gradient, and the labels.

    Args:
        transfer: the network; without weights its backbone has the random ones that the seed gives.
        cache: folder to read them from if they are there, and to leave them in: of several processes one computes, the
            others wait for it. Features of your own code are never kept, as that may change; None keeps none.
        compute: what a trial is given; batch norm uses the statistics of the weights, or mean 0 and variance 1.
        progress: told of the images done while they are computed.

    Returns:
        Shapes (N, D) and (N,), in the order of `task.splits[split]`.

    Raises:
        ModelError: the network, the weights and the images do not fit together.
        ResourceError: the device does not exist, or its memory is too small for one image.
        ResultsError: the folder cannot be written.
    """
    labels = transfer.task.labels[transfer.task.splits[split]]
    if cache is None or is_own_code(transfer.model.name):
        return _extract(transfer, split, compute, progress), labels
    path = cache / f"{_key(transfer, split, choose_device(compute.device))}.npy"
    found = kept(
        path,
        "features",
        read=lambda: _read(path, len(labels)),
        make=lambda: _extract(transfer, split, compute, progress),
        as_bytes=_as_file,
    )
    return found, labels


@torch.inference_mode()
def _extract(transfer: Transfer, split: str, compute: Compute, progress: Progress | None) -> Features:
    task = transfer.task
    with isolated(compute) as device:
        network = new_network(transfer)
        network.module.eval()
        batches = make_batches(task, device, channels_last=move_to_device(network.module, device))
        micro_batch = MicroBatch("features", device)
        parts: list[Features] = []
        done = 0
        with head_inputs(network) as extract:
            for images, labels in batches.evaluate(split, evaluation_batch_size(task)):
                found = micro_batch.run(lambda some, _: extract(some), images, labels)
                parts += [part.float().cpu().numpy() for part in found]
                done += len(labels)
                if progress is not None:
                    progress(done, task.size(split))
    return np.concatenate(parts)


def _key(transfer: Transfer, split: str, device: str) -> str:
    """A hash of what the features follow from; where images came from is in the fingerprint, with all splits."""
    task, weights = transfer.task, transfer.weights
    recipe = {
        "version": VERSION,
        # Another version's kernels may add up in another order.
        "torch": torch.__version__,
        "device": torch.device(device).type,
        "data": [task.fingerprint, split, task.image_size, task.mean, task.std],
        "model": [transfer.model.name, transfer.model.args],
        "weights": weights.sha256 if weights else ["random", transfer.seed],
    }
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:32]


def _read(path: Path, count: int) -> Features | None:
    """Read kept features; None where the file is missing or damaged."""
    try:
        # Without pickle, which would run what the file says; an empty file raises EOFError, a torn one ValueError.
        found: Features = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    if found.dtype == np.float32 and found.ndim == 2 and len(found) == count:
        return found
    return None


def _as_file(found: Features) -> bytes:
    file = io.BytesIO()
    np.save(file, found, allow_pickle=False)
    return file.getvalue()
