"""Figures of merit of a classification, equal to scikit-learn's.

Counted in numpy after one transfer: 0.2 ms for the 359 validation images of the digits, where torchmetrics' collection
of the first four takes 2.5 ms each epoch (and 2 s to import). Those of networks that are evaluated together are counted
together, for which numpy takes little longer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Classes = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Probabilities = npt.NDArray[np.float32]

FIGURES: Final = ("loss", "accuracy", "precision", "recall", "f1", "top5", "auroc", "ece")
"""The figures of a whole split; each is also a column of the tables, `val_…`."""
CALIBRATION_BINS: Final = 15
SORTED_AT_ONCE: Final = 2**18
"""Probabilities; each takes 16 bytes."""


@dataclass(frozen=True, eq=False)
class ClassScores:
    """Figures for each class, shape (C,); 0 where a denominator is 0 (scikit-learn's `zero_division=0`)."""

    precision: Floats
    recall: Floats
    f1: Floats
    support: Classes
    """Samples of the class."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """How a network does on a split.

    Precision, recall and F1 are macro averages: plain means over ALL classes of the task (scikit-learn with
    `labels=range(C)`). A class that the split lacks counts as 0, in the same way for every trial.
    """

    loss: float
    """Mean cross entropy in nats, without label smoothing."""
    accuracy: float
    precision: float
    recall: float
    """As each split for validation has every class, this is what scikit-learn calls the balanced accuracy."""
    f1: float
    top5: float | None
    """Share of the samples whose class is among the five most probable ones; None with fewer than six classes."""
    auroc: float | None
    """See `macro_auroc`; None where it was not asked for, or no class can be told from the rest."""
    ece: float
    """See `calibration_error`."""
    per_class: ClassScores
    labels: Classes
    """Shape (N,): the true classes."""
    predictions: Classes
    """Shape (N,): the most probable classes."""
    probabilities: Floats
    """Shape (N,): how probable the network found them."""
    label_probabilities: Floats
    """Shape (N,): how probable it found the true classes. Where that is next to nothing, the label may be wrong."""

    @property
    def confusion(self) -> Classes:
        """Shape (C, C): how many samples of class [row] were taken for class [column]."""
        classes = len(self.per_class.support)
        cells = np.bincount(self.labels * classes + self.predictions, minlength=classes * classes)
        return cells.reshape(classes, classes)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: all figures; lists with those of each class, in order; the confusion matrix."""
        figures = {name: getattr(self, name) for name in FIGURES}
        per_class = {name: values.tolist() for name, values in vars(self.per_class).items()}
        return figures | {"per_class": per_class, "confusion": self.confusion.tolist()}


def score(
    labels: Classes,
    predictions: Classes,
    num_classes: int,
    loss: float,
    probabilities: Floats | None = None,
    label_probabilities: Floats | None = None,
    *,
    top5: float | None = None,
    by_class: Probabilities | None = None,
) -> Evaluation:
    """All figures from true and predicted classes, both of shape (N,) with values below `num_classes`.

    Args:
        labels, predictions, num_classes: see above.
        loss, top5: passed on.
        probabilities: those of the predictions; default: 1, as if the classifier were always sure.
        label_probabilities: those of the true classes; default: likewise 1 or 0.
        by_class: for `macro_auroc`; default: there will be none.
    """
    right = labels == predictions
    sure = np.ones(len(labels)) if probabilities is None else probabilities
    of_labels = 1.0 * right if label_probabilities is None else label_probabilities
    several = None if by_class is None else by_class[None]
    return score_each(labels, predictions[None], num_classes, [loss], sure[None], of_labels[None], [top5], several)[0]


def score_each(
    labels: Classes,
    predictions: Classes,
    num_classes: int,
    losses: Sequence[float],
    probabilities: Floats,
    label_probabilities: Floats,
    top5: Sequence[float | None],
    by_class: Probabilities | None,
) -> list[Evaluation]:
    """As `score`, of K networks on the same images: labels have shape (N,), the rest has one of (K, …). The figures of
    a network do not depend on the others, bit for bit."""
    right = labels == predictions
    hits = _counts(np.broadcast_to(labels, right.shape), num_classes, right)
    predicted = _counts(predictions, num_classes)
    support = np.bincount(labels, minlength=num_classes)
    # Where a denominator is 0 so is the numerator.
    precision, recall = hits / np.maximum(predicted, 1), hits / np.maximum(support, 1)
    # 2 P R / (P + R), without a quotient of quotients that may be 0 / 0.
    f1 = 2 * hits / np.maximum(predicted + support, 1)
    areas = [None] * len(right) if by_class is None else macro_auroc(labels, by_class)
    errors = calibration_error(right, probabilities)
    return [
        Evaluation(
            loss=losses[number],
            accuracy=float(hits[number].sum() / len(labels)),
            precision=float(precision[number].mean()),
            recall=float(recall[number].mean()),
            f1=float(f1[number].mean()),
            top5=top5[number],
            auroc=areas[number],
            ece=errors[number],
            per_class=ClassScores(precision[number], recall[number], f1[number], support),
            labels=labels,
            predictions=predictions[number],
            probabilities=probabilities[number],
            label_probabilities=label_probabilities[number],
        )
        for number in range(len(right))
    ]


def _counts(values: Classes, below: int, where: npt.NDArray[np.bool_] | None = None) -> Classes:
    """How often each number below a limit is in each of K rows, maybe only `where` that is so: shape (K, below)."""
    rows = len(values)
    apart = values + below * np.arange(rows)[:, None]
    return np.bincount(apart.ravel() if where is None else apart[where], minlength=rows * below).reshape(rows, below)


def macro_auroc(labels: Classes, by_class: Probabilities) -> list[float | None]:
    """The area under the ROC curve of each class against the rest, averaged over the classes that have both in the
    split; None if none has. It is the chance that a sample of the class is found more probably of it than one of the
    rest, ties counting half (Mann & Whitney), so it follows from the ranks of the class's own samples.

    Args:
        labels: shape (N,).
        by_class: shape (K, C, N): how probable each of K networks finds each class for each sample; not negative.
    """
    networks, classes, samples = by_class.shape
    support = np.bincount(labels, minlength=classes)
    pairs = support * (samples - support)
    known = np.flatnonzero(pairs)
    if not len(known):
        return [None] * networks
    at_once = max(1, SORTED_AT_ONCE // (networks * samples))
    parts = [known[start : start + at_once] for start in range(0, len(known), at_once)]
    won = np.concatenate([_pairs_won(labels, by_class, part) for part in parts], axis=1)
    return [float(areas.mean()) for areas in won / pairs[known]]


def _pairs_won(labels: Classes, by_class: Probabilities, classes: Classes) -> Floats:
    """In how many pairs of a sample of each class and one of the rest the former is found more probable: shape (K, of
    classes), of which there are samples."""
    networks, _, samples = by_class.shape
    values = by_class[:, classes]
    values[np.isnan(values)] = np.nan  # one of the many that there are
    of_class = [np.flatnonzero(labels == label) for label in classes]
    sizes = np.array([len(own) for own in of_class])
    place = np.repeat(np.arange(len(classes)), sizes)
    row = np.arange(networks * len(classes)).reshape(networks, len(classes))
    # Floats that are not negative are in the order of their bits, NaN last. With the number of its row in front, each
    # row is a range of its own among all, so that one search finds the places of all samples in their rows.
    ranked = (np.sort(values, axis=-1).view(np.uint32) + (row << 32)[..., None]).ravel()
    own = values[:, place, np.concatenate(of_class)].view(np.uint32) + (row << 32)[:, place]
    first, behind = (np.searchsorted(ranked, own.ravel(), side).reshape(own.shape) for side in ("left", "right"))
    # Ranks from 1, the mean one among equals, less what the class's samples have among themselves.
    doubled = first + behind - 2 * samples * row[:, place] + 1
    won: Floats = (np.add.reduceat(doubled, np.cumsum(sizes) - sizes, axis=1) - sizes * (sizes + 1)) / 2
    return won


def calibration_error(right: npt.NDArray[np.bool_], probabilities: Floats) -> list[float]:
    """The expected calibration error of K networks: by how much the share of right predictions misses their mean
    probability, in each of 15 equally wide bins of that probability, averaged over the samples (Guo et al. 2017;
    scikit-learn's bins).

    Args:
        right: shape (K, N): whether each prediction is right.
        probabilities: shape (K, N): those of the predictions.
    """
    inner = np.linspace(0, 1, CALIBRATION_BINS + 1)[1:-1]
    networks, samples = right.shape
    bins = np.searchsorted(inner, probabilities) + CALIBRATION_BINS * np.arange(networks)[:, None]
    missed = np.bincount(bins.ravel(), (right - probabilities).ravel(), CALIBRATION_BINS * networks)
    return [float(np.abs(of_each).sum() / samples) for of_each in missed.reshape(networks, CALIBRATION_BINS)]
