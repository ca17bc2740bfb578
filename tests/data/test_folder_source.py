from pathlib import Path

import numpy as np
import pytest
from image_files import folder_data, picture, write_folder
from PIL import Image
from torchvision.datasets import ImageFolder

from tlsweep.data import load_task
from tlsweep.data.sources.folder import FileItems, find_folder
from tlsweep.errors import DataError

TWO = {"train/ant": 6, "train/bee": 7, "val/ant": 2, "val/bee": 2, "test/ant": 1, "test/bee": 3}


def test_same_files_and_classes_as_image_folder(tmp_path: Path) -> None:
    write_folder(tmp_path, {"Zebra": 3, "ant": 4, "bee/near": 2, "bee/far": 2}, suffix=".jpg")
    reference = ImageFolder(str(tmp_path))
    found = find_folder(folder_data(tmp_path))
    assert isinstance(found.items, FileItems)
    ours = {(str(tmp_path / path), label) for path, label in zip(found.items.paths, found.items.labels, strict=True)}
    assert ours == set(reference.samples)
    assert found.classes == tuple(reference.classes)


@pytest.mark.parametrize("name", ["val", "valid", "validation"])
def test_given_splits_are_used_as_they_are(tmp_path: Path, name: str) -> None:
    write_folder(tmp_path, {path.replace("val/", f"{name}/"): count for path, count in TWO.items()})
    task = load_task(folder_data(tmp_path), 0)
    assert {split: task.size(split) for split in task.splits} == {"train": 13, "val": 4, "test": 4}
    assert task.labels[task.splits["test"]].tolist() == [0, 1, 1, 1]
    assert (task.classes, task.set_aside) == (("ant", "bee"), ())


def test_missing_splits_are_set_aside_from_train_as_fractions_of_it(tmp_path: Path) -> None:
    write_folder(tmp_path, {"train/ant": 20, "train/bee": 20, "val/ant": 2, "val/bee": 2})
    task = load_task(folder_data(tmp_path, test_fraction=0.1), 0)
    assert {split: task.size(split) for split in task.splits} == {"train": 36, "val": 4, "test": 4}
    assert set(task.splits["test"]) < set(range(40))
    assert task.set_aside == ("test",)
    assert load_task(folder_data(tmp_path, test_fraction=0.1, folds=2), 0).set_aside == ("test",)


def test_hidden_files_and_folders_are_no_images(tmp_path: Path) -> None:
    write_folder(tmp_path, {"ant": 6, "bee": 6})
    (tmp_path / "ant" / ".DS_Store").write_bytes(b"x")
    (tmp_path / ".cache").mkdir()
    (tmp_path / "ant" / ".thumbs").mkdir()
    (tmp_path / "ant" / ".thumbs" / "a.png").write_bytes(b"x")
    assert len(load_task(folder_data(tmp_path), 0).labels) == 12


def _spoil(root: Path) -> list[str]:
    """Four bad files of four kinds; their names."""
    whole = (root / "ant" / "000.jpg").read_bytes()
    (root / "ant" / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (root / "ant" / "notes.txt").write_text("not an image")
    picture(0).save(root / "bee" / "animation.gif")
    (root / "bee" / "gone.jpg").symlink_to(root / "nowhere.jpg")
    return ["ant/cut.jpg", "ant/notes.txt", "bee/animation.gif", "bee/gone.jpg"]


def test_bad_images_stop_with_their_names(tmp_path: Path) -> None:
    write_folder(tmp_path, {"ant": 8, "bee": 8}, size=(90, 80), suffix=".jpg")
    names = _spoil(tmp_path)
    with pytest.raises(DataError, match=r"4 of 20 files .*data.on_bad_image: skip") as caught:
        load_task(folder_data(tmp_path), 0)
    assert all(name in str(caught.value) for name in names)


def test_many_bad_images_are_counted_and_ten_are_named(tmp_path: Path) -> None:
    write_folder(tmp_path, {"ant": 8, "bee": 8})
    for number in range(12):
        (tmp_path / "bee" / f"x{number:02d}.txt").write_text("x")
    with pytest.raises(DataError, match="12 of 28 files") as caught:
        load_task(folder_data(tmp_path), 0)
    assert "x09.txt" in str(caught.value)
    assert "x10.txt" not in str(caught.value)
    assert "and 2 more" in str(caught.value)


def test_bad_images_are_skipped_if_asked(tmp_path: Path) -> None:
    write_folder(tmp_path, {"ant": 8, "bee": 8}, size=(90, 80), suffix=".jpg")
    names = _spoil(tmp_path)
    task = load_task(folder_data(tmp_path, on_bad_image="skip"), 0)
    assert [line.split(":")[0] for line in task.skipped] == names
    used = np.concatenate(list(task.splits.values()))
    assert len(set(used)) == 16
    assert task.images[used].reshape(16, -1).any(axis=1).all(), "no black image stands for a bad one"
    assert np.bincount(task.labels[used]).tolist() == [8, 8]


def test_exif_orientation_is_respected(tmp_path: Path) -> None:
    write_folder(tmp_path, {"ant": 6, "bee": 6}, size=(96, 96), suffix=".jpg")
    upright = Image.open(tmp_path / "ant" / "000.jpg")
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 270 degrees to see it upright
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "ant" / "001.jpg", exif=exif, quality=95)
    task = load_task(folder_data(tmp_path, image_size=48), 0)
    error = np.abs(task.images[0].astype(int) - task.images[1].astype(int)).mean()
    assert error < 4, "the turned file shows the same picture"


