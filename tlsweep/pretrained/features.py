"""What frozen layers make of images: computed once, kept under a hash of everything that makes it.

`rank`, the probe and heads that are trained behind a frozen backbone all read the same rows.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from tlsweep.data.pixels.cache import default_cache
from tlsweep.data.task import Indices
from tlsweep.models.architectures import is_own_code
from tlsweep.models.features import head_inputs, pooled_map
from tlsweep.models.probe import Progress
from tlsweep.pretrained.rows import Receive, Rows
from tlsweep.spec import TrainSettings
from tlsweep.training.devices import (
    Compute,
    autocast,
    choose_device,
    isolated,
    lower_precision,
    move_to_device,
    uses_channels_last,
)
from tlsweep.training.evaluation import evaluation_batch_size, make_batches
from tlsweep.training.microbatch import MicroBatch
from tlsweep.training.networks import new_network
from tlsweep.training.transfer import Transfer

Features = npt.NDArray[np.float32]

VERSION = 4
"""Raised whenever the same arguments give other features, so that kept ones are not used."""


def feature_cache() -> Path:
    """The folder in which features are kept."""
    return default_cache() / "features"


_PLAIN = TrainSettings(precision="fp32")
"""Rankings and probes compute in float32 whatever trials do, as the regression does."""


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
    task = transfer.task
    wanted = task.splits[split]
    labels = task.labels[wanted]
    device = choose_device(compute.device)
    vectors = _Extraction(transfer, _PLAIN, compute, maps=False, progress=progress)
    if cache is None or is_own_code(transfer.model.name):
        parts: list[Features] = []
        vectors(wanted, lambda _, rows: parts.append(rows))
        return np.concatenate(parts), labels
    maps = Rows(cache / _key(transfer, _PLAIN, device, maps=True), len(task.labels)).found(wanted)
    if maps is not None:
        return _pooled(maps, wanted, transfer, device), labels
    rows = Rows(cache / _key(transfer, _PLAIN, device, maps=False), len(task.labels))
    return rows.filled(wanted, vectors)[wanted], labels


@dataclass(frozen=True)
class KeptFeatures:
    """The features of all images that are trained on or validated, for heads that are trained behind frozen layers."""

    cache: Path
    """The folder that they are kept in."""
    tell: Callable[[str], None] = lambda line: None
    """Says what a person should know."""
    progress: Progress | None = None
    """Told of the images done while features are computed."""

    def rows(self, run: Transfer, settings: TrainSettings, device: str, *, maps: bool) -> Features:
        """Give them as `tlsweep.training.frozen.FeatureSource` says.

        Raises:
            NoRoomError: they take too much of the disk.
            ModelError, ResourceError, ResultsError: as `features`.
        """
        task = run.task
        wanted = np.union1d(task.splits["train"], task.splits["val"])
        path = self.cache / _key(run, settings, device, maps=maps)
        extraction = _Extraction(run, settings, Compute(device), maps=maps, progress=self.progress)
        return Rows(path, len(task.labels), self.tell).filled(wanted, extraction)


@dataclass(frozen=True)
class _Extraction:
    """Computes features."""

    transfer: Transfer
    settings: TrainSettings
    compute: Compute
    maps: bool
    progress: Progress | None

    @torch.inference_mode()
    def __call__(self, wanted: Indices, receive: Receive) -> None:
        """Compute those of some images; maps in the memory format of the images."""
        task = replace(self.transfer.task, splits={"wanted": wanted})
        with isolated(self.compute) as device, autocast(self.settings, device):
            network = new_network(self.transfer)
            network.module.eval()
            channels_last = move_to_device(network.module, device, self.settings.channels_last)
            batches = make_batches(task, device, channels_last=channels_last)
            micro_batch = MicroBatch("features", device)
            done = 0
            with head_inputs(network, maps=self.maps) as extract:
                for images, labels in batches.evaluate("wanted", evaluation_batch_size(task)):
                    for part in micro_batch.run(lambda some, _: extract(some), images, labels):
                        turned = part.permute(0, 2, 3, 1) if part.ndim == 4 and channels_last else part
                        # In float32 all that autocast gives is exact.
                        receive(wanted[done : done + len(part)], turned.float().cpu().numpy())
                        done += len(part)
                    if self.progress is not None:
                        self.progress(done, len(wanted))


def _pooled(maps: Features, wanted: Indices, transfer: Transfer, device: str) -> Features:
    """The mean over the places of each map."""
    channels_last = uses_channels_last(new_network(transfer).module, device)
    size = evaluation_batch_size(transfer.task)
    parts = []
    for start in range(0, len(wanted), size):
        part = torch.from_numpy(maps[wanted[start : start + size]])
        parts.append(pooled_map(part.permute(0, 3, 1, 2) if channels_last else part).numpy())
    return np.concatenate(parts)


def _key(transfer: Transfer, settings: TrainSettings, device: str, *, maps: bool) -> str:
    """A hash of what the features follow from: of the images, not of their splits."""
    task, weights = transfer.task, transfer.weights
    recipe = {
        "version": VERSION,
        # Another version's kernels may add up in another order.
        "torch": torch.__version__,
        "device": torch.device(device).type,
        "precision": str(lower_precision(settings, device)),
        "channels_last": settings.channels_last,
        "maps": maps,
        "data": [task.pixels or task.fingerprint, task.image_size, task.mean, task.std],
        "model": [transfer.model.name, transfer.model.args],
        "weights": weights.sha256 if weights else ["random", transfer.seed],
    }
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:32]
