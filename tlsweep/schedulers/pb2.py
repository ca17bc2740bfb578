"""Population Based Bandits: a Gaussian process over what the population has seen proposes the values of a copy.

Parker-Holder, Nguyen, Roberts, "Provably Efficient Online Hyperparameter Optimization with Population-Based Bandits"
(NeurIPS 2020, arXiv:2002.02518): the explore step of PBT becomes a time-varying GP bandit. The kernel is Bogunovic et
al.'s (AISTATS 2016), what other members try at the same moment is counted as in GP-BUCB (Desautels et al. 2014).

scikit-learn's regressor would need a kernel class, made where scikit-learn is imported, and searches kernel parameters
by gradient with warnings at their bounds; a few dozen points are fitted as well on a grid, and alike everywhere.
One thread of linear algebra: for matrices of this size several are slower, on a busy machine a hundred times, and the
last digits would depend on how many there are.
"""

import math
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from tlsweep.schedulers.decisions import Observation
from tlsweep.schedulers.explore import Explorer, Interval, Proposal
from tlsweep.spec.search.space import Choice, Distribution, LogUniform, Value

Array = npt.NDArray[np.float64]

FEWEST = 5
"""Intervals without which there is nothing to learn from."""
LATEST = 100
"""Intervals that are learnt from at most; older ones say little about now, and a fit takes time ~ N³."""
DRAWN, NEAR = 256, 64
"""Candidates drawn from the space, and from around the donor's values."""
LENGTHSCALES = (0.1, 0.25, 0.6)
"""Lengthscales that are tried, in the unit cube."""
FORGETTING = (0.01, 0.1, 0.3)
"""Part of the correlation that is lost from one interval to the next but one."""
NOISE = (0.03, 0.3)
"""Variance of a gain beside what the values explain; the gains' own is 1."""


@dataclass(frozen=True)
class Bandit:
    """Proposes the values with the highest upper confidence bound on the gain of the next interval."""

    space: Mapping[str, Distribution]
    """Distributions of the hyperparameters that may change; all numbers."""
    interval: int
    """Epochs between two decisions: the unit of time."""
    fallback: Explorer
    """Proposes while too little has been seen."""

    def __call__(
        self, donor: Observation, seen: Sequence[Interval], pending: Iterable[Interval], rng: random.Random
    ) -> Proposal:
        if sum(math.isfinite(interval.gain) for interval in seen) < FEWEST:
            return self.fallback(donor, seen, pending, rng)
        recent = sorted(seen, key=lambda interval: (interval.epoch, interval.number))[-LATEST:]
        candidates = self._candidates(donor, rng)
        tried = self._points([Interval(0, donor.epoch + self.interval, values) for values in candidates])
        with threadpool_limits(1, user_api="blas"):
            process = fit(self._points(recent), standardised([interval.gain for interval in recent]))
            bounds = process.upper_bounds(tried, self._points(pending))
        return Proposal(candidates[int(np.argmax(bounds))], frozenset(self.space))

    def _candidates(self, donor: Observation, rng: random.Random) -> list[dict[str, Value]]:
        """Drawn from the space itself, so that none is out of bounds or off a lattice."""
        here = {name: distribution.clip(donor.hyperparameters[name]) for name, distribution in self.space.items()}
        drawn = [{name: distribution.sample(rng) for name, distribution in self.space.items()} for _ in range(DRAWN)]
        near = [
            {
                name: distribution.perturb(here[name], rng, (0.8, 0.9, 1.0, 1.1, 1.25))
                for name, distribution in self.space.items()
            }
            for _ in range(NEAR)
        ]
        return [here, *near, *drawn]

    def _points(self, intervals: Iterable[Interval]) -> Array:
        """Shape (N, 1 + hyperparameters): time in intervals, and the place in the unit cube."""
        rows = [
            [
                interval.epoch / self.interval,
                *(unit(space, interval.hyperparameters[name]) for name, space in self.space.items()),
            ]
            for interval in intervals
        ]
        return np.array(rows, dtype=np.float64).reshape(len(rows), 1 + len(self.space))


