"""Classes of unequal size: weights as scikit-learn has them, epochs in which classes come equally often."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight
from trial_fixtures import digits

from tlsweep.data import Task
from tlsweep.data.balance import check_class_names, class_counts, class_weights, neglect, sizes_in_words
from tlsweep.data.batches import Batches
from tlsweep.data.order import balanced_order
from tlsweep.data.views import with_splits
from tlsweep.errors import DataError
from tlsweep.spec import TrainSettings

__all__ = ["digits"]


@pytest.fixture(scope="module")
def uneven(digits: Task) -> Task:
    """Digits, 10 images of each class, of which of class 3 only two are left, and of class 7 five."""
    train = digits.splits["train"]
    labels = digits.labels[train]
    few = np.concatenate([np.flatnonzero(labels == 3)[2:], np.flatnonzero(labels == 7)[5:]])
    return with_splits(digits, {"train": np.delete(train, few)})


def test_balanced_weights_are_those_of_scikit_learn(uneven: Task) -> None:
    labels = uneven.labels[uneven.splits["train"]]
    expected = compute_class_weight("balanced", classes=np.arange(10), y=labels)
    np.testing.assert_allclose(class_weights("balanced", uneven), expected)  # type: ignore[arg-type]
    assert class_weights("none", uneven) is None


def test_a_class_that_has_no_weight_weighs_1(uneven: Task) -> None:
    weights = class_weights({"3": 5.0, "0": 0.5}, uneven)
    assert weights is not None
    assert weights.tolist() == [0.5, 1, 1, 5, 1, 1, 1, 1, 1, 1]


@pytest.mark.parametrize(
    ("name", "words"),
    [("ant", "there is no class 'ant'; did you mean 'ants'?"), ("9", "there is no class '9'; known: ants, bees")],
)
def test_a_weight_of_a_class_that_does_not_exist_is_refused(digits: Task, name: str, words: str) -> None:
    task = replace(digits, classes=("ants", "bees"))
    with pytest.raises(DataError, match=f"train.class_weights: {words.replace('?', '[?]')}"):
        check_class_names({"bees": 2.0, name: 1.0}, task)


def test_sizes_are_told_from_the_smallest_to_the_largest(digits: Task, uneven: Task) -> None:
    assert class_counts(uneven).tolist() == [10, 10, 10, 2, 10, 10, 10, 5, 10, 10]
    assert sizes_in_words(uneven) == "2 (3) to 10 (0) training images"
    assert sizes_in_words(digits) == "10 training images each"


@pytest.mark.parametrize(
    ("train", "metric", "words"),
    [
        ({}, "val_accuracy", ["train.class_weights: balanced or train.sampler: balanced", "metric: val_recall"]),
        ({"sampler": "balanced"}, "val_loss", ["search.metric: val_recall (balanced accuracy), as val_loss is"]),
        ({"class_weights": "balanced"}, "val_recall", []),
    ],
)
def test_rare_classes_are_pointed_out_with_what_is_left_to_do(
    digits: Task, uneven: Task, train: dict[str, str], metric: str, words: list[str]
) -> None:
    settings = TrainSettings.model_validate(train)
    said = "".join(neglect(uneven, settings, metric))
    assert said.count(";") == len(words)
    assert all(word in said for word in words)
    assert neglect(digits, settings, metric) == []


@given(st.lists(st.integers(0, 5), min_size=1, max_size=80), st.integers(0, 9))
def test_a_balanced_epoch_has_equally_many_of_each_class_evenly_drawn(labels: list[int], seed: int) -> None:
    given = torch.tensor(labels)
    order = balanced_order(given, torch.Generator().manual_seed(seed))
    assert len(order) == len(labels)
    of_class = Counter(given[order].tolist())
    assert max(of_class.values()) - min(of_class.get(label, 0) for label in labels) <= 1
    times = Counter(order.tolist())
    for label in set(labels):
        counts = [times[place] for place, other in enumerate(labels) if other == label]
        assert max(counts) - min(counts) <= 1


def test_a_balanced_epoch_follows_from_seed_and_epoch_whatever_the_batch_size(uneven: Task) -> None:
    def labels(epoch: int, batch_size: int, seed: int) -> list[int]:
        batches = Batches(uneven, sampler="balanced").train(epoch, batch_size, seed)
        return torch.cat([labels for _, labels in batches]).tolist()

    first = labels(0, 8, 1)
    assert first == labels(0, 30, 1)
    assert first != labels(1, 8, 1)
    assert first != labels(0, 8, 2)
    assert sorted(Counter(first).values()) == [8, 8, 8, 9, 9, 9, 9, 9, 9, 9]
