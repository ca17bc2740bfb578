"""Folds and repeats: against scikit-learn, and what they must not touch."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from image_files import folder_data, write_folder
from sklearn.model_selection import StratifiedKFold

from tlsweep.data import load_task
from tlsweep.data.views import run_tasks, with_few_labels
from tlsweep.errors import DataError, SpecError
from tlsweep.spec import DigitsData, derive_seed, load_spec


def test_folds_are_those_of_scikit_learn(tmp_path: Path) -> None:
    plain = load_task(DigitsData(source="digits"), 3, cache=tmp_path)
    task = load_task(DigitsData(source="digits", folds=5, repeats=2), 3, cache=tmp_path)
    assert np.array_equal(task.splits["test"], plain.splits["test"])
    pool = np.setdiff1d(np.arange(len(task.labels)), task.splits["test"])
    runs = iter(task.runs)
    for repeat in range(2):
        seed = derive_seed(3, "folds", repeat) % 2**32
        reference = StratifiedKFold(5, shuffle=True, random_state=seed).split(pool, task.labels[pool])
        for fold, (train, val) in enumerate(reference):
            run = next(runs)
            assert (run.fold, run.repeat) == (fold, repeat)
            assert np.array_equal(run.train, pool[train])
            assert np.array_equal(run.val, pool[val])
    assert not np.array_equal(task.runs[0].val, task.runs[5].val)


def test_each_run_is_normalised_by_its_own_training_images(tmp_path: Path) -> None:
    task = load_task(DigitsData(source="digits", folds=3), 0, cache=tmp_path)
    views = run_tasks(task)
    for view, run in zip(views, task.runs, strict=True):
        pixels = np.asarray(task.images)[run.train] / 255
        assert view.mean == pytest.approx([pixels.mean()])
        assert view.std == pytest.approx([pixels.std()])
        assert view.images is task.images
        assert view.runs == ()
        assert np.array_equal(view.splits["test"], task.splits["test"])
    assert (task.mean, task.std) == (views[0].mean, views[0].std)
    assert np.array_equal(task.splits["train"], task.runs[0].train)
    assert len({view.mean for view in views}) == 3


def test_few_labels_are_drawn_for_each_run_and_validation_stays_whole(tmp_path: Path) -> None:
    whole = load_task(DigitsData(source="digits", folds=3), 0, cache=tmp_path)
    few = load_task(DigitsData(source="digits", folds=3, labels_per_class=8), 0, cache=tmp_path)
    fewer = with_few_labels(few, 2, 0)
    for run, more, less in zip(whole.runs, few.runs, fewer.runs, strict=True):
        assert np.array_equal(run.val, more.val)
        assert np.array_equal(run.val, less.val)
        assert set(less.train) < set(more.train) < set(run.train)
        assert np.bincount(few.labels[more.train]).tolist() == [8] * 10
        assert np.bincount(few.labels[less.train]).tolist() == [2] * 10
    assert np.array_equal(fewer.splits["train"], fewer.runs[0].train)
    repeats = load_task(DigitsData(source="digits", repeats=3, labels_per_class=8), 0, cache=tmp_path).runs
    assert all(np.array_equal(one.val, other.val) for one, other in pairwise(repeats))
    assert len({tuple(run.train) for run in repeats}) == 3


def test_the_fingerprint_tells_folds_and_repeats_apart(tmp_path: Path) -> None:
    tasks = [
        load_task(DigitsData(source="digits", **changed), 0, cache=tmp_path)  # type: ignore[arg-type]
        for changed in ({}, {"folds": 5}, {"folds": 4}, {"folds": 5, "repeats": 2}, {"repeats": 2}, {"repeats": 3})
    ]
    assert len({task.fingerprint for task in tasks}) == len(tasks)


@pytest.mark.parametrize("limit", [2**30, 1000])
def test_a_given_validation_split_takes_part_in_memory_and_streamed(tmp_path: Path, limit: int) -> None:
    counts = {f"{split}/{label}": count for split, count in (("train", 6), ("val", 3), ("test", 2)) for label in "ab"}
    root = write_folder(tmp_path / "images", counts)
    task = load_task(folder_data(root, folds=3, image_size=16, memory_limit=limit), 0, cache=tmp_path / "cache")
    assert [len(run.val) for run in task.runs] == [6, 6, 6]
    assert sorted(np.concatenate([run.val for run in task.runs])) == list(range(18))
    assert task.size("test") == 4
    assert isinstance(task.images, np.ndarray) == (limit > 1000)
    pixels = task.images if isinstance(task.images, np.ndarray) else task.images.load(np.arange(22))
    for view in run_tasks(task):
        train = pixels[view.splits["train"]] / 255
        assert view.mean == pytest.approx(train.mean(axis=(0, 1, 2)))


def test_a_class_with_fewer_images_than_folds_is_named() -> None:
    with pytest.raises(DataError, match=r"data\.folds is 100, but class '8' has 70 images .* set data\.folds to 70 or"):
        load_task(DigitsData(source="digits", folds=100), 0)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"folds": 1}, "data.folds"),
        ({"repeats": 0}, "data.repeats"),
    ],
)
def test_mistakes_name_the_field(data: dict[str, int], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        load_spec({"data": {"source": "digits", **data}, "search": {"strategy": "random"}})


def test_a_source_task_has_no_folds() -> None:
    weights = {"data": {"source": "digits", "domain": "source", "folds": 5}}
    spec = {"data": {"source": "digits"}, "model": {"weights": weights}, "search": {"strategy": "random"}}
    with pytest.raises(SpecError, match="a source task is trained on once: leave folds and repeats out"):
        load_spec(spec)
