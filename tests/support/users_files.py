"""What users have in their working directory: their own code (this file, copied there) and image folders."""

import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn


def stripes(count: int) -> tuple[Any, Any]:
    """`count` images of horizontal and vertical stripes in turn."""
    images = np.zeros((count, 8, 8), np.uint8)
    images[::2, ::2], images[1::2, :, ::2] = 255, 255
    return images, np.arange(count) % 2


def network(num_classes: int, in_channels: int, image_size: int) -> nn.Module:
    """Leaves a trace of the processes it is built in."""
    with open("built", "a") as file:
        file.write(f"{os.getpid()}\n")
    return nn.Sequential(nn.Flatten(), nn.Linear(in_channels * image_size**2, num_classes))


class Gate(nn.Module):
    """Lets eight batches through, and more once the file is there."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path, self._free = path, 8

    def forward(self, images):  # type: ignore[no-untyped-def]
        self._free -= self.training
        while self._free < 0 and not self._path.exists():
            time.sleep(0.05)
        return images


def gated(num_classes: int, in_channels: int, image_size: int, gate: str) -> nn.Module:
    return nn.Sequential(Gate(Path(gate)), nn.Flatten(), nn.Linear(in_channels * image_size**2, num_classes))


def debugged(num_classes: int, in_channels: int, image_size: int) -> nn.Module:
    """Stops at the debugger's prompt when it is built for the first time."""
    assert "ray" not in sys.modules
    answer = 6 * 7
    if not os.path.exists("built"):
        breakpoint()
    assert answer == 42
    return network(num_classes, in_channels, image_size)


def broken(num_classes: int, in_channels: int, image_size: int) -> nn.Module:
    raise ZeroDivisionError("in my own code")


def write_images(root: Path, **counts: int) -> None:
    """Noisy pictures, `counts` in each class folder, each of these with a colour; `train__cat` is train/cat."""
    from PIL import Image

    random = np.random.default_rng(0)
    for number, (name, count) in enumerate(counts.items()):
        folder = root / name.replace("__", "/")
        folder.mkdir(parents=True)
        for at in range(count):
            pixels = random.integers(0, 60, (32, 32, 3), dtype=np.uint8)
            pixels[..., number % 3] += 190
            Image.fromarray(pixels).save(folder / f"{at}.png")
