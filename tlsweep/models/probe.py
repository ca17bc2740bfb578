"""The linear probe: a logistic regression on frozen features, which any fine-tuning has to beat."""

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Inverse strengths of the L2 penalty that are tried (scikit-learn's C)."""
FOLDS = 5
_ITERATIONS = 1000


def linear_probe(train: Array, train_labels: Array, val: Array, val_labels: Array) -> tuple[float, float]:
    """Accuracy on `val`, and its standard error √(p (1 - p) / N), of a logistic regression on standardised features.

    The strength of its L2 penalty is the one with the least log loss in a cross-validation on `train`; 1 where a class
    has a single image.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, StratifiedKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    # One pipeline, so that in each fold the scale is that of its own training part.
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=_ITERATIONS))
    folds = min(FOLDS, int(np.bincount(train_labels).min()))
    if folds > 1:
        choices = {"logisticregression__C": STRENGTHS}
        probe = GridSearchCV(probe, choices, scoring="neg_log_loss", cv=StratifiedKFold(folds))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a weak penalty that takes so long is not chosen
        predicted = probe.fit(train, train_labels).predict(val)
    accuracy = float((predicted == val_labels).mean())
    return accuracy, float(np.sqrt(accuracy * (1 - accuracy) / len(val_labels)))
