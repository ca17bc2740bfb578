import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from image_files import PLAIN, picture
from torch.utils.data import TensorDataset

from tlsweep.data import load_task
from tlsweep.errors import DataError, SpecError
from tlsweep.spec import PythonData, load_spec


def _arrays(count: int = 30, side: int = 12, channels: int | None = None, seed: int = 0) -> tuple[Any, Any]:
    random = np.random.default_rng(seed)
    shape = (count, side, side) if channels is None else (count, side, side, channels)
    return random.integers(0, 256, shape, dtype=np.uint8), np.arange(count) % 3


class Pictures:
    """A torch data set by its interface alone."""

    classes = ("a", "b", "c")

    def __init__(self, count: int = 30, label: Callable[[int], Any] = lambda at: at % 3, array: bool = False) -> None:
        self.count, self.label, self.array = count, label, array

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, at: int) -> tuple[Any, Any]:
        image = picture(at, (90, 80))
        return (np.asarray(image) if self.array else image), self.label(at)


@pytest.fixture
def returning(monkeypatch: pytest.MonkeyPatch) -> Callable[..., PythonData]:
    """Makes a spec whose function returns what is given."""

    def make(result: Any, **fields: Any) -> PythonData:
        module = types.ModuleType("their_data")
        module.__dict__["load"] = result if callable(result) else lambda: result
        monkeypatch.setitem(sys.modules, "their_data", module)
        return PythonData(**{"source": "python", "function": "their_data:load", "augment": PLAIN} | fields)

    return make


@pytest.mark.parametrize("channels", [None, 1, 3])
def test_arrays_are_taken_as_they_are(returning: Callable[..., PythonData], channels: int | None) -> None:
    images, labels = _arrays(channels=channels)
    task = load_task(returning((images, labels)), 0)
    assert task.images.shape == (30, 12, 12, channels or 1)
    assert np.array_equal(task.images.reshape(images.shape), images)
    assert task.classes == ("0", "1", "2")
    assert task.labels.tolist() == labels.tolist()


def test_mapping_gives_the_splits(returning: Callable[..., PythonData]) -> None:
    parts = {"test": _arrays(9, seed=2), "train": _arrays(30), "val": _arrays(6, seed=1)}
    task = load_task(returning(parts), 0)
    assert {name: task.size(name) for name in task.splits} == {"train": 30, "val": 6, "test": 9}
    for name, (images, labels) in parts.items():
        assert np.array_equal(task.images[task.splits[name]][..., 0], images)
        assert task.labels[task.splits[name]].tolist() == labels.tolist()


def test_large_arrays_are_resized(returning: Callable[..., PythonData]) -> None:
    images = np.stack([np.asarray(picture(at, (90, 80))) for at in range(30)])
    task = load_task(returning((images, np.arange(30) % 3), image_size=32), 0)
    assert task.images.shape == (30, 32, 32, 3)
    assert abs(task.images.mean() - images[:, :, 5:85].mean()) < 2


@pytest.mark.parametrize("array", [False, True])
def test_data_sets_are_decoded_like_files(returning: Callable[..., PythonData], array: bool) -> None:
    task = load_task(returning(Pictures(array=array), image_size=32), 0)
    assert task.images.shape == (30, 32, 32, 3)
    assert task.classes == ("a", "b", "c")
    assert task.labels.tolist() == [at % 3 for at in range(30)]


def test_images_of_a_data_set_are_not_changed(returning: Callable[..., PythonData], tmp_path: Path) -> None:
    from PIL import Image

    picture(1, (800, 800)).save(tmp_path / "a.jpg")

    class Kept(Pictures):
        image = Image.open(tmp_path / "a.jpg")

        def __getitem__(self, at: int) -> tuple[Any, Any]:
            return self.image, at % 3

    load_task(returning(Kept(), image_size=32), 0)
    assert Kept.image.size == (800, 800)
    assert Kept.image.getpixel((5, 5)) is not None


def test_one_changed_label_is_noticed_in_spite_of_the_cache(returning: Callable[..., PythonData]) -> None:
    load_task(returning(Pictures(count=300), image_size=16), 0)
    mended = Pictures(count=300, label=lambda at: 0 if at == 100 else at % 3)
    assert load_task(returning(mended, image_size=16), 0).labels[100] == 0


