"""The lr range test: between which learning rates to search (Smith 2017, "Cyclical learning rates for training neural
networks", section 3.3)."""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor

from tlsweep.errors import ModelError
from tlsweep.spec import Hyperparameters, TrainSettings, derive_seed
from tlsweep.training.devices import Compute, isolated, seed_generators
from tlsweep.training.figures import means
from tlsweep.training.trainer import Trainer
from tlsweep.training.transfer import Transfer

LOWEST, HIGHEST = 1e-6, 10.0
STEPS = (100, 200, 400, 800)
"""The fewest in which the loss falls: with 14 a decade most pretrained networks learn, and with more a small training
split is learned by heart before lr is high enough to hurt; but a network with random weights may need them."""
SMOOTHING = 0.25
"""Decades of lr; the standard deviation of the Gaussian window."""
REACH = 2 * SMOOTHING
"""Decades. A loss that diverges rises more steeply than it fell, and the window moves its minimum away from a rise so
near. The best of 40 SGD trials on the digits had 1.7 times the lr of that minimum."""
FALLEN = 0.1
"""The loss falls reliably from where this part of its whole fall is behind it for good, and rises from where this part
it is given back."""
LOWEST_LOSS = 0.005
"""The distance to its lowest value, as a part of the whole fall, at which the loss counts as lowest: where all is
learned it creeps down at any lr."""
DIVERGED = 4.0
"""Times the loss at the beginning: what follows is of no use."""
NO_FALL = 0.1
"""A fall by less, as a part of the loss at the beginning, is none."""
SLOW = 100.0
"""On the digits (Adam, 32 trials of 12 epochs) the probe's validation loss of 0.253 fell by 0.07 at the best lr, 2e-3,
by 0.02 at 3e-4 and by 0.004 at 3e-5; above 6e-3 it rose."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class RangeTest:
    """The loss of mini-batches while the learning rate grew, and the bounds that it proposes."""

    optimizer: str
    batch_size: int
    lrs: tuple[float, ...]
    """The lr of each step; they end where the loss diverged."""
    losses: tuple[float, ...]
    """The loss of each step's batch, before the step; the last one may not be finite."""
    smoothed: tuple[float, ...]
    lower: float
    """The lr from which the loss falls reliably; of a head that begins with the probe's solution at most a hundredth of
    `upper`."""
    upper: float
    """The lr at which it is lowest; where it rises right after, or does not fall, the lr from which it does."""


