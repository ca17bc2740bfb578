"""A user's own network, which leaves a trace of the processes it is built in, and fails when it is told to."""

import fcntl
import os
import signal
import sys
import time
from pathlib import Path

from torch import nn


class Traced(nn.Module):
    def __init__(self, num_classes: int, in_channels: int, image_size: int) -> None:
        super().__init__()
        self.body = nn.Linear(in_channels * image_size**2, 16)
        self.head = nn.Linear(16, num_classes)

    def forward(self, images):  # type: ignore[no-untyped-def]
        return self.head(self.body(images.flatten(1)).relu())


def traced(num_classes: int, in_channels: int, image_size: int, trace: str, fail_at: tuple[int, ...] = ()) -> nn.Module:
    """Each building in a worker appends its process id to `trace`; the builds counted in `fail_at` raise."""
    if _in_worker():
        count = _append(Path(trace), f"{os.getpid()}\n")
        if count in fail_at or -1 in fail_at:
            raise RuntimeError("told to fail")
    return Traced(num_classes, in_channels, image_size)


def _append(path: Path, line: str) -> int:
    """Append a line; how many there are then. Nobody else appends meanwhile, so that no two can be the same."""
    with path.open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(line)
        file.flush()
        file.seek(0)
        return len(file.read().split())


class Paced(Traced):
    """Takes its time for each batch that it trains on."""

    seconds: float

    def forward(self, images):  # type: ignore[no-untyped-def]
        if self.training:
            time.sleep(self.seconds)
        return super().forward(images)


def paced(num_classes: int, in_channels: int, image_size: int, seconds: float) -> nn.Module:
    network = Paced(num_classes, in_channels, image_size)
    network.seconds = seconds
    return network


class Gated(Traced):
    """Trains on `free` batches and then waits until the file `gate` is there: nothing ends before its test wants it."""

    free: int
    gate: Path

    def forward(self, images):  # type: ignore[no-untyped-def]
        if self.training:
            self.free -= 1
            while self.free < 0 and not self.gate.exists():
                time.sleep(0.05)
        return super().forward(images)


def gated(num_classes: int, in_channels: int, image_size: int, free: int, gate: str) -> nn.Module:
    network = Gated(num_classes, in_channels, image_size)
    network.free, network.gate = free, Path(gate)
    return network


class Hostile(Traced):
    """Does the bad things of `what` to its process, one each time that it gets to the training step number `at`.

    `marker` has a line for each that was done.
    """

    what: tuple[str, ...]
    at: int
    marker: Path
    steps = 0

    def forward(self, images):  # type: ignore[no-untyped-def]
        if self.training:
            self.steps += 1
            time.sleep(0.005)
            done = len(self.marker.read_text().split()) if self.marker.exists() else 0
            if self.steps == self.at and done < len(self.what):
                _append(self.marker, f"{self.what[done]}\n")
                misbehave(self.what[done])
        return super().forward(images)


def misbehave(what: str) -> None:
    if what in ("SIGKILL", "SIGSTOP", "SIGSEGV"):
        os.kill(os.getpid(), getattr(signal, what))
        time.sleep(0.1)
    elif what == "exit":
        sys.exit(3)
    elif what == "hang":
        time.sleep(10**6)


def hostile(
    num_classes: int, in_channels: int, image_size: int, what: tuple[str, ...], at: int, marker: str
) -> nn.Module:
    network = Hostile(num_classes, in_channels, image_size)
    network.what, network.at, network.marker = what, at, Path(marker)
    return network


def _in_worker() -> bool:
    import ray

    return ray.is_initialized() and ray.get_runtime_context().worker.mode == ray.WORKER_MODE
