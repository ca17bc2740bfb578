"""Which of two trials is the better one: for a sweep that runs, and for what is read from its tables."""

import math

from tlsweep.store.journal import is_finite

Rank = tuple[float, float, int]
"""The larger one is better."""


def rank(value: float | None, val_loss: float | None, number: int, *, sign: int) -> Rank:
    """Rank a trial by its best report; ties go to the lower validation loss, then to the earlier trial.

    Args:
        value: The metric that the sweep is about. What is not a finite number loses to every other.
        val_loss: The validation loss of the same report; the same holds.
        number: The trial's, in its arm.
        sign: Makes larger values better (`SearchCommon.sign`).
    """
    # Python's order of tuples with a NaN depends on where they stood before.
    return _larger_is_better(value, sign), _larger_is_better(val_loss, -1), -number


def _larger_is_better(value: float | None, sign: int) -> float:
    if value is not None and is_finite(value):
        return sign * value
    return -math.inf
