"""How far a figure on the test split could be off because another draw of test images would have given another one.

Percentile bootstrap (Efron 1979) over the test images. It covers the sampling of these images alone: not what another
seed of the search or of the training would change, for which sweeps are repeated.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 10_000
LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """A mean over test images, and between which bounds 95 % of its resamples lie."""

    value: float
    low: float
    high: float

    def reversed(self) -> "Interval":
        """The same difference, seen from the other side."""
        # From 0, as -0.0 would be shown with its sign.
        return Interval(0 - self.value, 0 - self.high, 0 - self.low)


def bootstrap_mean(values: Sequence[float], seed: int) -> Interval:
    """The mean of one value for each test image, with its interval.

    Args:
        values: few different numbers: 1 where a network is right and 0 where it is wrong, of several networks the
            share that is right; or, for a gain, the difference of two of these for the same image, so that images
            which both find hard cancel out.
        seed: decides the resampling.
    """
    # A resample of n images draws from the different values, each as likely as it is frequent: a multinomial draw.
    different, counts = np.unique(np.asarray(values), return_counts=True)
    drawn = np.random.default_rng(seed).multinomial(counts.sum(), counts / counts.sum(), size=RESAMPLES)
    low, high = np.quantile(drawn @ different / counts.sum(), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(different @ counts / counts.sum()), float(low), float(high))
