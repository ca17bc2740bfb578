"""Batches of a task on a device: the same for the same seed, whatever ran before in the process."""

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from tlsweep.data.augmentation.changing import VALUES_AT_ONCE, Changer
from tlsweep.data.order import epoch_order
from tlsweep.data.pixels.readers import Reader, make_reader
from tlsweep.data.task import Indices, Task
from tlsweep.spec import Hyperparameters, derive_seed

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


def batches_together(bounds: Sequence[tuple[int, int]], images: int) -> list[list[tuple[int, int]]]:
    """Neighbouring batches that have at most `images` together, or a single larger one.

    >>> batches_together([(0, 4), (4, 8), (8, 9)], 8)
    [[(0, 4), (4, 8)], [(8, 9)]]
    """
    groups: list[list[tuple[int, int]]] = []
    for start, end in bounds:
        if groups and end - groups[-1][0][0] <= images:
            groups[-1].append((start, end))
        else:
            groups.append([(start, end)])
    return groups


class BatchSource(Protocol):
    """What a network goes through: images, or what stands for them."""

    def train(self, epoch: int, batch_size: int, seed: int, among: Tensor | None = None) -> Iterator[Batch]:
        """Give the batches of an epoch of training; on images with the indices `among`, if that is given."""

    def evaluate(self, split: str, batch_size: int) -> Iterator[Batch]:
        """Give a split in its own order."""


class Batches:
    """Images (B, C, image_size, image_size), float32, normalised, and labels (B,), int64, on `device`.

    Where images are mixed in training, their targets are instead probabilities (B, classes), float32.

    Args:
        task: images and splits.
        strengths: those hyperparameters count that say how training images are changed.
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
        strengths: Hyperparameters = Hyperparameters(),
        *,
        device: str = "cpu",
        channels_last: bool = False,
        workers: int = 0,
        sampler: str = "shuffle",
        beside: "Batches | None" = None,
    ) -> None:
        self._task, self._sampler = task, sampler
        self._device = torch.device(device)
        form = torch.channels_last if channels_last else torch.contiguous_format
        self._changer = Changer(task, strengths, self._device, form)
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

    @property
    def images(self) -> int:
        """How many there are, of all splits."""
        return len(self._labels)

    def train(self, epoch: int, batch_size: int, seed: int, among: Tensor | None = None) -> Iterator[Batch]:
        """As many images as the training split has, in the sampler's order and augmented, as `seed` and `epoch` say.

        What happens to a sample does not depend on `batch_size`. A last batch may be smaller, but not a single sample.
        With `among`, indices of images, these take the place of the training split.
        """
        order = self._order(epoch, seed, among)
        return self._changed(order, seed, epoch, batch_bounds(len(order), batch_size))

    def _order(self, epoch: int, seed: int, among: Tensor | None) -> Tensor:
        """The training images, or those `among`, in the order of an epoch."""
        indices = self._indices["train"] if among is None else among
        shuffle = torch.Generator().manual_seed(derive_seed(seed, "order", epoch))
        return indices[epoch_order(self._sampler, self._labels[indices], shuffle)]

    def preview(self, indices: Indices, seed: int) -> Tensor:
        """What the first epoch makes of some images, as one batch."""
        images, _ = next(self._changed(torch.from_numpy(indices), seed, 0, [(0, len(indices))]))
        return self._changer.pixels(images)

    def _changed(self, order: Tensor, seed: int, epoch: int, bounds: Sequence[tuple[int, int]]) -> Iterator[Batch]:
        """Images in this order, changed, in batches."""
        drawn = self._changer.draw(len(order), seed, epoch)
        groups = batches_together(bounds, self._changer.images_at_once)
        parts = [(group[0][0], group[-1][1]) for group in groups]
        if self._changer.mixes:
            # Each part has one image more: the one that its last is mixed with, changed as in the next part. So
            # mixtures do not depend on the batch size, and an image is read twice for each part.
            order, parts = torch.cat([order, order[:1]]), [(start, end + 1) for start, end in parts]
        labels = self._labels[order].to(self._device)
        for group, (start, end), pixels in zip(groups, parts, self._train_reader.read(order, parts), strict=True):
            here = drawn.rows(start, end)
            images, targets = self._changer.prepare(pixels, here), self._changer.targets(labels[start:end], here)
            sizes = [behind - first for first, behind in group]
            yield from zip(torch.split(images, sizes), torch.split(targets, sizes), strict=True)

    def evaluate(self, split: str, batch_size: int) -> Iterator[Batch]:
        """A split in its own order, cropped to the centre, without anything random."""
        for pixels, labels in self._in_turn(split, batch_size, self._reader):
            yield self._changer.unchanged(pixels), labels

    def _in_turn(self, split: str, batch_size: int, reader: Reader) -> Iterator[Batch]:
        order = self._indices[split]
        bounds = [(start, min(start + batch_size, len(order))) for start in range(0, len(order), batch_size)]
        return self._read(order, bounds, reader)

    def _read(self, order: Tensor, bounds: Sequence[tuple[int, int]], reader: Reader) -> Iterator[Batch]:
        """What a reader has of the images in this order, as it is, and their labels."""
        labels = self._labels[order].to(self._device)
        for (start, end), values in zip(bounds, reader.read(order, bounds), strict=True):
            yield values, labels[start:end]


class RowBatches:
    """In place of each image what a reader has of it, in the orders and batches of the images themselves."""

    def __init__(self, batches: Batches, reader: Reader, values: int) -> None:
        """`values` are in one row."""
        self._batches, self._reader = batches, reader
        self._rows_at_once = VALUES_AT_ONCE // values

    def train(self, epoch: int, batch_size: int, seed: int, among: Tensor | None = None) -> Iterator[Batch]:
        """As `Batches.train` without anything random but the order."""
        order = self._batches._order(epoch, seed, among)
        groups = batches_together(batch_bounds(len(order), batch_size), self._rows_at_once)
        parts = [(group[0][0], group[-1][1]) for group in groups]
        for group, (rows, labels) in zip(groups, self._batches._read(order, parts, self._reader), strict=True):
            sizes = [behind - first for first, behind in group]
            yield from zip(torch.split(rows, sizes), torch.split(labels, sizes), strict=True)

    def evaluate(self, split: str, batch_size: int) -> Iterator[Batch]:
        """As `Batches.evaluate`."""
        return self._batches._in_turn(split, batch_size, self._reader)
