"""What augmentation costs: per image and kind, and as a share of a plain training loop.

    python tests/bench/augment.py [--sizes 32 224] [--loops]

Processor time on one thread, from stored pixels (uint8, colour) to what the network gets. `--loops` trains
the small CNN on 32 pixels and the MLP on 28 instead, by tlsweep's batches and by a bare loop (the same network,
optimizer and batch size, images that lie normalised in memory, shuffled by one index for each batch); ratios within one
run count.
"""

import argparse
import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from tlsweep.data import Task
from tlsweep.data.batches import Batches
from tlsweep.data.moments import moments_of
from tlsweep.models import build_network
from tlsweep.spec import Augment, Hyperparameters, ModelSpec
from tlsweep.spec.augmentation import PRESETS

KINDS: dict[str, dict[str, Any]] = {
    "normalised only": {},
    "crop: shift": {"crop": "shift"},
    "crop: resized": {"crop": "resized"},
    "flip": {"flip": True},
    "auto_augment: trivial": {"auto_augment": "trivial"},
    "auto_augment: rand, two ops": {"auto_augment": "rand"},
    "color_jitter 0.4": {"color_jitter": 0.4},
    "vertical_flip 0.5": {"vertical_flip": 0.5},
    "rotation 15": {"rotation": 15.0},
    "random_erasing 0.25": {"random_erasing": 0.25},
    "mixup 0.2": {"mixup": 0.2},
    "cutmix 1": {"cutmix": 1.0},
    **{f"preset {name}": {**meant["data"], **meant["train"]} for name, meant in PRESETS.items() if name != "none"},
}


def make_task(size: int, count: int, channels: int = 3, **changes: Any) -> tuple[Task, Hyperparameters]:
    """Random images, stored as `data.augment` has them stored, and the strengths."""
    augment = Augment(crop=changes.pop("crop", "none"), flip=changes.pop("flip", False))
    side = size if augment.crop == "none" or size <= 64 else round(size * 8 / 7)
    images = np.random.default_rng(0).integers(0, 256, (count, side, side, channels), dtype=np.uint8)
    splits = {"train": np.arange(count), "val": np.arange(2), "test": np.arange(2)}
    task = Task(
        images=images, labels=np.arange(count) % 10, splits=splits, classes=tuple("0123456789"), mean=(0.4,) * channels,
        std=(0.2,) * channels, image_size=size, augment=augment, moments=moments_of(images[:2]), fingerprint="",
    )  # fmt: skip
    return task, Hyperparameters(**changes)


def seconds(work: Callable[[], None], repeats: int) -> float:
    """Processor time of the best of some runs: other programs disturb it least."""
    found = []
    for _ in range(repeats):
        started = time.process_time()
        work()
        found.append(time.process_time() - started)
    return min(found)


def per_image(size: int, count: int, batch_size: int) -> dict[str, float]:
    """Microseconds for each kind."""
    costs = {}
    for name, changes in KINDS.items():
        batches = Batches(*make_task(size, count, **changes))

        def one_epoch(batches: Batches = batches) -> None:
            for _ in batches.train(0, batch_size, 0):
                pass

        costs[name] = 1e6 * seconds(one_epoch, 5) / count
    return costs


LOOPS: dict[str, tuple[ModelSpec, int, int, int, dict[str, Any]]] = {
    "cnn, 32 pixels, batch 64": (ModelSpec(name="cnn"), 32, 3, 64, {"lr": 1e-3}),
    "mlp 128-64-10, 28 pixels, batch 32": (ModelSpec(name="mlp"), 28, 1, 32, {"lr": 0.1}),
}


def train(module: torch.nn.Module, batches: Iterable[tuple[Tensor, Tensor]], lr: float) -> None:
    optimizer = torch.optim.SGD(module.parameters(), lr=lr, momentum=0.9)
    for images, labels in batches:
        optimizer.zero_grad()
        F.cross_entropy(module(images), labels).backward()
        optimizer.step()


def bare_batches(images: Tensor, labels: Tensor, batch_size: int) -> Iterable[tuple[Tensor, Tensor]]:
    for chosen in torch.randperm(len(images)).split(batch_size):
        yield images[chosen], labels[chosen]


def throughput(name: str, presets: Iterable[str], rounds: int) -> dict[str, float]:
    """Images a second with each preset, as a share of the bare loop's."""
    model, size, channels, batch_size, options = LOOPS[name]
    count = 40 * batch_size
    module = build_network(model, num_classes=10, channels=channels, image_size=size, seed=0).module
    best = dict.fromkeys(("bare", *presets), np.inf)
    plain, _ = make_task(size, count, channels)
    images = (torch.from_numpy(plain.images).permute(0, 3, 1, 2).float() / 255 - 0.4) / 0.2
    images, labels = images.contiguous(), torch.from_numpy(plain.labels)
    # Turn by turn, so that what else the machine does meets all alike.
    for _ in range(rounds):
        for preset in best:
            batches: Iterable[tuple[Tensor, Tensor]] = bare_batches(images, labels, batch_size)
            if preset != "bare":
                meant = {**PRESETS[preset]["data"], **PRESETS[preset]["train"]}
                batches = Batches(*make_task(size, count, channels, **meant)).train(0, batch_size, 0)
            best[preset] = min(best[preset], seconds(lambda: train(module, batches, options["lr"]), 1))  # noqa: B023
    return {preset: best["bare"] / found for preset, found in best.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[32, 224])
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--loops", action="store_true", help="compare with a bare training loop instead")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.loops:
        for name in LOOPS:
            print(
                name, {preset: f"{share:.2f}" for preset, share in throughput(name, PRESETS, arguments.rounds).items()}
            )
        return
    costs = {size: per_image(size, 2**21 // size**2, arguments.batch_size) for size in arguments.sizes}
    print("µs for each image".ljust(30), *(f"{size:>8} px" for size in arguments.sizes))
    for kind in KINDS:
        print(kind.ljust(30), *(f"{costs[size][kind]:>11.1f}" for size in arguments.sizes))


if __name__ == "__main__":
    main()
