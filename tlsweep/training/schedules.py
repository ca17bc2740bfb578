"""Learning-rate schedules as pure functions of progress, so that they survive a change of batch size."""

import math

from tlsweep.spec import Hyperparameters

ROUNDING = 1e-9
"""Far below one sample of any epoch, far above what a quotient of floats is off."""


def lr_factor(hyperparameters: Hyperparameters, epoch: float, epochs: int, *, step: float = 0.0) -> float:
    """What the base learning rate is multiplied with in a step that begins at `epoch`.

    A linear warm-up rises to 1; the schedule proper starts, at 1, where it ends.

    Args:
        hyperparameters: the schedule's name and constants.
        epoch: progress at the beginning of the step, in epochs: samples seen over samples in the training split.
        epochs: where training ends.
        step: how many epochs the step itself passes. The warm-up counts it, so that the first step is not lost to a
            factor of 0.
    """
    warmup = hyperparameters.warmup_epochs
    if epoch + ROUNDING < warmup:
        return min(1.0, (epoch + step) / warmup)
    epoch, epochs_left = max(0.0, epoch - warmup), epochs - warmup
    match hyperparameters.lr_schedule:
        case "constant":
            return 1.0
        case "exponential":
            return float(hyperparameters.lr_gamma ** _completed(epoch))
        case "step":
            return float(hyperparameters.lr_gamma ** _completed(epoch / hyperparameters.lr_step_epochs))
        case "cosine":
            # Nothing is left after a warm-up as long as the training: stay where it led.
            return 0.5 * (1 + math.cos(math.pi * min(1.0, epoch / epochs_left))) if epochs_left > 0 else 1.0


def _completed(periods: float) -> int:
    """The whole part; 0.3 / 0.1 = 2.999… counts as 3."""
    return math.floor(periods + ROUNDING)
