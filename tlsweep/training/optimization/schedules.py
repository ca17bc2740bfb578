"""Learning-rate schedules as pure functions of progress, so that they survive a change of batch size."""

import math

from tlsweep.spec import Hyperparameters

ROUNDING = 1e-9
"""Far below one sample of any epoch, far above what a quotient of floats is off."""


def lr_factor(
    hyperparameters: Hyperparameters, epoch: float, epochs: int, *, step: float = 0.0, performance: float = 1.0
) -> float:
    """What the base learning rate is multiplied with in a step that begins at `epoch`.

    With e epochs since the warm-up, E epochs from the warm-up to the end, γ = `lr_gamma`:

    - constant: 1
    - exponential: γ^⌊e⌋
    - step: γ^⌊e / lr_step_epochs⌋
    - cosine: (1 + cos(π e / E)) / 2 (Loshchilov & Hutter 2017, one period)
    - wsd: 1 until the last `lr_cooldown` of E, then 1 - c, or 1 - √c, with c the part of that which is over (Hägele et
      al. 2024, "Scaling laws and compute-optimal training beyond fixed training durations")
    - one_cycle: half a cosine from 1 / lr_div_factor up to 1 in the first `lr_pct_start` of E, another one down to
      1 / (lr_div_factor × lr_final_div_factor) in the last step (Smith & Topin 2018; equal to torch's OneCycleLR with
      anneal_strategy "cos" and cycle_momentum False: momentum stays as it is)
    - plateau, adjusted, dynamic: `performance`, see `tlsweep.training.optimization.validation_schedules`

    The warm-up multiplies where the schedule starts, which is 1 for all but one_cycle, with a factor that rises
    linearly from 0 to 1.

    Args:
        hyperparameters: the schedule's name and constants.
        epoch: progress at the beginning of the step, in epochs: samples seen over samples in the training split.
        epochs: the epoch at which training ends.
        step: how many epochs the step itself passes. The warm-up counts it, so that the first step is not lost to a
            factor of 0; one_cycle, so that its last step has the lowest rate.
        performance: the factor that follows from the validation losses so far.
    """
    warmup = hyperparameters.warmup_epochs
    ramp = min(1.0, (epoch + step) / warmup) if epoch + ROUNDING < warmup else 1.0
    epoch, epochs_left = max(0.0, epoch - warmup), epochs - warmup
    match hyperparameters.lr_schedule:
        case "constant":
            factor = 1.0
        case "exponential":
            factor = hyperparameters.lr_gamma ** _completed(epoch)
        case "step":
            factor = hyperparameters.lr_gamma ** _completed(epoch / hyperparameters.lr_step_epochs)
        case "cosine":
            # Nothing is left after a warm-up as long as the training: stay where it led.
            factor = _half_cosine(1.0, 0.0, epoch / epochs_left) if epochs_left > 0 else 1.0
        case "wsd":
            factor = _cooling(hyperparameters, epoch, epochs_left)
        case "one_cycle":
            factor = _one_cycle(hyperparameters, epoch, epochs_left, step)
        case "plateau" | "adjusted" | "dynamic":
            factor = performance
    return ramp * factor


def rises(hyperparameters: Hyperparameters, epoch: float, epochs: int) -> bool:
    """Whether the factor is below 1 at `epoch` because it has yet to rise: in the warm-up, and until one_cycle's peak.

    Its low values there protect the weights from a head that is new; nothing has decayed.
    """
    warmup = hyperparameters.warmup_epochs
    peak = hyperparameters.lr_pct_start * (epochs - warmup) if hyperparameters.lr_schedule == "one_cycle" else 0.0
    return epoch + ROUNDING < warmup + max(0.0, peak)


def _cooling(hyperparameters: Hyperparameters, epoch: float, epochs: float) -> float:
    cooldown = hyperparameters.lr_cooldown * epochs
    if cooldown <= 0:
        return 1.0
    over = min(1.0, max(0.0, 1 - (epochs - epoch) / cooldown))
    return 1 - (over if hyperparameters.lr_cooldown_shape == "linear" else math.sqrt(over))


def _one_cycle(hyperparameters: Hyperparameters, epoch: float, epochs: float, step: float) -> float:
    start = 1 / hyperparameters.lr_div_factor
    if epochs <= 0:
        return start
    peak = hyperparameters.lr_pct_start * epochs
    rise = peak - step  # the peak belongs to the last step before it
    if rise > ROUNDING and epoch <= rise + ROUNDING:
        return _half_cosine(start, 1.0, epoch / rise)
    return _half_cosine(1.0, start / hyperparameters.lr_final_div_factor, (epoch + step - peak) / (epochs - peak))


def _half_cosine(start: float, end: float, progress: float) -> float:
    """Fall from `start` at progress 0 to `end` at 1, and stay there."""
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def _completed(periods: float) -> int:
    """The whole part; 0.3 / 0.1 = 2.999… counts as 3."""
    return math.floor(periods + ROUNDING)
