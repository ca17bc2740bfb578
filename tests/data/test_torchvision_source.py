import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from image_files import PLAIN, picture, write_folder
from PIL import EpsImagePlugin
from torchvision import datasets

from tlsweep.data import load_task
from tlsweep.errors import DataError
from tlsweep.spec import TorchvisionData


def _data(dataset: str, root: Path | str = "nowhere", **fields: Any) -> TorchvisionData:
    return TorchvisionData(
        **{"source": "torchvision", "dataset": dataset, "root": str(root), "augment": PLAIN, "image_size": 16} | fields
    )


def _register(monkeypatch: pytest.MonkeyPatch, kind: type) -> None:
    monkeypatch.setattr(datasets, kind.__name__, kind, raising=False)
    monkeypatch.setattr(datasets, "__all__", (*datasets.__all__, kind.__name__))


class OnDisk:
    """What torchvision's file sets look like: a split by name, checked first; samples opened one by one."""

    sizes = {"train": 24, "valid": 9, "test": 6}

    def __init__(self, root: str, split: str = "train", transform: Any = None, download: bool = False) -> None:
        if split not in self.sizes:
            raise ValueError(f"Unknown value '{split}' for argument split. Valid values are {{...}}.")
        self.count, self.offset = self.sizes[split], 100 * len(split)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, at: int) -> tuple[Any, Any]:
        return picture(self.offset + at, (40, 30)), at % 3


def test_named_splits_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    _register(monkeypatch, OnDisk)
    task = load_task(_data("OnDisk"), 0)
    assert {name: task.size(name) for name in task.splits} == {"train": 24, "val": 9, "test": 6}
    assert task.labels[task.splits["val"]].tolist() == [0, 1, 2] * 3


def test_trainval_stands_for_train(monkeypatch: pytest.MonkeyPatch) -> None:
    class Pets(OnDisk):
        sizes = {"trainval": 30, "test": 9}

    _register(monkeypatch, Pets)
    task = load_task(_data("Pets"), 0)
    assert {name: task.size(name) for name in task.splits} == {"train": 24, "val": 6, "test": 9}


def test_other_splits_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Odd(OnDisk):
        sizes = {"first": 30}

    _register(monkeypatch, Odd)
    with pytest.raises(DataError, match=r"has no split called train; .*data\.source: python"):
        load_task(_data("Odd"), 0)


def test_set_without_splits_is_split(monkeypatch: pytest.MonkeyPatch) -> None:
    class FewFakes(datasets.FakeData):
        """Draws its samples from torch's global generator: no threads."""

        def __init__(self) -> None:
            super().__init__(size=200, image_size=(3, 20, 20))

    _register(monkeypatch, FewFakes)
    task = load_task(_data("FewFakes"), 0)
    assert {name: task.size(name) for name in task.splits} == {"train": 120, "val": 40, "test": 40}
    assert task.images.shape == (200, 16, 16, 3)
    reference = FewFakes()
    assert task.labels.tolist() == [reference[at][1] for at in range(200)]


@pytest.mark.parametrize("layout", ["NHW", "NHWC", "NCHW", "tensor"])
def test_arrays_are_taken_in_their_own_layout(monkeypatch: pytest.MonkeyPatch, layout: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (30, 16, 16, 3), dtype=np.uint8)
    pixels = pixels[..., 0] if layout in ("NHW", "tensor") else pixels

    class Arrays:
        def __init__(self, root: str, train: bool = True) -> None:
            self.data: Any = pixels.transpose(0, 3, 1, 2) if layout == "NCHW" else pixels
            self.targets: Any = [at % 3 for at in range(30)]
            if layout == "tensor":
                self.data, self.targets = torch.from_numpy(pixels), torch.tensor(self.targets)

        def __len__(self) -> int:
            return 30

        def __getitem__(self, at: int) -> tuple[Any, int]:
            return pixels[at], at % 3

    _register(monkeypatch, Arrays)
    task = load_task(_data("Arrays"), 0)
    assert np.array_equal(task.images.squeeze(), np.concatenate([pixels, pixels]))
    assert task.images.flags.c_contiguous
    assert (task.size("train"), task.size("test")) == (24, 30)


