"""What channels last is worth on a CPU: training and inference of networks in both memory formats, in turns.

    python tests/bench/memory_format.py [NETWORK …] [--images 8x4 32x64 64x16 128x16 224x8]

One thread, AdamW, random images of SIZExBATCH. Ratios of speeds, channels last by channels first: above 1, it pays.
Small images in small batches through a ResNet are the exception (0.8 to 1.1).
"""

import argparse
import time
from collections.abc import Callable

import torch
from torch.nn import functional as F

from tlsweep.models import build_network
from tlsweep.spec import ModelSpec
from tlsweep.training.devices import move_to_device

NETWORKS = ("cnn", "squeezenet1_1", "mobilenet_v2", "mobilenet_v3_small", "efficientnet_b0", "densenet121", "resnet18")


def step(name: str, size: int, batch: int, *, channels_last: bool, training: bool) -> Callable[[], None]:
    """Return what makes one step."""
    network = build_network(ModelSpec(name=name), num_classes=10, channels=3, image_size=size, seed=0).module
    move_to_device(network.train(training), "cpu", channels_last)
    form = torch.channels_last if channels_last else torch.contiguous_format
    images = torch.randn(batch, 3, size, size).to(memory_format=form)
    labels = torch.randint(0, 10, (batch,))
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)

    def infer() -> None:
        with torch.inference_mode():
            network(images)

    def train() -> None:
        F.cross_entropy(network(images), labels).backward()
        optimizer.step()
        optimizer.zero_grad()

    return train if training else infer


def ratio(name: str, size: int, batch: int, *, training: bool, seconds: float) -> float:
    """Return how much faster channels last is."""
    first, last = (step(name, size, batch, channels_last=form, training=training) for form in (False, True))
    taken = {first: 0.0, last: 0.0}
    for warm_up in (first, last) * 2:
        warm_up()
    while sum(taken.values()) < seconds:
        for one in (first, last):
            started = time.perf_counter()
            one()
            taken[one] += time.perf_counter() - started
    return taken[first] / taken[last]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("networks", nargs="*", default=NETWORKS)
    parser.add_argument("--images", nargs="*", default=["8x4", "32x64", "64x16", "128x16", "224x8"])
    parser.add_argument("--seconds", type=float, default=3.0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    for name in args.networks:
        for images in args.images:
            size, batch = map(int, images.split("x"))
            try:
                train, infer = (ratio(name, size, batch, training=at, seconds=args.seconds) for at in (True, False))
            except (RuntimeError, ValueError) as error:
                print(f"{name:20} {images:8} {str(error).splitlines()[0]}", flush=True)
                continue
            print(f"{name:20} {images:8} training {train:.2f}  inference {infer:.2f}", flush=True)


if __name__ == "__main__":
    main()
