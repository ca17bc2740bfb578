"""Splits that leave groups whole."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedGroupKFold

from tlsweep.data import grouping
from tlsweep.data.grouping import group_folds, set_groups_aside
from tlsweep.errors import DataError

CLASSES = ("ant", "bee", "cat")


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 1000), st.integers(8, 40), st.floats(0.05, 0.9))
def test_what_is_set_aside_divides_no_group_and_has_every_class(seed: int, groups: int, share: float) -> None:
    random = np.random.default_rng(seed)
    of = np.concatenate([np.arange(groups), random.integers(0, groups, 100)])
    labels = random.integers(0, 3, len(of))
    train = np.flatnonzero(random.random(len(of)) < 0.9)
    try:
        kept, aside = set_groups_aside(train, labels, of, round(share * len(train)), CLASSES, "val", seed)
    except DataError:
        return  # a class in one group only
    assert np.array_equal(np.union1d(kept, aside), train)
    assert not set(of[kept]) & set(of[aside])
    assert set(labels[kept]) == set(labels[aside]) == {0, 1, 2}
    again = set_groups_aside(train, labels, of, round(share * len(train)), CLASSES, "val", seed)
    assert np.array_equal(again[1], aside)


@pytest.mark.parametrize("many", [2000, 10])
@pytest.mark.parametrize("share", [0.1, 0.2, 0.3, 0.5, 0.8])
def test_as_many_are_set_aside_as_are_asked_for(monkeypatch: pytest.MonkeyPatch, many: int, share: float) -> None:
    monkeypatch.setattr(grouping, "_MANY", many)
    of = np.arange(300) % 60
    labels = of % 3
    _, aside = set_groups_aside(np.arange(300), labels, of, round(share * 300), CLASSES, "test", 0)
    assert len(aside) == pytest.approx(share * 300, abs=10)


def test_a_class_in_two_groups_is_in_both_parts() -> None:
    of = np.repeat(np.arange(22), 5)
    labels = np.where(of < 2, 2, of % 2)  # the class cat is in the first two groups
    kept, aside = set_groups_aside(np.arange(110), labels, of, 22, CLASSES, "val", 0)
    assert set(labels[kept]) == set(labels[aside]) == {0, 1, 2}
    with pytest.raises(DataError, match=r"class 'cat' is in 1 group of .* train and val each need one .*val_fraction"):
        set_groups_aside(np.arange(5, 110), labels, of, 22, CLASSES, "val", 0)


def test_folds_are_those_of_scikit_learn() -> None:
    random = np.random.default_rng(0)
    of, labels = random.integers(0, 30, 300), random.integers(0, 3, 300)
    pool = np.arange(0, 300, 2)
    found = list(group_folds(pool, labels, of, 4, CLASSES, 7))
    reference = StratifiedGroupKFold(4, shuffle=True, random_state=7).split(pool, labels[pool], of[pool])
    for (train, val), expected in zip(found, reference, strict=True):
        assert np.array_equal(train, pool[expected[0]])
        assert np.array_equal(val, pool[expected[1]])
    with pytest.raises(DataError, match=r"class 'ant' is in \d+ groups of .* each of 31 folds needs one .*data.folds"):
        list(group_folds(pool, labels, of, 31, CLASSES, 7))