def test_arrays_that_disagree_with_the_samples_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    class Other(OnDisk):
        data = np.zeros((24, 30, 40, 3), np.uint8)
        targets = np.zeros(24, int)

    _register(monkeypatch, Other)
    assert load_task(_data("Other"), 0).images[:24].any()


def test_sample_that_does_not_decode_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(OnDisk):
        def __getitem__(self, at: int) -> tuple[Any, Any]:
            if self.count == 9 and at == 4:
                raise OSError("image file is truncated")
            return super().__getitem__(at)

    _register(monkeypatch, Broken)
    with pytest.raises(DataError, match=r"1 of 39 .*\n  val\[4\]: image file is truncated"):
        load_task(_data("Broken"), 0)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("FashionMnist", "did you mean 'FashionMNIST'?"),
        ("Kinetics", "takes frames_per_clip, which a spec cannot give"),
        ("MNIST", r"Dataset not found.*set data\.download: true, or name their folder with data\.root"),
        ("Flowers102", r"set data\.download: true"),
        ("USPS", r"usps.*set data\.download: true"),
    ],
)
def test_sets_that_cannot_be_used(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_task(_data(name, tmp_path), 0)


@pytest.mark.parametrize("said", ["offline", "Error downloading x:\nTried a, got:\n<b>\n", "\x1b[31mno\tspace " * 99])
def test_what_torchvision_says_is_a_part_of_one_line(monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    def refuse(self: Any, *arguments: Any, **named: Any) -> None:
        raise RuntimeError(said)

    monkeypatch.setattr(OnDisk, "__init__", refuse)
    _register(monkeypatch, OnDisk)
    with pytest.raises(DataError, match=r"put them there, or name their folder with data.root$") as caught:
        load_task(_data("OnDisk", download=True), seed=0)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400


def test_samples_that_are_no_image_and_label(monkeypatch: pytest.MonkeyPatch) -> None:
    class Boxes(OnDisk):
        def __getitem__(self, at: int) -> tuple[Any, Any]:
            return picture(at), {"box": [1, 2, 3, 4]}

    _register(monkeypatch, Boxes)
    with pytest.raises(DataError, match=r"torchvision Boxes: train\[0\]: the label is a dict"):
        load_task(_data("Boxes"), 0)


@pytest.mark.data
@pytest.mark.parametrize("name", ["MNIST", "FashionMNIST"])
def test_mnist_alike(test_data: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(test_data / "datasets" / name, tmp_path / name)
    (tmp_path / name).chmod(0o755)
    (tmp_path / name / "raw").chmod(0o755)
    data = _data(name, tmp_path, download=True, image_size=None, val_fraction=0.1)
    task = load_task(data, 0)
    assert {split: task.size(split) for split in task.splits} == {"train": 54_000, "val": 6_000, "test": 10_000}
    assert (task.image_size, task.images.shape[1:], task.num_classes) == (28, (28, 28, 1), 10)
    reference = getattr(datasets, name)(str(tmp_path), train=False)
    assert np.array_equal(task.images[task.splits["test"]][..., 0], reference.data.numpy())
    assert task.labels[task.splits["test"]].tolist() == reference.targets.tolist()
    assert task.classes == tuple(reference.classes)


@pytest.mark.data
def test_semeion(test_data: Path) -> None:
    task = load_task(_data("SEMEION", test_data / "datasets" / "SEMEION", labels_per_class=10), 0)
    assert {split: task.size(split) for split in task.splits} == {"train": 100, "val": 319, "test": 319}
    assert task.images.shape == (1593, 16, 16, 1)


def test_a_program_that_is_called_a_picture_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "gs"
    program.write_text(f"#!/bin/sh\ntouch '{tmp_path}/called'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)
    root = write_folder(tmp_path / "root" / "eurosat" / "2750", {"Forest": 6, "River": 6}, suffix=".jpg")
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n0 0 9 9 rectfill showpage\n%%EOF\n"
    (root / "River" / "x.jpg").write_bytes(eps)
    with pytest.raises(DataError, match=r"1 of 13 files are no images"):
        load_task(_data("EuroSAT", tmp_path / "root"), 0)
    assert not (tmp_path / "called").exists()
