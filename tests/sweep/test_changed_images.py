"""A resume with other images says how they differ. Without Ray."""

from typing import Any

import numpy as np
import pytest

from tlsweep.data import Task
from tlsweep.errors import DataError
from tlsweep.spec import Augment
from tlsweep.sweep.resuming import History


def a_task(classes: tuple[str, ...] = ("ant", "bee"), train: int = 6, test: int = 2) -> Task:
    images = np.zeros((10, 8, 8, 1), np.uint8)
    splits = {"train": np.arange(train), "val": np.arange(2), "test": np.arange(test)}
    return Task(images, np.zeros(10, np.int64), splits, classes, (0.0,), (1.0,), np.zeros((10, 2, 1), np.int64), 8,
                Augment(), f"{classes}{train}{test}")  # fmt: skip


LAUNCHED = {"data": a_task().fingerprint, "images": {"train": 6, "val": 2, "test": 2}, "classes": ["ant", "bee"]}


@pytest.mark.parametrize(
    ("now", "launched", "message"),
    [
        (a_task(("ant", "bee", "cat")), LAUNCHED, "began: new classes: 'cat' "),
        (a_task(("ant", "wasp")), LAUNCHED, "began: new classes: 'wasp'; classes that are gone: 'bee' "),
        (a_task(train=7), LAUNCHED, r"began: 7 images in train, there were 6 \("),
        (a_task(("ant",), test=1), LAUNCHED, "classes that are gone: 'bee'; 1 images in test, there were 2"),
        (a_task(), {**LAUNCHED, "data": "other"}, "as many of the same classes in each split, but other pictures"),
        (a_task(train=7), {"data": "of an earlier version"}, r"since the sweep began \(fingerprint"),
    ],
)
def test_images_that_have_changed_are_told_apart(now: Task, launched: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        History([], launched, {}).check_data(now)


@pytest.mark.parametrize("launched", [{}, LAUNCHED, {"data": a_task().fingerprint}])
def test_the_same_images_go_on(launched: dict[str, Any]) -> None:
    History([], launched, {}).check_data(a_task())
