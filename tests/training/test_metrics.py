"""Figures of merit: equal to scikit-learn's."""

import json

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from tlsweep.training.metrics import score

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
