"""How much of a batch goes through the network at once: all of it, or as much as the device's memory takes.

The batch size is what the mathematics sees; a batch that does not fit is worked on in parts, one after another.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from tlsweep.errors import ResourceError
from tlsweep.models.archives import first_line
from tlsweep.training.devices import device_name, free_memory, generator_states, restore_generators

T = TypeVar("T")


@dataclass
class MicroBatch:
    """The most samples that are worked on at once; halved whenever that was too much, and never raised again."""

    purpose: str
    """What the batches are for; a message says it."""
    device: str
    limit: int | None = None
    """None: whole batches, of any size."""

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise ResourceError(f"micro_batch is {self.limit}; it is at least 1 sample, or None for whole batches")

    def parts(self, samples: int) -> int:
        """Count the nearly equal parts into which a batch is divided.

        A part is a single sample, on which batch norm may not train, only where the limit is 1, or 2 and `samples` odd.
        """
        if self.limit is None:
            return 1
        return math.ceil(samples / self.limit)

    def run(
        self,
        work: Callable[[Tensor, Tensor], T],
        images: Tensor,
        labels: Tensor,
        undo: Callable[[], None] = lambda: None,
    ) -> list[T]:
        """The results of `work` on each part of a batch, in order.

        Where memory runs out, all of it is done again in parts half as large, down to a single sample.

        Args:
            work: takes images (n, C, S, S) and labels (n,).
            images: shape (N, C, S, S).
            labels: shape (N,).
            undo: takes back what an attempt that failed has changed.

        Raises:
            ResourceError: not even one sample fits; caused by torch's error.
        """
        while True:
            parts = self.parts(len(labels))
            try:
                if parts == 1:
                    return [work(images, labels)]
                return [
                    # tensor_split makes them nearly equal; split would leave a rest, perhaps of one image, on which
                    # batch norm cannot train.
                    work(*part)
                    for part in zip(images.tensor_split(parts), labels.tensor_split(parts), strict=True)
                ]
            # Of a GPU alone: on a CPU torch raises a bare RuntimeError, or the kernel ends the process.
            except torch.OutOfMemoryError as error:
                largest = math.ceil(len(labels) / parts)
                if largest == 1:
                    raise self._too_large(images, error) from error
            # Only here, where the error is gone: its traceback holds the frames, and so the tensors, of the attempt.
            self.limit = largest // 2
            undo()
            free_memory(self.device)

    def _too_large(self, images: Tensor, error: torch.OutOfMemoryError) -> ResourceError:
        height, width = images.shape[-2:]
        return ResourceError(
            f"{self.purpose}: the memory of {device_name(self.device)} is too small for a single image of "
            f"{height}x{width} pixels ({first_line(error)}); lower data.image_size, choose a smaller "
            "model.name, or use train.precision bf16"
        )


class ForwardState:
    """What forward passes of training change in passing: buffers (batch norm's statistics) and random generators.

    Kept at each step, because nobody knows which one will fail: 30 µs for the 60 buffers of a resnet18. What a network
    of the user's keeps elsewhere, in attributes that are no buffers or in generators of its own, is not covered.
    """

    def __init__(self, module: nn.Module, device: str) -> None:
        self._device = device
        # Walking the modules costs more than all copies.
        self._owners = [(owner._buffers, name) for owner in module.modules() for name in owner._buffers]
        self._buffers: list[Tensor | None] = []
        self._kept: list[tuple[list[Tensor], list[Tensor]]] = []
        self._generators: tuple[Tensor, ...] = ()

    @torch.no_grad()
    def keep(self) -> None:
        """Remember this moment, instead of the one before."""
        buffers = [owner[name] for owner, name in self._owners]
        if list(map(id, buffers)) != list(map(id, self._buffers)):  # a network may put new ones in their place
            self._buffers, self._kept = buffers, _with_room_for_copies(buffers)
        for tensors, copies in self._kept:
            torch._foreach_copy_(copies, tensors)
        self._generators = generator_states(self._device)

    @torch.no_grad()
    def restore(self) -> None:
        """Go back to the moment that was kept."""
        for (owner, name), buffer in zip(self._owners, self._buffers, strict=True):
            owner[name] = buffer
        for tensors, copies in self._kept:
            torch._foreach_copy_(tensors, copies)
        restore_generators(self._device, self._generators)


def _with_room_for_copies(buffers: list[Tensor | None]) -> list[tuple[list[Tensor], list[Tensor]]]:
    """One pair of lists for each type of number: only such lists are copied by a single kernel on a GPU."""
    by_dtype: dict[torch.dtype, list[Tensor]] = {}
    for buffer in buffers:
        if buffer is not None:
            by_dtype.setdefault(buffer.dtype, []).append(buffer)
    return [(tensors, [torch.empty_like(tensor) for tensor in tensors]) for tensors in by_dtype.values()]
