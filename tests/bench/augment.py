"""What augmentation costs: per image and kind, and as a share of a plain training loop.

    python tests/bench/augment.py [--sizes 32 224] [--loops]

Processor time on one thread, from stored pixels (uint8, colour) to what the network gets: channels last, as networks
with convolutions have them. `--loops` trains the small CNN on 32 pixels and the MLP on 28 instead, as a trial does and
by bare loops in both memory formats (the same network, optimizer and batch size, images that lie normalised in memory,
shuffled by one index for each batch): shares of the faster bare loop. Ratios within one run count.
"""

import argparse
import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from tlsweep.data import Task
from tlsweep.data.batches import Batches
from tlsweep.data.moments import moments_of
from tlsweep.models import build_network
from tlsweep.spec import Augment, Hyperparameters, ModelSpec, TrainSettings
from tlsweep.spec.augmentation import PRESETS
from tlsweep.training.devices import Compute
from tlsweep.training.trainer import Trainer
from tlsweep.training.transfer import Transfer

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


def seconds(work: Callable[[], object], repeats: int) -> float:
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
        batches = Batches(*make_task(size, count, **changes), channels_last=True)

        def one_epoch(batches: Batches = batches) -> None:
            for _ in batches.train(0, batch_size, 0):
                pass

        costs[name] = 1e6 * seconds(one_epoch, 5) / count
    return costs


LOOPS: dict[str, tuple[ModelSpec, int, int, int]] = {
    "cnn, 32 pixels, batch 16": (ModelSpec(name="cnn"), 32, 3, 16),
    "cnn, 32 pixels, batch 64": (ModelSpec(name="cnn"), 32, 3, 64),
    "mlp 128-64-10, 28 pixels, batch 32": (ModelSpec(name="mlp"), 28, 1, 32),
    "mlp 128-64-10, 28 pixels, batch 128": (ModelSpec(name="mlp"), 28, 1, 128),
}
SETTINGS = TrainSettings(epochs=10**6)


def bare_loop(model: ModelSpec, task: Task, batch_size: int, *, channels_last: bool) -> Callable[[], None]:
    """One epoch as one would write it; the plainest, over images that are normalised already."""
    size = {"num_classes": 10, "channels": task.channels, "image_size": task.image_size}
    module = build_network(model, **size, seed=0).module
    form = torch.channels_last if channels_last else torch.contiguous_format
    module.to(memory_format=form)
    images = ((torch.from_numpy(task.images).permute(0, 3, 1, 2).float() / 255 - 0.4) / 0.2).contiguous(
        memory_format=form
    )
    labels = torch.from_numpy(task.labels)
    optimizer = torch.optim.SGD(module.parameters(), lr=1e-3, momentum=0.9)

    def one_epoch() -> None:
        for chosen in torch.randperm(len(images)).split(batch_size):
            optimizer.zero_grad()
            F.cross_entropy(module(images[chosen]), labels[chosen]).backward()
            optimizer.step()

    return one_epoch


def trial(model: ModelSpec, task: Task, values: Hyperparameters, batch_size: int) -> Callable[[], object]:
    """One epoch of a trial."""
    chosen = values.model_copy(
        update={"optimizer": "sgd", "lr": 1e-3, "batch_size": batch_size, "lr_schedule": "constant"}
    )
    return Trainer(chosen, SETTINGS, Transfer(task, model, None, 0), Compute("cpu")).train_epoch


def throughput(name: str, presets: Iterable[str], rounds: int) -> dict[str, float]:
    """Images a second of a trial with each preset, as a share of the faster bare loop's."""
    model, size, channels, batch_size = LOOPS[name]
    count = 40 * batch_size
    plain, _ = make_task(size, count, channels)
    loops: dict[str, Callable[[], object]] = {
        f"bare, channels {'last' if last else 'first'}": bare_loop(model, plain, batch_size, channels_last=last)
        for last in (False, True)
    }
    bare = list(loops)
    for preset in presets:
        task, values = make_task(size, count, channels, **PRESETS[preset]["data"], **PRESETS[preset]["train"])
        loops[preset] = trial(model, task, values, batch_size)
    best = {loop: seconds(one_epoch, 1) for loop, one_epoch in loops.items()}
    # Turn by turn, so that what else the machine does meets all alike.
    for _ in range(rounds):
        for loop, one_epoch in loops.items():
            best[loop] = min(best[loop], seconds(one_epoch, 1))
    reference = min(best[loop] for loop in bare)
    return {loop: reference / found for loop, found in best.items()}


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
