"""Epochs in which the backbone is frozen: heads are trained on features that are computed once for all trials."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tlsweep.data.batches import Batches, BatchSource, RowBatches
from tlsweep.data.pixels.readers import MemoryReader
from tlsweep.data.task import Task
from tlsweep.errors import TlsweepError
from tlsweep.models import frozen_groups
from tlsweep.models.architectures import is_own_code
from tlsweep.models.features import head_inputs, sees_maps
from tlsweep.models.network import Network
from tlsweep.models.tail import find_tail
from tlsweep.spec import Hyperparameters, TrainSettings
from tlsweep.spec.augmentation import STRENGTHS
from tlsweep.training.transfer import Transfer

_COMPARED = 2
"""Images on which a head on kept features is compared with the whole network before it is trained so."""


class FeatureSource(Protocol):
    """Gives what goes into the heads of trials, computed once for all of them."""

    def rows(self, run: Transfer, settings: TrainSettings, device: str, *, maps: bool) -> npt.NDArray[np.float32]:
        """What frozen layers make of each image of `run` that is trained on or validated, at its index: shape (N, D);
        maps for a head that is a convolution (N, C, H, W), or (N, H, W, C) where images are channels last.

        Raises:
            TlsweepError: they cannot be computed or kept.
        """

    def tell(self, line: str) -> None:
        """Say something to whoever reads what the trial prints."""


@dataclass(frozen=True)
class Way:
    """How the logits of images come about."""

    batches: BatchSource
    """Images, or the features that stand for them."""
    forward: Callable[[Tensor], Tensor]
    """Makes logits (N, classes) of them."""


def unfit(hyperparameters: Hyperparameters, task: Task, run: Transfer) -> str | None:
    """Say why the frozen layers do not give the same numbers in each epoch of each trial; None where they do."""
    if run.weights is None:
        return "they have random weights, which are others in each trial"
    if is_own_code(run.model.name):
        return f"{run.model.name} is own code, which may change"
    if fields := changing(hyperparameters, task):
        return f"training images change at random ({', '.join(fields)})"
    return None


def changing(hyperparameters: Hyperparameters, task: Task) -> list[str]:
    """Name the fields by which training images are changed at random."""
    plain = Hyperparameters()
    fields = ["data.augment.crop"] if task.augment.crop != "none" else []
    fields += ["data.augment.flip"] if task.augment.flip else []
    # rand_augment_ops and its like do nothing by themselves.
    acting = [name for name in STRENGTHS if not name.startswith("rand_augment_")]
    return fields + [f"train.{name}" for name in acting if getattr(hyperparameters, name) != getattr(plain, name)]


def stays_frozen(hyperparameters: Hyperparameters, network: Network, last_step: float) -> bool:
    """Whether nothing but the head learns until a step at this progress (0 to 1) of the training."""
    backbone = len(network.groups) - 1
    return frozen_groups(hyperparameters.freeze, len(network.groups), last_step) == backbone


def on_features(
    network: Network,
    batches: Batches,
    rows: npt.NDArray[np.float32] | None,
    *,
    device: str,
    channels_last: bool,
    seeded: Callable[[], Any],
) -> Way:
    """The way through kept features, tried on some images. Without any those of one image stand for all, to see whether
    it can be gone, and how long that takes.

    The network must be in the mode in which it will be used.

    Raises:
        TailUnfitError: that does not give the logits of the network.
    """
    images, _ = next(iter(batches.evaluate("train", _COMPARED)))
    maps = sees_maps(network)
    there = rows
    if there is None:
        there = _of_one_image(network, images[:1], batches.images, turned=maps and channels_last)
    reader = _FeatureReader(there, torch.device(device), as_maps=maps, channels_last=channels_last)
    kept = RowBatches(batches, reader, there[0].size)
    values, _ = next(iter(kept.evaluate("train", _COMPARED)))
    return Way(kept, find_tail(network, images, None if rows is None else values, seeded))


def evaluated_way(
    network: Network,
    batches: Batches,
    run: Transfer,
    source: FeatureSource,
    *,
    settings: TrainSettings,
    device: str,
    channels_last: bool,
) -> Way:
    """How a network that is evaluated makes logits of the images that are trained on or validated.

    Its layers but for the head must be as in the base weights. Where their features cannot be had, all layers compute.
    """
    with suppress(TlsweepError, OSError):  # the latter of a cache that goes away
        rows = source.rows(run, settings, device, maps=sees_maps(network))
        return on_features(network, batches, rows, device=device, channels_last=channels_last, seeded=lambda: None)
    return Way(batches, network.module)


@torch.no_grad()
def _of_one_image(network: Network, image: Tensor, count: int, *, turned: bool) -> npt.NDArray[np.float32]:
    """As many features as there are images, all of them those of one, which take the memory of one."""
    with head_inputs(network, maps=sees_maps(network)) as extract:
        given = extract(image).float()
    rows = (given.permute(0, 2, 3, 1) if turned else given).cpu().numpy()
    return np.broadcast_to(rows, (count, *rows.shape[1:]))


class _FeatureReader(MemoryReader):
    """Features in the memory format in which the frozen layers give them, which dropout fills in its order."""

    def __init__(
        self, rows: npt.NDArray[np.float32], device: torch.device, *, as_maps: bool, channels_last: bool
    ) -> None:
        super().__init__(rows, device)
        self._turned = as_maps and channels_last

    def read(self, order: Tensor, bounds: Any) -> Iterator[Tensor]:
        """Read as `Reader.read` says: shape (B, D) or (B, C, H, W)."""
        for values in super().read(order, bounds):
            yield values.permute(0, 3, 1, 2) if self._turned else values
