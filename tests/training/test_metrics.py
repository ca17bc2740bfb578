"""Figures of merit: equal to scikit-learn's."""

import json

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference
from sklearn.calibration import calibration_curve

from tlsweep.training import metrics
from tlsweep.training.metrics import calibration_error, macro_auroc, score

CLASSES = 6


def pairs() -> st.SearchStrategy[list[tuple[int, int]]]:
    """(true, predicted) classes; the last class never occurs, others may not."""
    known = st.integers(0, CLASSES - 2)
    return st.lists(st.tuples(known, known), min_size=1, max_size=60)


@settings(deadline=None)  # scikit-learn is imported by the first
@given(pairs())
def test_all_figures_equal_scikit_learns_over_all_classes(samples: list[tuple[int, int]]) -> None:
    labels, predictions = np.array(samples).T
    ours = score(labels, predictions, CLASSES, loss=0.5)
    everything = range(CLASSES)
    macro = reference.precision_recall_fscore_support(
        labels, predictions, labels=everything, average="macro", zero_division=0
    )
    each = reference.precision_recall_fscore_support(labels, predictions, labels=everything, zero_division=0)
    assert (ours.precision, ours.recall, ours.f1) == pytest.approx(macro[:3], abs=1e-12)
    assert ours.accuracy == pytest.approx(reference.accuracy_score(labels, predictions))
    assert ours.loss == 0.5
    for mine, theirs in zip(
        (ours.per_class.precision, ours.per_class.recall, ours.per_class.f1, ours.per_class.support), each, strict=True
    ):
        np.testing.assert_allclose(mine, theirs, atol=1e-12)
    np.testing.assert_array_equal(ours.confusion, reference.confusion_matrix(labels, predictions, labels=everything))


def test_a_class_that_the_split_lacks_counts_as_zero() -> None:
    perfect: npt.NDArray[np.int64] = np.array([0, 1, 0, 1])
    assert score(perfect, perfect, 2, loss=0.0).f1 == 1.0
    assert score(perfect, perfect, 4, loss=0.0).f1 == 0.5


def test_the_plain_form_survives_json() -> None:
    result = score(np.array([0, 1, 1]), np.array([0, 1, 0]), 2, loss=0.25)
    plain = json.loads(json.dumps(result.to_dict()))
    assert (plain["loss"], plain["accuracy"]) == (0.25, result.accuracy)
    assert plain["per_class"]["support"] == [1, 2]
    assert plain["confusion"] == [[1, 0], [1, 1]]


def test_recall_is_the_balanced_accuracy() -> None:
    labels = np.array([0, 0, 0, 1, 2, 2])
    predictions = np.array([0, 0, 1, 1, 0, 2])
    balanced = reference.balanced_accuracy_score(labels, predictions)
    assert score(labels, predictions, 3, loss=0.0).recall == pytest.approx(balanced)


def probabilities(classes: int, samples: int, seed: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Labels, and how probable each class is for each sample; with few decimals, so that many are equal."""
    random = np.random.default_rng(seed)
    weights = random.integers(1, 6, (samples, classes)).astype(np.float64)
    weights[:, 0] = random.integers(1, 6)
    return random.integers(0, classes, samples), (weights / weights.sum(1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize(("classes", "samples"), [(2, 30), (6, 200), (12, 60)])
def test_auroc_is_the_mean_of_scikit_learns_over_classes_that_have_both(classes: int, samples: int) -> None:
    labels, probable = probabilities(classes, samples, seed=classes)
    labels[labels == classes - 1] = 0 if classes > 6 else classes - 1  # the last class is missing
    each = [reference.roc_auc_score(labels == label, probable[:, label]) for label in np.unique(labels)]
    assert macro_auroc(labels, probable.T[None]) == [pytest.approx(np.mean(each), abs=1e-12)]


def test_auroc_of_a_head_of_zeros_is_a_half_and_of_a_single_class_unknown() -> None:
    equal = np.full((1, 3, 8), 1 / 3, np.float32)
    assert macro_auroc(np.arange(8) % 3, equal) == [0.5]
    assert macro_auroc(np.ones(8, np.int64), equal) == [None]


@pytest.mark.parametrize("at_once", [1, 2**7, 2**18])
def test_auroc_is_the_same_however_many_classes_are_sorted_at_once(
    monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    labels, probable = probabilities(9, 40, seed=0)
    together = np.stack([probable.T, 1 - probable.T, np.full_like(probable.T, np.nan), -probable.T * np.nan])
    expected = [macro_auroc(labels, one[None])[0] for one in together]
    monkeypatch.setattr(metrics, "SORTED_AT_ONCE", at_once)
    assert macro_auroc(labels, together) == expected
    assert expected[2:] == [0.5, 0.5]  # equal among each other, whatever their signs


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 45)), min_size=1, max_size=60))
def test_calibration_error_is_that_of_scikit_learns_curve(samples: list[tuple[bool, int]]) -> None:
    # 45 parts: every third probability is the border of two bins.
    right, probable = np.array([hit for hit, _ in samples]), np.array([parts / 45 for _, parts in samples])
    shares, means = calibration_curve(np.append(right, [True, False]), np.append(probable, [0.5, 0.5]), n_bins=15)
    borders = np.linspace(0, 1, 16)[1:-1]
    sizes = np.bincount(np.searchsorted(borders, np.append(probable, [0.5, 0.5])))
    expected = (np.abs(shares - means) * sizes[sizes > 0]).sum()
    (more,) = calibration_error(np.append(right, [True, False])[None], np.append(probable, [0.5, 0.5])[None])
    assert more * (len(samples) + 2) == pytest.approx(expected, abs=1e-9)
