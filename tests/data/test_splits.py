import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import train_test_split

from tlsweep.data.splits import few_shot, make_splits, stratified
from tlsweep.errors import DataError
from tlsweep.spec import DigitsData


def _labels(counts: list[int], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))


def _names(counts: list[int]) -> list[str]:
    return [f"class {number}" for number in range(len(counts))]


@given(counts=st.lists(st.integers(15, 60), min_size=2, max_size=5), seed=st.integers(0, 9))
@settings(max_examples=30, deadline=None)
def test_everybody_is_in_one_split_and_classes_keep_their_share(counts: list[int], seed: int) -> None:
    labels = _labels(counts, seed)
    everyone = np.arange(len(labels))
    splits = make_splits(labels, {"train": everyone}, _names(counts), DigitsData(source="digits"), seed)
    assert sorted(np.concatenate(list(splits.values())).tolist()) == everyone.tolist()
    for indices in splits.values():
        assert indices.dtype == np.int64
        assert (np.diff(indices) > 0).all()
        share = len(indices) / len(labels)
        assert np.abs(np.bincount(labels[indices]) - share * np.array(counts)).max() < 2


@given(counts=st.lists(st.integers(2, 40), min_size=2, max_size=12), share=st.floats(0.1, 0.9), seed=st.integers(0, 99))
@settings(max_examples=50, deadline=None)
def test_images_are_divided_as_by_scikit_learn(counts: list[int], share: float, seed: int) -> None:
    """To the image, with which earlier versions divided them."""
    labels = _labels(counts, seed)
    kept = min(max(len(counts), round(share * len(labels))), len(labels) - len(counts))
    reference = train_test_split(
        np.arange(len(labels)), train_size=kept, stratify=labels, random_state=np.random.RandomState(seed)
    )
    divided = stratified(labels, kept, np.random.RandomState(seed))
    assert [side.tolist() for side in divided] == [sorted(side.tolist()) for side in reference]


def test_fractions_are_of_all_that_can_be_set_aside() -> None:
    data = DigitsData(source="digits", val_fraction=0.3, test_fraction=0.5)
    splits = make_splits(_labels([50, 50]), {"train": np.arange(100)}, _names([0, 0]), data, 0)
    assert {name: len(indices) for name, indices in splits.items()} == {"train": 20, "val": 30, "test": 50}


def test_given_splits_stay() -> None:
    labels = _labels([50, 50])
    given_splits = {"train": np.arange(60), "val": np.arange(60, 80), "test": np.arange(80, 100)}
    splits = make_splits(labels, given_splits, _names([0, 0]), DigitsData(source="digits", labels_per_class=5), 0)
    assert np.array_equal(splits["val"], given_splits["val"])
    assert np.array_equal(splits["test"], given_splits["test"])
    assert len(splits["train"]) == 10


def test_the_seed_decides_and_nothing_else() -> None:
    labels, names, data = _labels([50, 50]), _names([0, 0]), DigitsData(source="digits")
    first = make_splits(labels, {"train": np.arange(100)}, names, data, 1)
    np.random.default_rng().random(3)
    again = make_splits(labels, {"train": np.arange(100)}, names, data, 1)
    other = make_splits(labels, {"train": np.arange(100)}, names, data, 2)
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not np.array_equal(first["val"], other["val"])


@given(few=st.integers(1, 20), more=st.integers(1, 20), seed=st.integers(0, 99))
@settings(max_examples=50, deadline=None)
def test_few_shot_subsets_are_nested(few: int, more: int, seed: int) -> None:
    labels = _labels([20, 25, 40])
    few, more = sorted((few, more))
    smaller, larger = (few_shot(np.arange(85), labels, count, _names([0] * 3), seed) for count in (few, more))
    assert set(smaller) <= set(larger)
    assert np.bincount(labels[smaller]).tolist() == [few] * 3
    assert (np.diff(larger) > 0).all()


def test_labels_per_class_does_not_move_the_other_splits() -> None:
    labels, names, everyone = _labels([50, 50]), _names([0, 0]), {"train": np.arange(100)}
    full = make_splits(labels, everyone, names, DigitsData(source="digits"), 4)
    few = make_splits(labels, everyone, names, DigitsData(source="digits", labels_per_class=3), 4)
    assert set(few["train"]) < set(full["train"])
    assert np.array_equal(full["val"], few["val"])
    assert np.array_equal(full["test"], few["test"])


@pytest.mark.parametrize(
    ("counts", "fields", "message"),
    [
        ([30, 30], {"labels_per_class": 19}, "class 'class 0' has 18 training images; set it to 18 or less"),
        ([30, 1], {}, "class 'class 1' has 1 images"),
        ([3, 3], {"test_fraction": 0.1}, "1 of 6 images are to be set aside for test"),
        ([90, 2], {}, "class 'class 1'"),
        ([30, 30], {"val_fraction": 0.6, "test_fraction": 0.6}, "must be below 1"),
    ],
)
def test_too_few_images(counts: list[int], fields: dict[str, float], message: str) -> None:
    labels = _labels(counts)
    data = DigitsData(**{"source": "digits"} | fields)
    with pytest.raises(DataError, match=message):
        make_splits(labels, {"train": np.arange(len(labels))}, _names(counts), data, 0)
