"""Gives an optimizer, and a schedule of torch, another learning rate than they remember."""

from collections.abc import Iterator
from typing import Any, Final

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from tlsweep.errors import FunctionError

_APPLIED: Final = "applied_lr"
"""What a group of the optimizer remembers of the rate that it was given, for schedules that keep none."""
_OF_CURVES: Final = ("lr", "initial_lr", "max_lr", "min_lr")
"""What `OneCycleLR` has in a group; all of it follows from the rate."""


def apply_lr(value: float, optimizer: Optimizer, schedule: LRScheduler | None, said: str) -> None:
    """Make `value` the learning rate; a schedule goes on from where it stands on its curve (`Trial.apply_lr`).

    Raises:
        FunctionError: it is no schedule of torch's; `said` is what the message begins with.
    """
    parts = [] if schedule is None else list(_parts(schedule))
    if not all(hasattr(part, "base_lrs") or isinstance(part, ReduceLROnPlateau) for part in parts):
        raise FunctionError(
            f"{said}: trial.apply_lr(…) does not know where {type(schedule).__name__} keeps its rates; call "
            "trial.apply_lr(optimizer) alone, and make the schedule after it"
        )
    for at, group in enumerate(optimizer.param_groups):
        lr = value * group.get("lr_scale", 1.0)
        based = [part for part in parts if hasattr(part, "base_lrs")]
        if "max_lr" in group or any(hasattr(part, "max_lrs") for part in parts):
            _scale_curve(parts, at, group, lr)
        elif based:
            # What the schedule has made of the rate so far stays.
            old = float(based[0].base_lrs[at])
            _put(group, "lr", lr * (float(group["lr"]) / old) if old else lr)
            _put(group, "initial_lr", lr)
            for part in based:
                part.base_lrs[at] = lr
        else:
            reduced = float(group["lr"]) / float(group[_APPLIED]) if parts and group.get(_APPLIED) else 1.0
            _put(group, "lr", lr * reduced)
            _put(group, "initial_lr", lr)  # a schedule that is made after this begins from it
        if parts:
            group[_APPLIED] = lr
    for every in (*parts, schedule):
        if every is not None and hasattr(every, "_last_lr"):
            # What `get_last_lr` gives, and what its state keeps (torch/optim/lr_scheduler.py).
            every._last_lr = [float(group["lr"]) for group in optimizer.param_groups]


def _parts(schedule: LRScheduler) -> Iterator[LRScheduler]:
    """The schedule; of one that is made of others (`SequentialLR`, `ChainedScheduler`) these."""
    inner = getattr(schedule, "_schedulers", None)
    if inner is None:
        yield schedule
        return
    for part in inner:
        yield from _parts(part)


def _scale_curve(parts: list[LRScheduler], at: int, group: dict[str, Any], lr: float) -> None:
    """Make a curve between rates of its own (`OneCycleLR`, `CyclicLR`) as many times as high as the rate has become."""
    old = float(group.get(_APPLIED, lr))
    for name in _OF_CURVES:
        if name in group:
            _put(group, name, lr * (float(group[name]) / old) if old else lr)
    for part in parts:
        for name in ("base_lrs", "max_lrs"):
            if hasattr(part, name):
                rates = getattr(part, name)
                rates[at] = lr * (rates[at] / old) if old else lr


def _put(group: dict[str, Any], name: str, lr: float) -> None:
    """Set it where it is kept, if it is there: a learning rate may be a tensor that a compiled step reads."""
    if isinstance(group.get(name), torch.Tensor):
        group[name].fill_(lr)
    elif name in group:
        group[name] = lr