def unit(distribution: Distribution, value: Value) -> float:
    """Place a value between the ends of its distribution, 0 to 1: by its place in a list, by its logarithm where
    that is uniform. Powers of two are a list, so these go by their logarithm too."""
    if isinstance(distribution, Choice):
        values = distribution.values
        return values.index(distribution.clip(value)) / max(len(values) - 1, 1)
    low, high, at = (float(number) for number in (*distribution.extremes, distribution.clip(value)))
    if isinstance(distribution, LogUniform):
        low, high = math.log(low), math.log(high)
        at = math.log(at)
    return (at - low) / (high - low)


def standardised(gains: Sequence[float]) -> Array:
    """Mean 0, variance 1, outliers at ±2; where training diverged the gain is the least that was seen."""
    array = np.asarray(gains, dtype=np.float64)
    finite = np.isfinite(array)
    array = np.where(finite, array, array[finite].min())
    deviation = float(array.std()) or 1.0
    return np.asarray(np.clip((array - array.mean()) / deviation, -2.0, 2.0), dtype=np.float64)


@dataclass(frozen=True)
class Process:
    """A Gaussian process of mean 0 and variance 1 that was shown `points` with `gains`."""

    points: Array
    gains: Array
    lengthscale: float
    forgetting: float
    noise: float

    def kernel(self, a: Array, b: Array) -> Array:
        """Shape (len(a), len(b)): a squared exponential of the values, times what time has left of it."""
        apart = np.abs(a[:, None, 0] - b[None, :, 0])
        square = np.square(a[:, None, 1:] - b[None, :, 1:]).sum(axis=2)
        # (1 - ε)^(|t - t'| / 2), as in Bogunovic et al., written as an exponential.
        exponent = apart * (math.log1p(-self.forgetting) / 2) - square / (2 * self.lengthscale**2)
        return np.asarray(np.exp(exponent), dtype=np.float64)

    def root(self, points: Array) -> Array:
        """The Cholesky factor of the covariance of observations at `points`."""
        covariance = self.kernel(points, points) + self.noise * np.eye(len(points))
        return np.asarray(np.linalg.cholesky(covariance), dtype=np.float64)

    def log_likelihood(self) -> float:
        """The log likelihood of the gains, up to a constant."""
        covariance = self.kernel(self.points, self.points) + self.noise * np.eye(len(self.points))
        # The last row of the factor of the bordered matrix solves for the gains: no second factorisation.
        corner = np.square(self.gains).sum() / self.noise + 1
        bordered = np.block([[covariance, self.gains[:, None]], [self.gains[None, :], np.array([[corner]])]])
        root = np.linalg.cholesky(bordered)
        return float(-0.5 * np.square(root[-1, :-1]).sum() - np.log(np.diag(root)[:-1]).sum())

    def upper_bounds(self, tried: Array, pending: Array) -> Array:
        """Mean + sqrt(beta) × deviation at each point of `tried`.

        `pending` makes the deviation smaller, but does not move the mean: as if there the mean had been observed.
        """
        root = self.root(self.points)
        weights = np.linalg.solve(root.T, np.linalg.solve(root, self.gains))
        mean = self.kernel(tried, self.points) @ weights
        known = np.concatenate([self.points, pending])
        explained = np.square(np.linalg.solve(self.root(known), self.kernel(known, tried))).sum(axis=0)
        beta = 0.2 + max(0.0, math.log(0.4 * len(self.points)))  # the constants of the authors' code
        # Rounding can leave less than nothing of the variance at a point that is known.
        return np.asarray(mean + math.sqrt(beta) * np.sqrt(np.maximum(1 - explained, 0)), dtype=np.float64)


def fit(points: Array, gains: Array) -> Process:
    """The process under which the gains are likeliest."""
    settings = product(LENGTHSCALES, FORGETTING, NOISE)
    return max((Process(points, gains, *setting) for setting in settings), key=Process.log_likelihood)
