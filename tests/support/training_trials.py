"""A small network, and a receiver of reports, for the tests of training."""

import io
from collections.abc import Callable
from dataclasses import astuple, replace
from typing import Any

import torch

from tlsweep.spec import ModelSpec
from tlsweep.training import Compute, Copy, EpochReport, Snapshot

SMALL_CNN = ModelSpec(name="cnn", args={"channels": [8, 8], "dense": [16], "dropout": 0.3})
ONE_THREAD = Compute("cpu", threads=1)


class Recorder:
    """A receiver that keeps every report and, if wanted, every checkpoint: as a worker does it, made when asked for."""

    def __init__(self, *, checkpoints: bool = True) -> None:
        self.rows: list[EpochReport] = []
        self.copies: list[Copy] = []
        self._wants_checkpoints = checkpoints

    def __call__(self, row: EpochReport, snapshot: Snapshot) -> None:
        self.rows.append(row)
        if self._wants_checkpoints:
            self.copies.append(snapshot())

    @property
    def checkpoints(self) -> list[bytes]:
        return [copy() for copy in self.copies]

    @property
    def numbers(self) -> list[tuple[Any, ...]]:
        """The reports without what depends on the clock, comparable bit for bit (repr, because NaN is not itself)."""
        return [tuple(map(repr, astuple(without_times(row)))) for row in self.rows]


def without_times(row: EpochReport) -> EpochReport:
    runs = tuple(replace(run, train_seconds=0, eval_seconds=0) for run in row.folds)
    return replace(row, train_seconds=0, eval_seconds=0, wait_seconds=0, samples_per_second=0, folds=runs)


def same_checkpoint(one: bytes, other: bytes) -> bool:
    """Whether all values are the same, bit for bit."""
    return same(*(torch.load(io.BytesIO(content), weights_only=True) for content in (one, other)))


def same(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else bool(one == other)


Train = Callable[..., Recorder]