def test_tensor_labels_and_gaps_in_labels(returning: Callable[..., PythonData]) -> None:
    data_set = Pictures(label=lambda at: torch.tensor([2, 5, 9][at % 3]))
    data_set.classes = None  # type: ignore[assignment]
    task = load_task(returning(data_set, image_size=16), 0)
    assert task.classes == ("2", "5", "9")
    assert task.labels.tolist() == [at % 3 for at in range(30)]


def test_classes_of_the_function_name_the_labels(returning: Callable[..., PythonData]) -> None:
    def load(count: int) -> tuple[Any, Any]:
        return _arrays(count)

    load.classes = ["N/A", "one", "two", "never"]  # type: ignore[attr-defined]
    assert load_task(returning(load, args={"count": 30}), 0).classes == ("N/A", "one", "two")


def test_own_exceptions_keep_their_traceback(returning: Callable[..., PythonData]) -> None:
    def load() -> None:
        raise OSError("mine")

    def label(at: int) -> int:
        if at == 20:
            raise OSError("mine too")
        return at % 3

    with pytest.raises(OSError, match="mine"):
        load_task(returning(load), 0)
    with pytest.raises(OSError, match="mine too"):
        load_task(returning(Pictures(label=label), image_size=16), 0)


def test_import_errors_inside_the_module_are_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "needs_more.py").write_text("import surely_not_there\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ModuleNotFoundError, match="surely_not_there"):
        load_task(PythonData(source="python", function="needs_more:load"), 0)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("not_a_module:load", "there is no module 'not_a_module'; .*PYTHONPATH"),
        ("json.nowhere:load", "there is no module 'json.nowhere'"),
        ("json:lod", "has no function 'lod'"),
    ],
)
def test_function_that_is_not_there(function: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_task(PythonData(source="python", function=function), 0)


IMAGES, LABELS = _arrays()


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (None, "returned a NoneType; wanted"),
        ([1, 2, 3], "returned a list of 3; wanted"),
        ((IMAGES.astype(np.float32), LABELS), r"a float32 array of shape \(30, 12, 12\); wanted"),
        ((IMAGES[0], LABELS), r"uint8 array of shape \(12, 12\)"),
        ((np.zeros((30, 12, 12, 4), np.uint8), LABELS), r"shape \(30, 12, 12, 4\); .*C = 1 or 3"),
        ((IMAGES, LABELS[:-1]), r"labels of 30 images a int64 array of shape \(29,\)"),
        ((IMAGES, LABELS.astype(float)), "a float64 array"),
        ((IMAGES, LABELS - 1), "the label -1; labels count from 0"),
        ((IMAGES, LABELS * 0), "all images are of the class '0'"),
        ((IMAGES[:0], LABELS[:0]), "returned no images"),
        ({"train": (IMAGES, LABELS), "dev": (IMAGES, LABELS)}, r"keys \['train', 'dev'\]"),
        ({"val": (IMAGES, LABELS)}, r"keys \['val'\]"),
        ({"train": (IMAGES, LABELS), "val": (IMAGES[:, 1:], LABELS)}, "different shapes"),
        ({"train": (IMAGES, LABELS % 2), "val": (IMAGES, LABELS)}, "'val' has the class '2', which the training"),
        (TensorDataset(torch.zeros(30, 3, 8, 8), torch.arange(30)), r"train\[0\].*a torch.float32 array"),
        (Pictures(label=lambda at: (1, 2)), r"train\[0\]: the label is a tuple of 2; tlsweep takes pairs"),
        (Pictures(label=lambda at: 0.5), "the label is a float"),
        (Pictures(label=lambda at: at), "label 29 has no name: 3 classes are named"),
    ],
)
def test_results_that_are_no_labelled_images(returning: Callable[..., PythonData], result: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_task(returning(result), 0)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("usps", "data.source=torchvision data.dataset=USPS"),
        ("Flowers102", "data.source=torchvision data.dataset=Flowers102"),
        ("package.module.load", "did you mean 'package.module:load'?"),
        ("my_data.py:load", "did you mean 'my_data:load'?"),
        ("my_data/sets.py:load()", "did you mean 'my_data.sets:load'?"),
        ("my data:load", "write module:function"),
        ("", "write module:function"),
        ("a:b:c", "write module:function"),
    ],
)
def test_a_function_that_is_none_is_explained_in_words(function: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        load_spec("digits", [f"data={{source: python, function: '{function}'}}"])
    assert message in str(caught.value)
    assert "write module:function" in str(caught.value)
    assert "\\w" not in str(caught.value)
