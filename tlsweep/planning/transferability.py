"""How well frozen features tell the classes of a task apart: scores that order networks before any is trained.

All take features of shape (N, D) and labels (N,), whole numbers from 0; more is better.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from tlsweep.models.probe import linear_probe

Array = npt.NDArray[Any]

NEIGHBOURS = 5


@dataclass(frozen=True)
class Scores:
    """All NaN where a feature is not a finite number."""

    logme: float
    """The evidence of the training images, in nats for each image and class."""
    h_score: float
    """The score of the training images, from 0 to below the number of classes."""
    knn: float
    """Accuracy on the validation images."""
    probe: float
    """Accuracy on the validation images."""
    probe_error: float
    """The standard error of the probe's accuracy."""


def score(train: Array, train_labels: Array, val: Array, val_labels: Array) -> Scores:
    """All scores of a network from its features of the training and validation images."""
    if not (np.isfinite(train).all() and np.isfinite(val).all()):
        return Scores(*[float("nan")] * 5)
    # Single precision squares the features of untrained networks out of its range.
    train, val = train.astype(np.float64), val.astype(np.float64)
    # The matrices are small: on two busy cores a second thread made it 4 times slower, mostly by waiting for the first.
    with threadpool_limits(1):
        accuracy, error = linear_probe(train, train_labels, val, val_labels)
        return Scores(
            logme=logme(train, train_labels),
            h_score=h_score(train, train_labels),
            knn=nearest_neighbours(train, train_labels, val, val_labels),
            probe=accuracy,
            probe_error=error,
        )


def logme(features: Array, labels: Array) -> float:
    """Log of the maximum evidence (You et al. 2021, "LogME: practical assessment of pre-trained models").

    A Bayesian linear model y ~ N(F w, 1/β), w ~ N(0, 1/α) for each class, y = 1 for its members and 0 for the others:

        log p(y) = (D log α + N log β - N log 2π - β |y - F m|² - α |m|² - log |α + β FᵀF|) / 2,   m = (FᵀF + α/β)⁻¹ Fᵀy

    at the α and β that make it largest, over N; the mean over classes.
    """
    left, singular, _ = np.linalg.svd(features, full_matrices=False)
    # The tolerance of numpy.linalg.matrix_rank: what is below it is rounding.
    rank = int((singular > singular[0] * max(features.shape) * np.finfo(float).eps).sum())
    targets = np.eye(int(labels.max()) + 1)[labels]
    along = (left[:, :rank].T @ targets) ** 2
    spectrum = _Spectrum(singular[:rank, None] ** 2, along, targets.sum(0) - along.sum(0), len(features))
    return float(spectrum.maximum_evidence().mean() / len(features))


@dataclass(frozen=True)
class _Spectrum:
    """The evidence in the singular vectors of the features, where it is a function of ρ = α/β alone.

    That is because at the best β, N / (|y - F m|² + ρ |m|²), nothing else of α is left.
    """

    squares: Array
    """Shape (rank, 1): the squared singular values s²."""
    along: Array
    """Shape (rank, classes): y² along each singular vector."""
    beyond: Array
    """Shape (classes,): y² that no w reaches."""
    count: int
    """N."""

    def maximum_evidence(self) -> Array:
        """Find the maximum for each class. It can have several local maxima: the fixed point is sought from the best of
        a grid."""
        if not len(self.squares):
            return self.evidence(np.ones_like(self.beyond))
        bounds = self.squares.min() * 1e-6, self.squares.max() * 1e6  # nothing changes beyond them
        grid = np.geomspace(*bounds, 100)
        found = np.array([self.evidence(np.full_like(self.beyond, ratio)) for ratio in grid])
        ratio = grid[found.argmax(0)]
        for _ in range(100):
            before, ratio = ratio, np.clip(self.step(ratio), *bounds)
            if np.allclose(before, ratio, rtol=1e-4, atol=0):
                break
        best: Array = np.maximum(found.max(0), self.evidence(ratio))
        return best

    def evidence(self, ratio: Array) -> Array:
        """The evidence log p(y) of each class at its ρ."""
        misfit = (ratio / (self.squares + ratio) * self.along).sum(0) + self._missed()
        spread = np.log1p(self.squares / ratio).sum(0)
        value: Array = 0.5 * (self.count * (np.log(self.count / (2 * np.pi * misfit)) - 1) - spread)
        return value

    def step(self, ratio: Array) -> Array:
        """ρ ← γ |y - F m|² / ((N - γ) |m|²), γ = Σ s² / (s² + ρ) (You et al. 2022, "Ranking and tuning pre-trained
        models")."""
        kept, lost = self.squares / (self.squares + ratio), ratio / (self.squares + ratio)
        residual = (lost**2 * self.along).sum(0) + self._missed()
        length = (kept * self.along / (self.squares + ratio)).sum(0)
        free = lost.sum(0) + self.count - len(self.squares)
        # m is 0 where the features say nothing of a class.
        new: Array = kept.sum(0) * residual / (free * np.maximum(length, np.finfo(float).tiny))
        return new

    def _missed(self) -> Array:
        """Exactly 0 where all of y is reached, which a sum of rounded squares is not."""
        if len(self.squares) < self.count:
            return np.maximum(self.beyond, 0)
        return np.zeros_like(self.beyond)


def h_score(features: Array, labels: Array) -> float:
    """H-score (Bao et al. 2019) with shrinkage (Ibrahim et al. 2021, "Newer is not always better").

    tr(Σ_α⁻¹ (1 - α) Σ_z): Σ_z is the covariance of each image's class mean, Σ_α = (1 - α) Σ + α tr(Σ)/D the covariance
    Σ of the features, shrunk by the α of Ledoit and Wolf (2004). Covariances divide by N.
    """
    from sklearn.covariance import ledoit_wolf_shrinkage

    count, width = features.shape
    centred = features - features.mean(0)
    shrinkage = float(ledoit_wolf_shrinkage(centred, assume_centered=True))
    # In the principal axes Σ_α is diagonal, and class means lie in their span: nothing of D × D is needed.
    _, singular, axes = np.linalg.svd(centred, full_matrices=False)
    variances = (1 - shrinkage) * singular**2 / count + shrinkage * (singular**2).sum() / (count * width)
    members = np.eye(int(labels.max()) + 1)[labels]
    sizes = members.sum(0)
    means = (members.T @ centred / np.maximum(sizes, 1)[:, None]) @ axes.T
    between = sizes / count @ means**2
    explained = np.divide(between, variances, out=np.zeros_like(between), where=variances > 0)
    return float((1 - shrinkage) * explained.sum())


def nearest_neighbours(train: Array, train_labels: Array, val: Array, val_labels: Array) -> float:
    """Accuracy on `val` of a vote of the 5 most similar images of `train`, by the cosine of their features."""
    from sklearn.neighbors import KNeighborsClassifier

    # By brute force, as scikit-learn's trees know no cosine.
    voters = KNeighborsClassifier(min(NEIGHBOURS, len(train)), metric="cosine", algorithm="brute")
    return float(voters.fit(train, train_labels).score(val, val_labels))
