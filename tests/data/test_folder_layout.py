"""Which folders are splits and which are classes, whatever they are called."""

import os
import re
from pathlib import Path
from typing import Literal
from unicodedata import normalize

import pytest
from image_files import folder_data, picture, write_folder

from tlsweep.data import load_task
from tlsweep.data.items import Found
from tlsweep.data.sources.folder import find_folder
from tlsweep.errors import DataError


def touch(root: Path, *names: str) -> Path:
    """Empty files: finding does not open them."""
    for name in names:
        path = os.fsencode(root) + b"/" + os.fsencode(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        open(path, "wb").close()
    return root


def classes_in(*splits: str, classes: tuple[str, ...] = ("glass", "metal")) -> list[str]:
    """One image of each class in each folder."""
    return [f"{split}/{name}/1.jpg" for split in splits for name in classes]


def found_in(root: Path, **fields: object) -> Found:
    return find_folder(folder_data(root, **fields))


@pytest.mark.parametrize(
    ("folders", "splits"),
    [
        (["Training", "Testing"], ["train", "test"]),
        (["TRAIN", "Valid", "Test"], ["train", "val", "test"]),
        (["trn", "dev", "tst"], ["train", "val", "test"]),
        (["train_set", "test_set"], ["train", "test"]),
        (["train-images", "validation-images"], ["train", "val"]),
        (["TrainData", "TestData"], ["train", "test"]),
        (["images train", "images val"], ["train", "val"]),
        (["train2017", "val2017"], ["train", "val"]),
        (["seg_train", "seg_test"], ["train", "test"]),
        (["flowers-train", "flowersVal", "flowers.test"], ["train", "val", "test"]),
        (["train", "val", "eval"], ["train", "val", "test"]),
        (["train", "test", "holdout"], ["train", "val", "test"]),
        (["training_set/training_set", "test_set/test_set"], ["train", "test"]),
        (["seg_train/seg_train", "seg_test/seg_test"], ["train", "test"]),
    ],
    ids=lambda value: "+".join(value),
)
def test_usual_names_of_splits_are_understood(tmp_path: Path, folders: list[str], splits: list[str]) -> None:
    found = found_in(touch(tmp_path, *classes_in(*folders)))
    assert list(found.counts) == splits
    assert found.classes == ("glass", "metal")
    assert found.notes == ()


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (classes_in("Lernen", "Prüfen"), r"shape of splits.*'Lernen', 'Prüfen' hold the same folders \(glass, metal\)"),
        (classes_in("photo", "sketch", "cartoon"), "shape of splits"),
        ([*classes_in("one", "two"), "two/wood/1.jpg"], "shape of splits"),
        (["a/glass/1.jpg", "a/metal/1.jpg", "b/glass/1.jpg"], "shape of splits"),
        (["ant/train/1.jpg", "ant/test/1.jpg", "bee/train/1.jpg", "bee/test/1.jpg"], "'ant', 'bee' with splits inside"),
        (classes_in("images/train", "images/val", "labels/train", "labels/val"), "inside .*data.path is to name it"),
        (["trainA/1.jpg", "trainB/1.jpg", "testA/1.jpg", "testB/1.jpg"], "called like splits and hold no"),
        (["ants_train/1.jpg", "ants_val/1.jpg", "bees_train/1.jpg", "bees_val/1.jpg"], "called like splits"),
        (["images-test/1.jpg", "flowersTrain/1.jpg"], "called like splits|no train"),
        (["train/1.jpg", "test/1.jpg"], r"train' has no class folders \(1 images lie directly in it\)"),
        (["train/1.jpg", "bus/1.jpg"], r"no class folders.*data.splits: \{\}"),
        (["control/1.jpg", "test/1.jpg"], "has test but no train"),
        (classes_in("train", "eval"), "'eval' may be for validation or for the test"),
        (classes_in("train", "Training"), "has both Training and train"),
        (["train/old/1.jpg", "train/new/1.jpg", "bus/1.jpg", "car/1.jpg"], "'train' may be a split or"),
        (classes_in("flowers/train", "flowers/test"), r"one class only, 'flowers'.*flowers' meant, with test, train"),
        ([*classes_in("train"), "test/1.jpg", "test/2.jpg"], "test' holds 2 images without class folders, so"),
        ([*classes_in("train"), "val/1.jpg"], r"sort them into class folders \(glass, metal\), or move the folder"),
    ],
)  # fmt: skip
def test_what_may_be_splits_or_classes_is_refused_with_the_way_out(
    tmp_path: Path, names: list[str], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        found_in(touch(tmp_path, *names))


@pytest.mark.parametrize(
    ("names", "classes"),
    [
        (["train/1.jpg", "bus/1.jpg", "car/1.jpg"], ("bus", "car", "train")),
        (["test/1.jpg", "control/1.jpg", "placebo/1.jpg"], ("control", "placebo", "test")),
        (["Trains/1.jpg", "bus/1.jpg", "car/1.jpg", "ship/1.jpg"], ("Trains", "bus", "car", "ship")),
        (["crash-test/1.jpg", "bus/1.jpg"], ("bus", "crash-test")),
        (["train/train/1.jpg", "train/bus/1.jpg", "test/train/1.jpg"], ("bus", "train")),
        (["ant/images/1.jpg", "bee/images/1.jpg"], ("ant", "bee")),
        (["freight-train/1.jpg", "toy_train/1.jpg"], ("freight-train", "toy_train")),
        (["ant/old/1.jpg", "bee/new/1.jpg", "bee/2.jpg"], ("ant", "bee")),
    ],
)
def test_a_class_may_be_called_like_a_split(tmp_path: Path, names: list[str], classes: tuple[str, ...]) -> None:
    assert found_in(touch(tmp_path, *names)).classes == classes


@pytest.mark.parametrize(
    ("written", "counts", "classes"),
    [
        ({"train": "Lernen", "test": "Prüfen"}, {"train": 2, "test": 2}, ("glass", "metal")),
        ({"train": "Prüfen"}, {"train": 2}, ("glass", "metal")),
        ({}, {"train": 4}, ("Lernen", "Prüfen")),
    ],
)
def test_the_spec_may_say_which_folders_are_splits(
    tmp_path: Path, written: dict[str, str], counts: dict[str, int], classes: tuple[str, ...]
) -> None:
    found = found_in(touch(tmp_path, *classes_in("Lernen", "Prüfen")), splits=written)
    assert (found.counts, found.classes) == (counts, classes)


@pytest.mark.parametrize("on_disk", ["NFC", "NFD"])
@pytest.mark.parametrize("written", ["NFC", "NFD"])
def test_paths_in_a_spec_may_be_spelled_in_another_normal_form(
    tmp_path: Path, on_disk: Literal["NFC", "NFD"], written: Literal["NFC", "NFD"]
) -> None:
    touch(tmp_path, *(normalize(on_disk, name) for name in classes_in("Menü/für/Lernen", "Menü/für/Prüfen")))
    splits = {"train": "Lernen", "test": normalize(written, "Prüfen")}
    assert found_in(tmp_path / normalize(written, "Menü/für"), splits=splits).counts == {"train": 2, "test": 2}


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ({"train": "Lernen", "test": "Proben"}, "splits.test: .* has no folder 'Proben'; it has Lernen, Prüfen"),
        ({"train": "Lernen", "test": "Lernen/"}, "names 'Lernen' twice"),
        ({"train": "Lernen", "val": "Prüfen", "test": "./Prüfen"}, "names 'Prüfen' twice"),
        ({"test": "Prüfen"}, "names no folder for train"),
        ({"train": ".", "test": "Prüfen"}, r"splits.train is data.path itself; name a folder in it, or write .*\{\}"),
    ],
)
def test_splits_that_are_written_wrongly_are_refused(tmp_path: Path, written: dict[str, str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        found_in(touch(tmp_path, *classes_in("Lernen", "Prüfen")), splits=written)


@pytest.mark.parametrize(
    ("names", "note"),
    [
        ([*classes_in("train", "test", "extra")], "beside 'train', not used: 'extra'"),
        ([*classes_in("train"), "unlabelled/1.jpg"], "beside 'train', not used: 'unlabelled'"),
        ([*classes_in("train"), "annotations/a.xml"], "beside 'train', not used: 'annotations'"),
        ([*classes_in("train"), "train/1.jpg", "train/2.jpg"], "2 images beside the class folders: 'train/1.jpg'"),
        (["a/1.jpg", "b/1.jpg", "loose.png"], "1 images beside the class folders: 'loose.png'"),
        (["9mm/1.jpg", "10mm/1.jpg", ".22/1.jpg", ".38/1.jpg"], "2 hidden folders that hold images .*'.22', '.38'"),
        (["a/1.jpg", "b/1.jpg", "b/.more/deep/1.jpg"], "1 hidden folders that hold images .*'b/.more'"),
        (["a/1.jpg", "b/1.jpg", "b/.1.jpg"], "1 hidden images .*: 'b/.1.jpg'"),
        (["a/1.jpg", "b/1.jpg", "__MACOSX/a/._1.jpg"], "folders and files that systems make: '__MACOSX'"),
        (["a/1.jpg", "b/1.jpg", "a/@eaDir/1.jpg", "$RECYCLE.BIN/1.jpg"], r"2 .*: '\$RECYCLE.BIN', 'a/@eaDir'"),
        (["a/1.jpg", "b/1.jpg", "lost+found/1.jpg", ".ipynb_checkpoints/1.jpg"], "2 folders and files that systems"),
        (["a/1.jpg", "b/1.jpg", "a/1.jpg:Zone.Identifier", "b/1.jpg@SynoEAStream"], "2 folders and files that sy"),
        (["Ant/1.jpg", "ant/1.jpg"], "class names that differ only in case .*: Ant and ant"),
        (["a/1.jpg", "b/1.jpg", "a/Thumbs.db", "a/.DS_Store", "b/._1.jpg"], "3 folders and files that systems make"),
    ],
)  # fmt: skip
def test_what_is_not_used_is_counted_and_named(tmp_path: Path, names: list[str], note: str) -> None:
    found = found_in(touch(tmp_path, *names))
    assert len(found.notes) == 1
    assert re.search(note, found.notes[0])
    assert len(found.classes or ()) == 2


def test_hidden_folders_are_named_where_one_class_remains(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"one class only, '9mm'.*hidden folders hold images \(.22, .38\)"):
        found_in(touch(tmp_path, "9mm/1.jpg", ".22/1.jpg", ".38/1.jpg"))


@pytest.mark.parametrize(
    "links",
    [
        {"cup/again": "."},
        {"cup/up": ".."},
        {"cup/far": "../.."},
        {"cup/other": "../mug"},
        {"cup/more": "../../store", "mug/more": "../../store"},
        {"cup/a": "../mug/deep", "mug/b": "../cup"},
        {"cup/root": "/"},
    ],
    ids=str,
)
def test_a_folder_is_entered_once(tmp_path: Path, links: dict[str, str]) -> None:
    root = touch(tmp_path / "set", "cup/1.jpg", "cup/2.jpg", "mug/1.jpg", "mug/deep/2.jpg")
    touch(tmp_path, "store/3.jpg")
    for name, target in links.items():
        (root / name).symlink_to(target)
    found = found_in(root, on_bad_image="skip")
    shared = 1 if "cup/more" in links else 0
    assert [found.items.name(at) for at in range(len(found.items))] == [
        "cup/1.jpg", "cup/2.jpg", *["cup/more/3.jpg"] * shared, "mug/1.jpg", "mug/deep/2.jpg",
    ]  # fmt: skip
    assert found.notes[0].startswith(f"left out: {len(links) - shared} links to folders that are read already")


@pytest.mark.parametrize(
    ("link", "target"), [("train/mug", "cup"), ("val", "train"), ("val/cup", "../train/cup"), ("train/loop", "..")]
)
def test_a_class_or_split_that_is_a_link_to_another_is_refused(tmp_path: Path, link: str, target: str) -> None:
    root = touch(tmp_path, "train/cup/1.jpg", "train/pan/1.jpg")
    (root / link).parent.mkdir(exist_ok=True)
    (root / link).symlink_to(target)
    with pytest.raises(DataError, match=f"'{link}' is a link to .*count twice"):
        found_in(root)


@pytest.mark.parametrize("link", ["test", "val", "train/mug", "val/pan", "train/loop"])
def test_a_class_or_split_that_is_a_link_to_nowhere_is_refused(tmp_path: Path, link: str) -> None:
    names = classes_in("train", "val", classes=("cup", "pan"))
    root = touch(tmp_path, *(name for name in names if not name.startswith(link)))
    (root / link).symlink_to("loop" if link.endswith("loop") else "/media/disk/of mine")
    with pytest.raises(DataError, match=f"{link}' is a link to '(/media/disk/of mine|loop)', which is not there"):
        found_in(root)


@pytest.mark.parametrize(
    ("folder", "shown"),
    [
        (os.fsdecode(b"ch\xeane"), "ch\\xeane"),
        ("two\nlines", "two\\nlines"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("e\u0301te\u0301", "été"),
        ("été", "été"),
        (" blank ", " blank "),
        ("a\u2044b", "a\u2044b"),
        ("x" * 255, "x" * 255),
        ("\u202egnp", "\\u202egnp"),
    ],
    ids=ascii,
)
def test_class_folders_of_any_name_work_from_files_to_task(tmp_path: Path, folder: str, shown: str) -> None:
    for number, (name, image) in enumerate((name, image) for name in ("plain", folder) for image in range(6)):
        (tmp_path / name).mkdir(exist_ok=True)
        picture(number).save(tmp_path / name / f"{image}.png")
    (tmp_path / folder / os.fsdecode(b"b\xe9.jpg")).write_bytes(b"broken")
    task = load_task(folder_data(tmp_path, on_bad_image="skip"), 0)
    assert sorted(task.classes) == sorted(("plain", shown))
    assert task.skipped[0].startswith(f"{shown if shown != 'été' else folder}/b\\xe9.jpg: ")
    for text in (*task.classes, *task.skipped, task.fingerprint):
        assert text.encode()


def test_one_class_may_be_spelled_in_two_normal_forms_in_two_splits(tmp_path: Path) -> None:
    names = ["train/e\u0301te\u0301/1.jpg", "train/hiver/1.jpg", "val/été/1.jpg", "val/hiver/1.jpg"]
    found = found_in(touch(tmp_path, *names))
    assert (found.classes, found.counts) == (("été", "hiver"), {"train": 2, "val": 2})


@pytest.mark.parametrize(
    "twins", [("é", "e\u0301"), (os.fsdecode(b"\xea"), "\\xea"), ("cat", "cat ")], ids=["NFC", "escaped", "blank"]
)
def test_two_class_folders_that_read_the_same_are_refused(tmp_path: Path, twins: tuple[str, str]) -> None:
    with pytest.raises(DataError, match="two class folders that read"):
        found_in(touch(tmp_path, f"train/{twins[0]}/1.jpg", f"train/{twins[1]}/1.jpg"))


def test_files_and_names_on_disk_keep_their_order_for_the_fingerprint(tmp_path: Path) -> None:
    """So sweeps that earlier versions began go on."""
    write_folder(tmp_path, {"Training/b": 5, "Training/e\u0301": 5, "Training/A/deep": 5})
    found = found_in(tmp_path)
    assert found.folders == ("A", "b", "e\u0301")
    assert [found.items.name(at) for at in range(6)] == [*(f"Training/A/deep/{at:03d}.png" for at in range(5)),
                                                         "Training/b/000.png"]  # fmt: skip


@pytest.mark.parametrize(
    ("counts", "fields", "message"),
    [
        ({"ant": 9, "bee": 20}, {"labels_per_class": 8}, "labels_per_class is 8.*'ant' has 5"),
        ({"ant": 9, "bee": 20}, {"folds": 9}, "data.folds is 9, but class 'ant' has 7"),
        ({"ant": 9, "bee": 9}, {"val_fraction": 0.5, "test_fraction": 0.5}, "their sum must be below 1"),
        ({"ant": 50, "bee": 1}, {}, "class 'bee' has 1 images"),
        ({"train/ant": 5, "train/bee": 5, "val/ant": 2}, {}, "class 'bee' has no images in the split 'val'"),
    ],
)
def test_what_files_alone_tell_is_found_before_any_is_read(
    tmp_path: Path, counts: dict[str, int], fields: dict[str, object], message: str
) -> None:
    touch(tmp_path, *(f"{name}/{at}.jpg" for name, count in counts.items() for at in range(count)))
    with pytest.raises(DataError, match=message):
        load_task(folder_data(tmp_path, **fields), 0)
