"""Trials that train nothing: as their own code, a model of this module is all that a spec has to name.

The first two trials of a worker are trained in earnest, by tlsweep's fine-tuning function. Those after them report the
last epoch of the second again and again, so that a sweep of them shows what reports cost, and nothing else.
"""

from dataclasses import replace
from typing import Any

from torch import nn

from tlsweep import training

_finetune = training.finetune


def network(num_classes: int, in_channels: int, image_size: int) -> nn.Module:
    training.finetune = _once  # a worker looks it up for each trial
    return nn.Sequential(nn.Flatten(), nn.Linear(in_channels * image_size**2, num_classes))


def _once(*arguments: Any, report: Any, **options: Any) -> None:
    """Train, and keep what was reported."""
    kept: list[Any] = []

    def keep(epoch: Any, snapshot: Any) -> None:
        state = snapshot()()
        kept[:] = epoch, lambda: lambda: state
        report(epoch, snapshot)

    def again(*arguments: Any, report: Any, **options: Any) -> None:
        last, snapshot = kept
        for epoch in range(1, last.epoch + 1):
            report(replace(last, epoch=epoch), snapshot)

    try:
        _finetune(*arguments, report=keep, **options)
    finally:  # by SystemExit Tune ends a trial at its last report
        training.finetune = again
