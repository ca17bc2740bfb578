"""Learning-rate schedules that follow the validation loss: pure functions from one epoch's state to the next.

They are for fine-tuning: what a network brings along from its source task is lost by a learning rate that is too high,
and what it has yet to learn takes forever with one that is too low. Validation tells which of the two it is.
"""

import math
from dataclasses import dataclass, replace

from tlsweep.spec import Hyperparameters

WEIGHT = 0.3
"""The weight of the newest loss in the moving mean, which remembers about three epochs."""


@dataclass(frozen=True)
class Performance:
    """What the validation losses so far have led to."""

    factor: float = 1.0
    """The factor on the base learning rate."""
    reference: float = math.inf
    """What a loss is compared with: the best so far (plateau), or a moving mean. Infinite before the first."""
    worse: int = 0
    """Epochs in a row, up to now, whose loss was worse."""
    epoch: int = 0
    """The epoch of the last loss."""


def plateau(hyperparameters: Hyperparameters, before: Performance, loss: float) -> Performance:
    """Reduce on plateau: factor × lr_gamma once the loss has not fallen for more than lr_patience epochs in a row.

    A loss L has fallen where L < (1 - lr_threshold) × best. The factor never goes below lr_min_factor. As torch's
    ReduceLROnPlateau with mode "min", threshold_mode "rel", cooldown 0 and min_lr = lr × lr_min_factor.
    """
    if loss < before.reference * (1 - hyperparameters.lr_threshold):
        return replace(before, reference=loss, worse=0)
    if before.worse < hyperparameters.lr_patience:
        return replace(before, worse=before.worse + 1)
    factor = max(before.factor * hyperparameters.lr_gamma, hyperparameters.lr_min_factor)
    return replace(before, factor=factor, worse=0)


def adjusted(hyperparameters: Hyperparameters, before: Performance, loss: float) -> Performance:
    """Performance-adjusted: slow down while validation is good, move faster where it stays worse than before.

    With the moving mean R of the losses (R = L after the first one, R ← 0.7 R + 0.3 L after each later one has been
    judged), a loss L is worse where L > (1 + lr_threshold) × R, and good otherwise:

    - good: factor × lr_gamma, but at least lr_min_factor, to keep what the source task taught
    - worse for more than lr_patience epochs in a row: factor × lr_raise, but at most lr_max_factor, to move faster; the
      count begins again
    - worse for fewer, and the very first loss: as before

    The bold driver (Vogl et al. 1988, Battiti 1989) with its signs turned round: there the training loss of a network
    that learns from nothing lowers the rate when it rises. The rule is defined here; it is no published method's.
    """
    if math.isinf(before.reference):
        if math.isfinite(loss):
            return replace(before, reference=loss)
        return before
    worse = _worse_in_a_row(hyperparameters, before, loss)
    factor = before.factor
    if worse == 0:
        factor = max(factor * hyperparameters.lr_gamma, hyperparameters.lr_min_factor)
    return _raised(hyperparameters, replace(before, factor=factor, worse=worse), loss)


def dynamic(hyperparameters: Hyperparameters, before: Performance, loss: float, progress: float) -> Performance:
    """Dynamic: a decay whose rate follows progress, and a raise that follows performance.

    After the epoch that ends at progress p (0 to 1, of the training after the warm-up), whatever its loss was:
    factor × (lr_gamma + (lr_final_gamma - lr_gamma) × p). Then, where validation has been worse than its moving mean
    for more than lr_patience epochs in a row, factor × lr_raise, as in `adjusted`. Both stay within lr_min_factor and
    lr_max_factor. The rule is defined here; it is no published method's.
    """
    begin, end = hyperparameters.lr_gamma, hyperparameters.lr_final_gamma
    factor = max(before.factor * (begin + (end - begin) * progress), hyperparameters.lr_min_factor)
    if math.isinf(before.reference):
        return replace(before, factor=factor, reference=loss if math.isfinite(loss) else math.inf)
    worse = _worse_in_a_row(hyperparameters, before, loss)
    return _raised(hyperparameters, replace(before, factor=factor, worse=worse), loss)


def _worse_in_a_row(hyperparameters: Hyperparameters, before: Performance, loss: float) -> int:
    good = loss <= before.reference * (1 + hyperparameters.lr_threshold)
    return 0 if good else before.worse + 1


def _raised(hyperparameters: Hyperparameters, judged: Performance, loss: float) -> Performance:
    """Raise the factor where patience has come to its end, and take the loss into the moving mean."""
    factor, worse = judged.factor, judged.worse
    if worse > hyperparameters.lr_patience:
        factor, worse = min(factor * hyperparameters.lr_raise, hyperparameters.lr_max_factor), 0
    # A loss that is not finite is worse than any, and would leave nothing to compare with.
    mean = (1 - WEIGHT) * judged.reference + WEIGHT * loss if math.isfinite(loss) else judged.reference
    return replace(judged, factor=factor, worse=worse, reference=mean)
