"""Tries a function for a few epochs: what they cost, whether a restored state goes on, whether a changed lr arrives."""

import math
import operator
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_pre_hook

from tlsweep.errors import FunctionError
from tlsweep.functions.running import run_function
from tlsweep.functions.trial import FunctionReport, Sharing, Terms
from tlsweep.training.devices import Compute
from tlsweep.training.reports import Snapshot

ON_CPU, ELSEWHERE = 1e-6, 1e-2
"""How far, relatively, a metric may be off after a restore: on other devices kernels add up in any order."""


@dataclass(frozen=True)
class FunctionRehearsal:
    """What a trial of a function costs."""

    seconds_per_epoch: float
    state: bytes
    """After the first epoch, as it is kept."""
    metrics: Mapping[str, float]
    """The first report."""
    device: str
    steps_seen: bool
    """Whether an optimizer of torch took a step in this process, so that its lr could be looked at."""
    kept_lr: tuple[int, int] = (0, 0)
    """Of how many groups of its optimizers the lr was not changed, and how many there are."""
    moved: tuple[str, ...] = ()
    """The metrics that were others after a restore, and that nothing is decided by."""


class _Enough(BaseException):
    """Ends a trial as the sweep does."""


@dataclass
class _Attempt:
    """What some epochs of a function showed."""

    rows: list[FunctionReport]
    states: list[bytes]
    rates: list[float]
    """The lr of each group of each optimizer at its first step."""


def rehearse_function(
    terms: Terms, values: Mapping[str, Any], other_lr: float | None, seed: int, share: Sharing, compute: Compute
) -> FunctionRehearsal:
    """Train two epochs, then the second again from the state in between, and again with another lr.

    Args:
        terms: What the function is held to.
        values: The hyperparameters of the first trial.
        other_lr: Another lr; None where it is a constant.
        seed: The trial's.
        share: Gives what trials have in common.
        compute: Device and threads.

    Raises:
        FunctionError: it does not keep to what a trial asks, the restored state gives another report, or the optimizer
            keeps its old lr.
    """
    # There is nothing after the only epoch of a trial, and its state may be kept all the same.
    terms = replace(terms, epochs=max(terms.epochs, 2))
    whole = _attempt(terms, values, seed, share, compute, None, 2)
    again = _attempt(terms, values, seed, share, compute, whole.states[0], 1)
    moved = _check_restored(terms, whole.rows[1], again.rows[0])
    kept = 0
    if other_lr is not None:
        other = _attempt(terms, {**values, "lr": other_lr}, seed, share, compute, whole.states[0], 1)
        _check_lr(terms, values["lr"], other_lr, again.rates, other.rates)
        kept = sum(map(operator.eq, again.rates, other.rates))
    return FunctionRehearsal(
        seconds_per_epoch=whole.rows[1].train_seconds,  # the first has what is done once
        state=whole.states[0],
        metrics=whole.rows[0].metrics,
        device=whole.rows[0].device,
        steps_seen=bool(again.rates),
        kept_lr=(kept, len(again.rates)),
        moved=moved,
    )


def _attempt(
    terms: Terms,
    values: Mapping[str, Any],
    seed: int,
    share: Sharing,
    compute: Compute,
    resume: bytes | None,
    epochs: int,
) -> _Attempt:
    """Train for so many epochs."""
    found = _Attempt([], [], [])
    stepped: set[int] = set()

    def look(optimizer: Optimizer, arguments: Any, options: Any) -> None:
        if id(optimizer) not in stepped:
            stepped.add(id(optimizer))
            found.rates += [float(group["lr"]) for group in optimizer.param_groups if "lr" in group]

    def report(row: FunctionReport, snapshot: Snapshot) -> None:
        found.rows.append(row)
        found.states.append(snapshot()())
        if len(found.rows) == epochs:
            raise _Enough

    # Of all optimizers of this process: which of them the function makes nobody knows beforehand.
    handle = register_optimizer_step_pre_hook(look)
    try:
        reached = run_function(
            terms, values, seed, report=report, share=share, resume=resume, compute=compute, log=lambda line: None
        )
    except _Enough:
        return found
    finally:
        handle.remove()
    raise FunctionError(f"trial = {terms.function}: it returned after epoch {reached} of {terms.epochs}, unasked")


def _check_restored(terms: Terms, whole: FunctionReport, again: FunctionReport) -> tuple[str, ...]:
    """Name the metrics that are others after a restore, and that nothing is decided by: times, for example.

    Raises:
        FunctionError: another one is.
    """
    tolerance = ON_CPU if whole.device == "cpu" else ELSEWHERE
    moved = []
    for name, value in whole.metrics.items():
        now = again.metrics.get(name, math.nan)
        same = math.isclose(value, now, rel_tol=tolerance, abs_tol=1e-12) or (math.isnan(value) and math.isnan(now))
        if not same and name not in (terms.metric, "train_loss", "val_loss"):
            moved.append(name)
        elif not same:
            raise FunctionError(
                f"trial = {terms.function}: from a restored state epoch {whole.epoch} has {name} {now:.6g}, and "
                f"without a pause {value:.6g}; keep all that changes in the state, and draw from "
                "trial.generator(…) or torch's global generators"
            )
    return tuple(moved)


def _check_lr(terms: Terms, lr: float, other: float, rates: list[float], others: list[float]) -> None:
    if rates and rates == others:
        raise FunctionError(
            f"trial = {terms.function}: with lr {other:.4g} in place of {lr:.4g} the optimizer still takes its first "
            f"step after a restore with {rates[0]:.4g}; call trial.apply_lr(optimizer) after "
            "optimizer.load_state_dict(…)"
        )
