"""Pixels of batches, from memory, mapped, or decoded ahead by worker processes, to the device."""

import warnings
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from tlsweep.data.items import Pixels
from tlsweep.data.pixels.mapped import Mapped, PixelFile
from tlsweep.data.pixels.streamed import Streamed
from tlsweep.data.task import Indices

Bounds = Sequence[tuple[int, int]]


class Reader(Protocol):
    """Something that pixels are read from."""

    def read(self, order: Tensor, bounds: Bounds) -> Iterator[Tensor]:
        """Yield the images at order[start:end], for each of `bounds`: uint8 (B, S, S, C) on the device, contiguous."""


class MemoryReader:
    """An array, on the device as a whole where there is room, else copied batch by batch."""

    def __init__(self, images: npt.NDArray[Any], device: torch.device) -> None:
        with warnings.catch_warnings():
            # Memory maps and Ray's objects are read-only; these pixels are never written to.
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            pixels = torch.from_numpy(images)
        self._device = device
        # The rest of the memory is for the network, and for other trials on this device.
        if device.type == "cuda" and pixels.nbytes <= torch.cuda.mem_get_info(device)[0] // 4:
            pixels = pixels.to(device)
        self._pixels = pixels

    def read(self, order: Tensor, bounds: Bounds) -> Iterator[Tensor]:
        """Read as `Reader.read` says."""
        order = order.to(self._pixels.device)
        for start, end in bounds:
            batch = self._pixels.index_select(0, order[start:end])
            if batch.device != self._device:
                # `non_blocking` holds only for pinned memory: then the copy runs while the GPU computes (torch,
                # Tensor.to).
                batch = batch.pin_memory().to(self._device, non_blocking=True)
            yield batch


class MappedReader:
    """A mapped file, of which the next batch is read from the disk while a network has this one."""

    def __init__(self, file: PixelFile, device: torch.device) -> None:
        self._file, self._device = file, device

    def read(self, order: Tensor, bounds: Bounds) -> Iterator[Tensor]:
        """Read as `Reader.read` says."""
        indices = order.numpy()
        batches = [indices[start:end] for start, end in bounds]
        self._file.announce(indices[slice(*bounds[0])])
        for batch, following in zip_longest(batches, batches[1:], fillvalue=indices[:0]):
            pixels = torch.from_numpy(self._file.load(batch))
            self._file.announce(following)
            if self._device.type == "cuda":
                pixels = pixels.pin_memory()  # as `MemoryReader` does
            yield pixels.to(self._device, non_blocking=True)


class StreamReader:
    """A streamed set, decoded ahead by `workers` processes, which stay for the next pass.

    One pass at a time: starting another ends the one before.
    """

    def __init__(self, images: Streamed, device: torch.device, workers: int) -> None:
        self._device = device
        self._passes = _Passes()
        self._loader: DataLoader[Tensor] = DataLoader(
            _Decoder(images),
            sampler=self._passes,
            # Each index that the sampler gives is a whole batch, which nothing has to collate.
            batch_size=None,
            num_workers=workers,
            persistent_workers=workers > 0,
            # Trials run beside Ray's and torch's threads, which do not survive a fork.
            multiprocessing_context="spawn" if workers else None,
            pin_memory=device.type == "cuda",
            # Its own, because the loader otherwise draws a seed from the global generator.
            generator=torch.Generator(),
        )

    def read(self, order: Tensor, bounds: Bounds) -> Iterator[Tensor]:
        """Read as `Reader.read` says."""
        indices = order.numpy()
        self._passes.batches = [indices[start:end] for start, end in bounds]
        for batch in self._loader:
            yield batch.to(self._device, non_blocking=True)


class _Passes:
    """The sampler of a loader that outlives the order of a pass."""

    def __init__(self) -> None:
        self.batches: list[Indices] = []

    def __iter__(self) -> Iterator[Indices]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


class _Decoder(Dataset[Tensor]):
    """Takes the indices of a whole batch at once."""

    def __init__(self, images: Streamed) -> None:
        self._images = images

    def __getitem__(self, indices: Indices) -> Tensor:
        # Of a trial, as many as it has CPUs; of a process that decodes ahead one (torch/utils/data/_utils/worker.py).
        return torch.from_numpy(self._images.load(np.asarray(indices), torch.get_num_threads()))


def make_reader(images: Pixels | Mapped | Streamed, device: torch.device, workers: int) -> Reader:
    """The reader for what a task holds as `images`."""
    if isinstance(images, np.ndarray):
        return MemoryReader(images, device)
    opened = images.open() if isinstance(images, Mapped) else images
    if isinstance(opened, PixelFile):
        return MappedReader(opened, device)
    return StreamReader(opened, device, workers)