def test_grey_stays_one_channel_only_if_all_are_grey(tmp_path: Path) -> None:
    write_folder(tmp_path / "grey", {"ant": 6, "bee": 6}, mode="L")
    assert load_task(folder_data(tmp_path / "grey"), 0).channels == 1
    write_folder(tmp_path / "mixed", {"ant": 6, "bee": 6}, mode="L")
    picture(1).save(tmp_path / "mixed" / "bee" / "003.png")
    mixed = load_task(folder_data(tmp_path / "mixed"), 0)
    assert mixed.channels == 3
    assert len(mixed.mean) == len(mixed.std) == 3


def test_small_images_of_one_size_are_stored_as_they_are(tmp_path: Path) -> None:
    write_folder(tmp_path, {"ant": 6, "bee": 6}, size=(32, 32))
    task = load_task(folder_data(tmp_path), 0)
    assert (task.image_size, task.images.shape) == (32, (12, 32, 32, 3))
    assert np.array_equal(task.images[3], np.asarray(Image.open(tmp_path / "ant" / "003.png")))


@pytest.mark.parametrize(
    ("size", "fields", "image_size", "side"),
    [
        ((40, 30), {}, 30, 30),
        ((100, 80), {}, 224, 224),
        ((100, 80), {"augment": {"crop": "shift"}}, 224, 256),
        ((100, 80), {"image_size": 56, "augment": {"crop": "resized"}}, 56, 64),
        ((32, 32), {"image_size": 28, "augment": {"crop": "shift"}}, 28, 32),
        ((32, 32), {"image_size": 64}, 64, 64),
        ((32, 32), {"image_size": 16}, 16, 16),
    ],
)
def test_stored_side(
    tmp_path: Path, size: tuple[int, int], fields: dict[str, object], image_size: int, side: int
) -> None:
    write_folder(tmp_path, {"ant": 6, "bee": 6}, size=size)
    task = load_task(folder_data(tmp_path, **fields), 0)
    assert (task.image_size, task.images.shape[1]) == (image_size, side)


def test_images_of_two_sizes_are_not_taken_as_they_are(tmp_path: Path) -> None:
    write_folder(tmp_path, {"ant": 6, "bee": 6}, size=(32, 32))
    picture(1, (33, 32)).save(tmp_path / "bee" / "005.png")
    assert load_task(folder_data(tmp_path), 0).image_size == 224


@pytest.mark.parametrize(
    ("counts", "fields", "message"),
    [
        ({}, {}, "has no class folders"),
        ({"ant": 5}, {}, "one class only, 'ant'"),
        ({"ant": 5, "bee": 0}, {}, "'.*bee' holds no files"),
        ({"val/ant": 5, "test/ant": 5}, {}, "has val, test but no train"),
        (TWO | {"valid/ant": 1}, {}, "both val and valid"),
        (TWO | {"val/cat": 1}, {}, "the class 'cat', which the training data lack"),
        ({"train/ant": 5, "train/bee": 5, "val/ant": 2}, {}, "class 'bee' has no images in the split 'val'"),
        (TWO | {"val/ant": 0, "val/bee": 0}, {}, "the split 'val' holds no images"),
        ({"ant": 50, "bee": 1}, {}, "class 'bee' has 1 images"),
        ({"ant": 2, "bee": 2}, {}, "too few to have all 2 classes"),
        ({"ant": 9, "bee": 9}, {"val_fraction": 0.5, "test_fraction": 0.5}, "their sum must be below 1"),
        ({"ant": 9, "bee": 20}, {"labels_per_class": 8}, "class 'ant' has 5 training images; set it to 5 or less"),
    ],
)
def test_folders_that_cannot_be_trained_on(
    tmp_path: Path, counts: dict[str, int], fields: dict[str, object], message: str
) -> None:
    write_folder(tmp_path, counts)
    with pytest.raises(DataError, match=message):
        load_task(folder_data(tmp_path, **fields), 0)


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere' does not exist; wanted: train/CLASS"):
        load_task(folder_data(tmp_path / "nowhere"), 0)


def test_class_that_is_lost_to_bad_images(tmp_path: Path) -> None:
    write_folder(tmp_path, {"ant": 8, "bee": 0})
    for number in range(8):
        (tmp_path / "bee" / f"{number}.jpg").write_bytes(b"broken")
    with pytest.raises(DataError, match="class 'bee' has no training image that decodes"):
        load_task(folder_data(tmp_path, on_bad_image="skip"), 0)


@pytest.mark.data
def test_ants_and_bees(test_data: Path) -> None:
    root = test_data / "datasets" / "hymenoptera_data"
    with pytest.raises(DataError, match=r"1 of 398 files .*\n.*imageNotFound\.gif"):
        load_task(folder_data(root, image_size=32), 0)
    found = find_folder(folder_data(root))
    reference = [ImageFolder(str(root / split)) for split in ("train", "val")]
    assert isinstance(found.items, FileItems)
    ours = {str(root / path) for path in found.items.paths if not path.endswith(".gif")}
    assert ours == {path for split in reference for path, _ in split.samples}
    task = load_task(folder_data(root, image_size=32, on_bad_image="skip", test_fraction=0.25), 0)
    assert (task.size("train") + task.size("test"), task.size("val")) == (244, 153)
    assert task.size("test") == 61
    assert task.classes == ("ants", "bees")
