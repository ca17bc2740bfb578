"""The same picture in two splits, under two classes, or in the source task."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from image_files import folder_data, picture, write_folder
from PIL import Image

from tlsweep.data import Task, load_task
from tlsweep.data.duplicates import Duplicates, count_in_source
from tlsweep.data.hashing import DISTANCE, difference_hashes, near_pairs
from tlsweep.errors import DataError

FOLDERS = {f"{split}/{name}": 4 for split in ("train", "val", "test") for name in ("ant", "bee")}


def a_set(root: Path, copies: dict[str, str], *, size: tuple[int, int] = (96, 96)) -> Path:
    """Four images for each split and class, and `copies` of some of them."""
    write_folder(root, FOLDERS, size=size)
    for copy, original in copies.items():
        shutil.copy(root / original, root / copy)
    return root


def counts(task: Task) -> dict[str, int]:
    return {kind: count for kind, count in task.duplicates.counts().items() if count}


@pytest.mark.parametrize(
    ("copies", "expected"),
    [
        ({}, {}),
        ({"train/ant/x.png": "train/ant/000.png"}, {}),
        ({"test/ant/x.png": "train/ant/000.png"}, {"across_splits": 1}),
        ({"test/ant/x.png": "val/ant/000.png", "val/ant/y.png": "train/ant/001.png"}, {"across_splits": 2}),
        ({"train/bee/x.png": "train/ant/000.png"}, {"across_classes": 2}),
        ({"test/bee/x.png": "train/ant/000.png"}, {"across_splits": 1, "across_classes": 2}),
    ],
)
@pytest.mark.parametrize(
    "fields", [{}, {"image_size": 8}, {"memory_limit": 1, "image_size": 80}], ids=["whole", "small", "streamed"]
)
def test_equal_pictures_are_counted(
    tmp_path: Path, copies: dict[str, str], expected: dict[str, int], fields: dict[str, int]
) -> None:
    root = a_set(tmp_path, copies)
    task = load_task(folder_data(root, **fields), 0)
    assert counts(task) == expected
    assert len(task.remarks) == len(expected)
    if "across_splits" in expected:
        name = next(copy for copy in copies if copy.startswith("test"))
        assert f"{name} = " in "".join(task.remarks)


@pytest.mark.parametrize(
    ("change", "near"),
    [
        (lambda image: image, 0),
        (lambda image: image.resize((48, 48)), 1),
        (lambda image: image.resize((150, 150), Image.Resampling.BICUBIC), 1),
        (lambda image: image.point(lambda value: min(255, int(value * 1.1))), 1),
        (lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), 0),
        (lambda image: picture(12345, (96, 96)), 0),
    ],
    ids=["equal", "half", "larger", "brighter", "mirrored", "another"],
)
def test_pictures_that_are_nearly_the_same_are_counted(tmp_path: Path, change: object, near: int) -> None:
    root = a_set(tmp_path, {})
    with Image.open(root / "train/ant/000.png") as image:
        change(image).save(root / "test/bee/x.png")  # type: ignore[operator]
    found = load_task(folder_data(root, image_size=96), 0).duplicates
    assert (found.near.count, found.near_across_classes.count) == (near, 2 * near)


COPIES = {
    "test/ant/x.png": "train/ant/000.png",
    "val/ant/x.png": "train/ant/001.png",
    "train/bee/x.png": "train/ant/002.png",
    "train/bee/y.png": "train/bee/000.png",
}


def test_dropped_are_training_images_that_are_held_out_too_or_under_two_classes(tmp_path: Path) -> None:
    root = a_set(tmp_path, COPIES)
    warned = load_task(folder_data(root), 0)
    task = load_task(folder_data(root, on_duplicate="drop"), 0)
    names = [f"ant/{at:03d}" for at in range(4)] + [f"bee/{at:03d}" for at in range(4)] + ["bee/x", "bee/y"]
    kept = [names[at] for at in task.splits["train"]]
    assert kept == ["ant/003", "bee/000", "bee/001", "bee/002", "bee/003", "bee/y"]
    assert counts(task) == {"across_splits": 2, "across_classes": 2, "dropped": 4}
    assert all(np.array_equal(task.splits[split], warned.splits[split]) for split in ("val", "test"))
    assert task.fingerprint != warned.fingerprint


def test_each_fold_trains_without_what_it_is_validated_on(tmp_path: Path) -> None:
    root = a_set(tmp_path, {"train/ant/x.png": "train/ant/000.png", "train/bee/x.png": "train/bee/001.png"})
    task = load_task(folder_data(root, on_duplicate="drop", folds=4), 0)
    for run in task.runs:
        held = {task.images[at].tobytes() for at in run.val}
        assert not any(task.images[at].tobytes() in held for at in run.train)


@pytest.mark.parametrize(
    ("copies", "message"),
    [
        ({"test/ant/x.png": "train/ant/000.png"}, r"more than once; .*\n.*: 1 image in val or test"),
        ({"train/bee/x.png": "train/ant/000.png"}, r"2 images under two classes"),
        ({"test/bee/x.png": "test/ant/000.png"}, r"2 images under two classes"),
    ],
)  # fmt: skip
def test_duplicates_stop_if_asked(tmp_path: Path, copies: dict[str, str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_task(folder_data(a_set(tmp_path, copies), on_duplicate="stop"), 0)


def test_a_class_that_is_lost_to_dropping_is_named(tmp_path: Path) -> None:
    copies = {f"train/bee/x{at}.png": f"train/ant/{at:03d}.png" for at in range(4)}
    with pytest.raises(DataError, match=r"on_duplicate: drop leaves class 'ant' no training images \(1 of 2"):
        load_task(folder_data(a_set(tmp_path, copies), on_duplicate="drop"), 0)


def test_fingerprints_do_not_follow_from_duplicates_that_are_only_counted(tmp_path: Path) -> None:
    root = a_set(tmp_path, {})
    fingerprints = {load_task(folder_data(root, on_duplicate=rule), 0).fingerprint for rule in ("warn", "drop", "stop")}
    assert len(fingerprints) == 1
    assert load_task(folder_data(root), 0).duplicates == Duplicates()


@pytest.mark.parametrize(("side", "expected"), [(96, 2), (64, 2), (32, 1)])
def test_what_the_source_task_has_seen_is_counted(tmp_path: Path, side: int, expected: int) -> None:
    """Below 64 pixels only what is equal."""
    target = a_set(tmp_path / "target", {})
    source = write_folder(tmp_path / "source", {"cat": 6, "dog": 6}, size=(70, 70))
    for seed, path in enumerate(sorted(source.rglob("*.png"))):
        picture(50_000 + seed, (70, 70)).save(path)
    shutil.copy(target / "test/ant/000.png", source / "cat" / "x.png")
    with Image.open(target / "val/bee/001.png") as image:
        image.resize((200, 200)).save(source / "dog" / "y.png")
    loaded = [load_task(folder_data(root, image_size=side), 0) for root in (source, target)]
    assert count_in_source(*loaded) == expected


def test_near_pairs_are_those_of_a_search_through_all() -> None:
    random = np.random.default_rng(0)
    hashes = random.integers(0, 2**64, 200, dtype=np.uint64)
    near = hashes[:100].copy()
    for _ in range(7):
        near ^= np.uint64(1) << random.integers(0, 64, 100).astype(np.uint64)
    everything = np.concatenate([hashes, near, hashes[:3]])
    distances = np.bitwise_count(everything[:, None] ^ everything[None, :])
    expected = np.argwhere(np.triu(distances <= DISTANCE, k=1))
    assert np.array_equal(near_pairs(everything), expected)
    assert 3 < len(expected) < 110


def test_a_hash_is_that_of_its_paper() -> None:
    ramp = np.tile(np.arange(72, dtype=np.uint8), (72, 1))[None, ..., None]
    assert difference_hashes(np.concatenate([ramp, ramp[:, :, ::-1]])).tolist() == [2**64 - 1, 0]
