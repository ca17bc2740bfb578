"""Few labels as a view on a task: the same images, other training indices, their own normalisation."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from tlsweep.data import Task, load_task
from tlsweep.data.views import with_few_labels
from tlsweep.errors import DataError
from tlsweep.spec import DigitsData


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    return load_task(DigitsData(source="digits", labels_per_class=20), 3, cache=tmp_path_factory.mktemp("cache"))


def test_the_fewer_are_among_the_more_and_the_other_splits_stay(task: Task) -> None:
    views = [with_few_labels(task, count, 3) for count in (1, 5, 20)]
    for fewer, more in pairwise(views):
        assert set(fewer.splits["train"]) < set(more.splits["train"])
    assert np.array_equal(views[-1].splits["train"], task.splits["train"])
    for view, count in zip(views, (1, 5, 20), strict=True):
        assert np.bincount(view.labels[view.splits["train"]]).tolist() == [count] * 10
        assert all(np.array_equal(view.splits[name], task.splits[name]) for name in ("val", "test"))


def test_no_image_is_copied(task: Task) -> None:
    view = with_few_labels(task, 5, 3)
    assert view.images is task.images
    assert view.labels is task.labels


def test_normalisation_is_that_of_the_few(task: Task) -> None:
    view = with_few_labels(task, 2, 3)
    pixels = task.images[view.splits["train"]] / 255
    assert view.mean == pytest.approx(pixels.mean((0, 1, 2)))
    assert view.std == pytest.approx(pixels.std((0, 1, 2)))
    assert view.mean != task.mean


def test_it_is_what_loading_with_so_many_labels_gives(tmp_path: Path) -> None:
    data = DigitsData(source="digits")
    full = load_task(data, 3, cache=tmp_path)
    few = load_task(data.model_copy(update={"labels_per_class": 4}), 3, cache=tmp_path)
    view = with_few_labels(full, 4, 3)
    assert (view.mean, view.std) == (few.mean, few.std)
    assert all(np.array_equal(view.splits[name], few.splits[name]) for name in few.splits)


def test_views_that_differ_have_other_fingerprints(task: Task) -> None:
    prints = {task.fingerprint, *(with_few_labels(task, count, 3).fingerprint for count in (1, 2, 1))}
    assert len(prints) == 3


def test_more_than_there_are_is_refused(task: Task) -> None:
    with pytest.raises(DataError, match="has 20 training images"):
        with_few_labels(task, 21, 3)
