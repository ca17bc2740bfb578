"""The linear probe: a logistic regression on frozen features, which any fine-tuning has to beat, and may begin with."""

import itertools
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Progress = Callable[[int, int], None]
"""Called with what is done and how much there is in all."""

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Inverse strengths of the L2 penalty that are tried (scikit-learn's C)."""
FOLDS = 5
COMPARED = 2000
"""Training images that the strengths are compared on, or a few more: with more the best one hardly changes."""
_ITERATIONS = 1000
_FEWEST_ITERATIONS = 30
"""Even where these take longer."""
_PRODUCTS = 1e12
"""Products of a feature and a weight, in all iterations over the images, that the comparison may take, and the
regression that is kept: four operations each, so some two minutes at the 34 GFlop/s measured on one core (AMD EPYC)."""


@dataclass(frozen=True)
class LinearHead:
    """A linear layer behind the features: logits = features · weightᵀ + bias."""

    weight: Array
    """Shape (classes, D), float32."""
    bias: Array
    """Shape (classes,), float32; zeros where the layer has none."""


def linear_probe(train: Array, train_labels: Array, val: Array, val_labels: Array) -> tuple[float, float]:
    """Accuracy on `val`, and its standard error √(p (1 - p) / N), of the probe that `fitted` gives."""
    predicted = fitted(train, train_labels).predict(val)
    accuracy = float((predicted == val_labels).mean())
    return accuracy, float(np.sqrt(accuracy * (1 - accuracy) / len(val_labels)))


def fitted(train: Array, labels: Array, *, bias: bool = True, progress: Progress = lambda done, total: None) -> Any:
    """A logistic regression on standardised features, as a pipeline of scikit-learn.

    The strength of its L2 penalty is the one with the least log loss in a cross-validation on `COMPARED` of the images;
    1 where fewer than two classes have two images. Classes of a single image are not compared on. Many images of many
    classes would take hours to converge: there the regression ends after some minutes, with what it has by then.

    Args:
        train: features, shape (N, D).
        labels: shape (N,), whole numbers from 0, each of which occurs.
        bias: whether features are centred and the regression has an intercept.
        progress: told of the regressions done, of all, while they are fitted.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import get_scorer
    from sklearn.model_selection import GridSearchCV, StratifiedKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    probe = make_pipeline(StandardScaler(with_mean=bias), LogisticRegression(fit_intercept=bias))
    work = train.shape[1] * len(np.unique(labels))  # products for one image
    some = _some(labels)
    folds = min(FOLDS, int(np.unique(labels[some], return_counts=True)[1].min(initial=FOLDS)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a weak penalty that takes so long is not chosen
        if len(some):
            choices = {"logisticregression__C": STRENGTHS}
            fits = folds * len(STRENGTHS)
            probe.set_params(logisticregression__max_iter=_iterations(fits * len(some) * work))
            scorer, done = get_scorer("neg_log_loss"), itertools.count(1)

            def scored(*arguments: Any) -> float:
                progress(next(done), fits + 1)
                return float(scorer(*arguments))

            search = GridSearchCV(probe, choices, scoring=scored, cv=StratifiedKFold(folds), refit=False)
            probe.set_params(**search.fit(train[some], labels[some]).best_params_)
        return probe.set_params(logisticregression__max_iter=_iterations(len(labels) * work)).fit(train, labels)


def _iterations(products: int) -> int:
    """Iterations that `_PRODUCTS` are enough for, where one takes so many."""
    return min(max(int(_PRODUCTS / products), _FEWEST_ITERATIONS), _ITERATIONS)


def as_linear_head(probe: Any) -> LinearHead:
    """The layer that makes the logits of a fitted probe: what standardised the features is folded into it."""
    scaler, regression = probe[0], probe[-1]
    # In float64 to the end: features that hardly vary have weights that are large and cancel.
    weight, bias = regression.coef_ / scaler.scale_, np.broadcast_to(regression.intercept_, len(regression.coef_))
    if scaler.with_mean:
        bias = bias - weight @ scaler.mean_
    if len(weight) == 1:  # of two classes scikit-learn has the difference of their logits
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    return LinearHead(weight.astype(np.float32), bias.astype(np.float32))


def _some(labels: Array) -> Array:
    """Sorted indices of the images to compare on: the same share of each class, so that they are `COMPARED`, but at
    least `FOLDS` of each. A class of one image is in no fold's training and test images both, so left out; none at all
    where fewer than two classes are left."""
    order = np.random.default_rng(0).permutation(len(labels))
    share = min(COMPARED / len(labels), 1.0)
    kept = []
    for label, count in zip(*np.unique(labels, return_counts=True), strict=True):
        if count > 1:
            kept.append(order[labels[order] == label][: max(FOLDS, int(np.ceil(share * count)))])
    if len(kept) < 2:
        return np.arange(0)
    return np.sort(np.concatenate(kept))
