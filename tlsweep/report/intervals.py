"""How far a figure on the test split could be off because another draw of test images would have given another one.

Percentile bootstrap (Efron 1979) over the test images. It covers the sampling of these images alone: not what another
seed of the search or of the training would change, for which sweeps are repeated. Of several networks that differ in
their seeds alone there is an interval for both.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

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


def over_seeds_and_images(values: npt.NDArray[np.float64]) -> Interval:
    """The mean over seeds and images, with an interval for another draw of both.

    Seeds and images are crossed: each network sees each image. The variance of the mean is at most that of the means of
    seeds plus that of the means of images (Owen 2007, "The pigeonhole bootstrap"), and Student's t has the degrees of
    freedom of such a sum (Satterthwaite 1946). A bootstrap over five seeds would be too narrow.

    Args:
        values: shape (seeds, images), of at least two of both: 1 where a network is right and 0 where it is wrong, or
            the difference of two of these for the same seed and image.
    """
    parts = [(means.var(ddof=1) / len(means), len(means) - 1) for means in (values.mean(1), values.mean(0))]
    center, variance = float(values.mean()), float(sum(part for part, _ in parts))
    if variance == 0:
        return Interval(center, center, center)
    freedom = variance**2 / sum(part**2 / own for part, own in parts)
    reach = _student(freedom) * math.sqrt(variance)
    return Interval(center, center - reach, center + reach)


def another_like(mean: float, error: float, count: int, networks: int = 1) -> Interval:
    """Between which bounds a figure of another seed lies: Student's prediction interval.

    Args:
        mean: over the seeds that are known.
        error: its standard error.
        count: how many seeds these are, at least two.
        networks: of how many seeds the other figure is the mean.
    """
    reach = _student(count - 1) * error * math.sqrt(1 + count / networks)
    return Interval(mean, mean - reach, mean + reach)


def _student(freedom: float) -> float:
    """How many standard errors an interval reaches to either side."""
    from scipy.special import stdtrit  # which takes 0.3 s to import (measured), and most sweeps need none of it

    return float(stdtrit(freedom, (1 + LEVEL) / 2))