def range_test(
    hyperparameters: Hyperparameters,
    settings: TrainSettings,
    transfer: Transfer,
    *,
    compute: Compute = Compute(),
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> RangeTest:
    """Train with a learning rate that grows by the same factor at each step, from 1e-6 to 10.

    There are 100 steps; should the loss not fall by 10 %, from the beginning again in 200, 400 or 800: unless the head
    begins with the probe's solution, when it need not.
    Each step is that of a trial with these hyperparameters, but for `lr` and its schedule; all layer groups that are
    ever trained are. The same arguments give the same numbers (bit for bit on a CPU).

    Args:
        hyperparameters, settings, transfer, compute: the arguments of `finetune`.
        progress: is called with the steps done and those in all.

    Raises:
        ModelError: the loss does not fall by 10 %, or as `finetune`.
        ResourceError: what `finetune` raises.
    """
    settings = settings.model_copy(update={"noise_scale": False})
    for steps in STEPS:
        lrs: Floats = np.geomspace(LOWEST, HIGHEST, steps)
        with isolated(compute):
            trainer = Trainer(hyperparameters, settings, transfer, compute)
            losses = list(_sweep(trainer, lrs, progress))
        lrs = lrs[: len(losses)]
        solved = bool(transfer.heads) and settings.head != "zero"
        if solved or falls(lrs, losses):
            break
    lower, upper = (solved_bounds if solved else bounds)(lrs, losses)
    return RangeTest(
        optimizer=hyperparameters.optimizer,
        batch_size=hyperparameters.batch_size,
        lrs=tuple(lrs.tolist()),
        losses=tuple(losses),
        smoothed=tuple(smooth(lrs, losses).tolist()),
        lower=lower,
        upper=upper,
    )


def _sweep(trainer: Trainer, lrs: Floats, progress: Callable[[int, int], None]) -> Iterator[float]:
    """The loss of each step, to the end or to where it diverges."""
    decade = [lr for lr in lrs if lr <= 10 * lrs[0]]
    losses: list[float] = []
    for lr, (images, labels) in zip(lrs, endless_batches(trainer), strict=False):
        trainer.thaw(1.0)
        losses.append(means(trainer.step_with(float(lr), images, labels))[0])
        yield losses[-1]
        progress(len(losses), len(lrs))
        # Not `>`, which is False for NaN, as is every comparison with it.
        if not losses[-1] <= DIVERGED * float(np.mean(losses[: len(decade)])):
            return


def endless_batches(trainer: Trainer) -> Iterator[tuple[Tensor, Tensor]]:
    """The batches of one epoch after another."""
    for epoch in itertools.count():
        seed_generators(derive_seed(trainer.seed, "dropout", epoch), trainer.device)
        yield from trainer.batches.train(epoch, trainer.hyperparameters.batch_size, trainer.seed)


def smooth(lrs: Floats, losses: Sequence[float]) -> Floats:
    """The mean of the losses around each lr, by a Gaussian window on the logarithm of lr; what is not finite is left
    out. A moving average that looks back only would move the minimum to higher learning rates."""
    logs, values = np.log10(lrs), np.asarray(losses, dtype=np.float64)
    window = np.exp(-(((logs[:, None] - logs) / SMOOTHING) ** 2) / 2) * np.isfinite(values)
    # What is left out has the weight 0, but 0 times infinity is NaN.
    smoothed: Floats = window @ np.nan_to_num(values, posinf=0.0, neginf=0.0) / window.sum(1)
    return smoothed


def _ends(lrs: Floats, smoothed: Floats) -> tuple[float, float]:
    """The smoothed loss at the beginning, as its mean over the first decade, in which next to nothing is learned; and
    its lowest value."""
    return float(smoothed[lrs <= 10 * lrs[0]].mean()), float(smoothed.min())


def falls(lrs: Floats, losses: Sequence[float]) -> bool:
    """Whether there is a fall to speak of."""
    start, lowest = _ends(lrs, smooth(lrs, losses))
    return start - lowest > NO_FALL * start


def bounds(lrs: Floats, losses: Sequence[float]) -> tuple[float, float]:
    """The learning rates to search between, each rounded outwards to one digit.

    Of the smoothed loss s, which begins at s0 (its mean over the first decade) and is lowest at s1: the bottom is the
    first lr with s <= s1 + 0.005 (s0 - s1), and `lower` the first one from which to the bottom s <= s0 - 0.1 (s0 - s1).
    `upper` is the first one in half a decade beyond the bottom with s > s1 + 0.1 (s0 - s1); without such a rise, the
    bottom.

    Args:
        lrs: ascending, shape (N,).
        losses: N losses.

    Raises:
        ModelError: the loss does not fall by 10 %.
    """
    smoothed = smooth(lrs, losses)
    start, lowest = _ends(lrs, smoothed)
    fall = start - lowest
    if not falls(lrs, losses):
        raise ModelError(
            f"lr range test: the loss, {start:.3g} at first, falls at no learning rate from {LOWEST:g} to {HIGHEST:g} "
            "(batches of the training split); look at the labels, or thaw more layers (train.freeze)"
        )
    bottom = int(np.argmax(smoothed <= lowest + LOWEST_LOSS * fall))
    above = np.flatnonzero(smoothed[:bottom] > start - FALLEN * fall)
    lower = int(above[-1]) + 1 if len(above) else 0
    within_reach = lrs <= lrs[bottom] * 10**REACH
    risen = np.flatnonzero(within_reach & (smoothed > lowest + FALLEN * fall) & (lrs > lrs[bottom]))
    upper = int(risen[0]) if len(risen) else bottom
    return _one_digit(float(lrs[lower]), math.floor), _one_digit(float(lrs[upper]), math.ceil)


def solved_bounds(lrs: Floats, losses: Sequence[float]) -> tuple[float, float]:
    """The same for a head that begins with the probe's solution: the backbone is to learn without losing that.

    `upper` is as of `bounds`; where the loss does not fall, the first lr from which it stays above s0 + 0.1 s0. Nothing
    has to be learned in a few steps, so that slow is no fault: `lower` is at most `upper` / 100.
    """
    if falls(lrs, losses):
        lower, upper = bounds(lrs, losses)
        return min(lower, _one_digit(upper / SLOW, math.floor)), upper
    smoothed = smooth(lrs, losses)
    start, _ = _ends(lrs, smoothed)
    below = np.flatnonzero(smoothed <= (1 + NO_FALL) * start)
    lost = lrs[min(int(below[-1]) + 1, len(lrs) - 1)]
    return _one_digit(lost / SLOW, math.floor), _one_digit(lost, math.ceil)


def _one_digit(number: float, rounded: Callable[[float], int]) -> float:
    """Round to one digit: 0.00123 to 0.001, or to 0.002."""
    exponent = math.floor(math.log10(number))
    return float(f"{rounded(number / 10**exponent)}e{exponent}")
