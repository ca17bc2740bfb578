"""What it is worth that freed memory is kept, in huge pages: steps of training, and evaluation, with and without.

    python tests/bench/allocation.py [--rounds 3]

Processes in turns: one that is as glibc makes it, and others that keep memory as a worker of a private Ray does, as the
program itself, and as a worker that Ray has started. Each computes with one thread, and not its first, as Tune trains.
Processor time in milliseconds, medians of the rounds; pages made in a step; the most memory that was taken. Three
minutes.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from statistics import median

import torch
from torch.nn import functional as F

from tlsweep.allocation import keep_freed_memory, keeping
from tlsweep.models import build_network
from tlsweep.spec import ModelSpec

WORKS = {"squeezenet1_1": (3, 224, 32, 32), "cnn": (1, 8, 32, 359)}
"""Channels, pixels, images in a step and in evaluation: ants and bees, the digits."""

KINDS = ("plain", "forked", "program", "by Ray")


def best(act: Callable[[], None], seconds: float = 2) -> float:
    """Milliseconds of the processor that it takes at least, in as many tries as time allows."""
    taken: list[float] = []
    act()
    while sum(taken) < seconds or len(taken) < 3:
        began = time.thread_time()
        act()
        taken.append(time.thread_time() - began)
    return 1000 * min(taken)


def measure(kind: str, name: str) -> dict[str, float]:
    if kind == "by Ray":
        keep_freed_memory()
    channels, size, batch, several = WORKS[name]
    network = build_network(ModelSpec(name=name), num_classes=10, channels=channels, image_size=size, seed=0).module
    network.to(memory_format=torch.channels_last)
    images = torch.randn(several, channels, size, size).to(memory_format=torch.channels_last)
    labels = torch.randint(0, 10, (batch,))

    def step() -> None:
        network.train().zero_grad()
        torch.autograd.backward(F.cross_entropy(network(images[:batch]), labels))

    def evaluate() -> None:
        with torch.inference_mode():
            network.eval()(images)

    found = {"step": best(step), "evaluation": best(evaluate)}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    step()
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return found | {"pages": usage.ru_minflt - before, "MB": usage.ru_maxrss / 1024}


def in_a_process(kind: str, name: str) -> dict[str, float]:
    environment = keeping(os.environ) if kind == "forked" else dict(os.environ)
    command = [sys.executable, __file__, "--as", kind, name]
    found: dict[str, float] = json.loads(subprocess.run(command, env=environment, check=True, stdout=-1).stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--as", dest="one", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one is not None:
        torch.set_num_threads(1)
        if given.one[0] == "program":
            keep_freed_memory()
        print(json.dumps(ThreadPoolExecutor(1).submit(measure, *given.one).result()))
        return
    for name in WORKS:
        rounds = [{kind: in_a_process(kind, name) for kind in KINDS} for _ in range(given.rounds)]
        for figure in ("step", "evaluation", "pages", "MB"):
            medians = {kind: median(found[kind][figure] for found in rounds) for kind in KINDS}
            told = ", ".join(
                f"{kind} {value:.1f} ({value / max(medians['plain'], 1):.2f})" for kind, value in medians.items()
            )
            print(f"{name} {figure}: {told}", flush=True)


if __name__ == "__main__":
    main()
