"""Batches of a task on a device: the same for the same seed, whatever ran before in the process."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from tlsweep.data import augment
from tlsweep.data.order import epoch_order
from tlsweep.data.readers import Reader, make_reader
from tlsweep.data.task import Task
from tlsweep.spec import derive_seed

Batch = tuple[Tensor, Tensor]


def batch_bounds(count: int, batch_size: int) -> list[tuple[int, int]]:
    """Start and end of each batch. A single sample left over joins the batch before it: batch norm cannot train on one.

    >>> batch_bounds(9, 4)
    [(0, 4), (4, 9)]
    """
    starts = list(range(0, count, batch_size))
    if batch_size > 1 and len(starts) > 1 and count - starts[-1] == 1:
        starts.pop()
    return list(zip(starts, [*starts[1:], count], strict=True))


class Batches:
    """Images (B, C, image_size, image_size), float32, normalised, and labels (B,), int64, on `device`.

    Args:
        task: images and splits.
        device: the one on which batches are made and augmented.
        channels_last: memory format of the images.
        workers: processes that decode a streamed task ahead; a task in memory needs none.
        sampler: `train.sampler`, what an epoch of training consists of.
        beside: those of another view of the same images on the same device, whose readers these share. Of streamed
            sets then only one of both may be read at a time.
    """

    def __init__(
        self,
        task: Task,
        *,
        device: str = "cpu",
        channels_last: bool = False,
        workers: int = 0,
        sampler: str = "shuffle",
        beside: "Batches | None" = None,
    ) -> None:
        self._task, self._sampler = task, sampler
        self._device = torch.device(device)
        self._format = torch.channels_last if channels_last else torch.contiguous_format
        self._side, self._size = int(task.images.shape[1]), task.image_size
        self._train_reader: Reader = beside._train_reader if beside else make_reader(task.images, self._device, workers)
        # A streamed set needs a second one, so that an evaluation does not end a pass of training.
        if beside:
            self._reader: Reader = beside._reader
        elif isinstance(task.images, np.ndarray):
            self._reader = self._train_reader
        else:
            self._reader = make_reader(task.images, self._device, workers)
        self._indices = {name: torch.from_numpy(split.astype(np.int64)) for name, split in task.splits.items()}
        self._labels = torch.from_numpy(task.labels.astype(np.int64))
        mean, std = (torch.tensor(values, device=self._device).view(1, -1, 1, 1) for values in (task.mean, task.std))
        # (pixel / 255 - mean) / std as one product and one sum.
        self._scale, self._offset = 1 / (255 * std), -mean / std

    def train(self, epoch: int, batch_size: int, seed: int) -> Iterator[Batch]:
        """As many images as the training split has, in the sampler's order and augmented, as `seed` and `epoch` say.

        What happens to a sample does not depend on `batch_size`. A last batch may be smaller, but not a single sample.
        """
        indices = self._indices["train"]
        shuffle = torch.Generator().manual_seed(derive_seed(seed, "order", epoch))
        order = indices[epoch_order(self._sampler, self._labels[indices], shuffle)]
        drawn = augment.draw(len(indices), derive_seed(seed, "augment", epoch)).to(self._device)
        labels = self._labels[order].to(self._device)
        bounds = batch_bounds(len(indices), batch_size)
        for (start, end), pixels in zip(bounds, self._train_reader.read(order, bounds), strict=True):
            yield self._augmented(pixels, drawn[start:end]), labels[start:end]

    def evaluate(self, split: str, batch_size: int) -> Iterator[Batch]:
        """A split in its own order, cropped to the centre, without anything random."""
        order = self._indices[split]
        labels = self._labels[order].to(self._device)
        bounds = [(start, min(start + batch_size, len(order))) for start in range(0, len(order), batch_size)]
        for (start, end), pixels in zip(bounds, self._reader.read(order, bounds), strict=True):
            yield self._normalised(self._centre(pixels)), labels[start:end]

    def _augmented(self, pixels: Tensor, drawn: Tensor) -> Tensor:
        wanted = self._task.augment
        if wanted.crop == "shift":
            padding = augment.padding_of(self._side, self._size)
            pixels = augment.pad(pixels, padding) if padding else pixels
            pixels = augment.shift_crop(pixels, drawn, self._size)
        elif wanted.crop == "none":
            pixels = self._centre(pixels)
        images = self._normalised(pixels)
        if wanted.crop == "resized":
            images = augment.resized_crop(images, drawn, self._size)
        if wanted.flip:
            images = augment.flip(images, drawn)
        return images.contiguous(memory_format=self._format)

    def _centre(self, pixels: Tensor) -> Tensor:
        margin = (self._side - self._size) // 2
        return pixels[:, margin : margin + self._size, margin : margin + self._size]

    def _normalised(self, pixels: Tensor) -> Tensor:
        """Normalise uint8 (B, H, W, C) to float32 (B, C, H, W); only the copy is new memory."""
        images = pixels.permute(0, 3, 1, 2).to(torch.float32, memory_format=self._format)
        return images.mul_(self._scale).add_(self._offset)
