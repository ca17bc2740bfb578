import random
import warnings
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from image_files import folder_data, write_folder
from torch.utils.data import DataLoader

from tlsweep.data import Task, load_task
from tlsweep.data.batches import Batches, batch_bounds, batches_together
from tlsweep.data.moments import moments_of
from tlsweep.spec import Augment

EVERY_AUGMENT = [Augment(crop=crop, flip=flip) for crop in ("none", "shift", "resized") for flip in (False, True)]
Crop = Literal["none", "shift", "resized"]


def _task(count: int = 50, side: int = 12, channels: int = 3, size: int | None = None, **fields: Any) -> Task:
    """Random images; the label of each is its number, so that batches tell whom they hold."""
    images = np.random.default_rng(0).integers(0, 256, (count + 20, side, side, channels), dtype=np.uint8)
    everyone = np.random.default_rng(1).permutation(count + 20)
    splits = {"train": everyone[:count], "val": everyone[count : count + 10], "test": everyone[count + 10 :]}
    values: dict[str, Any] = {
        "images": images,
        "labels": np.arange(count + 20),
        "splits": {name: np.sort(indices) for name, indices in splits.items()},
        "classes": tuple(map(str, range(count + 20))),
        "mean": (0.3, 0.4, 0.5)[:channels],
        "std": (0.2, 0.3, 0.1)[:channels],
        "image_size": size or side,
        "augment": Augment(crop="none", flip=False),
        "moments": moments_of(images),
        "fingerprint": "x",
    }
    return Task(**values | fields)


def _all(batches: Any) -> tuple[torch.Tensor, torch.Tensor]:
    images, labels = zip(*batches, strict=True)
    return torch.cat(images), torch.cat(labels)


@given(count=st.integers(1, 300), batch_size=st.integers(1, 320))
def test_bounds_cover_everyone_once_and_leave_nobody_alone(count: int, batch_size: int) -> None:
    bounds = batch_bounds(count, batch_size)
    assert [place for start, end in bounds for place in range(start, end)] == list(range(count))
    sizes = [end - start for start, end in bounds]
    assert all(size == batch_size for size in sizes[:-1])
    assert 1 <= sizes[-1] <= batch_size + 1
    if batch_size > 1 and count > 1:
        assert min(sizes) > 1


@given(count=st.integers(1, 300), batch_size=st.integers(1, 320), images=st.integers(0, 400))
def test_batches_that_are_made_together_are_as_few_as_fit(count: int, batch_size: int, images: int) -> None:
    bounds = batch_bounds(count, batch_size)
    groups = batches_together(bounds, images)
    assert [batch for group in groups for batch in group] == bounds
    assert all(len(group) == 1 or group[-1][1] - group[0][0] <= images for group in groups)
    assert all(behind[0][1] - first[0][0] > images for first, behind in pairwise(groups))


@given(count=st.integers(2, 60), batch_size=st.integers(1, 70), epoch=st.integers(0, 3))
@settings(max_examples=40, deadline=None)
def test_every_sample_exactly_once(count: int, batch_size: int, epoch: int) -> None:
    task = _task(count)
    _, labels = _all(Batches(task).train(epoch, batch_size, 7))
    assert sorted(labels.tolist()) == task.splits["train"].tolist()


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
def test_images_are_normalised_and_in_the_wanted_format(channels: int, channels_last: bool) -> None:
    task = _task(channels=channels)
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    for split in ("train", "val"):
        batches = Batches(task, channels_last=channels_last)
        passes = batches.train(0, 16, 0) if split == "train" else batches.evaluate("val", 16)
        for images, labels in passes:
            wanted = (task.images[labels] / 255 - task.mean) / task.std
            np.testing.assert_allclose(images.permute(0, 2, 3, 1), wanted, atol=1e-5)
            assert (images.dtype, labels.dtype) == (torch.float32, torch.int64)
            assert images.is_contiguous(memory_format=memory_format)


@pytest.mark.parametrize("wanted", EVERY_AUGMENT, ids=str)
@pytest.mark.parametrize("channels_last", [False, True])
def test_augmented_batches_have_size_and_format(wanted: Augment, channels_last: bool) -> None:
    batches = Batches(_task(side=16, size=14, augment=wanted), channels_last=channels_last)
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    for images, _ in batches.train(0, 16, 0):
        assert images.shape[1:] == (3, 14, 14)
        assert images.is_contiguous(memory_format=memory_format)


def test_evaluation_is_in_order_and_shows_the_centre() -> None:
    task = _task(side=16, size=12, augment=Augment(crop="shift", flip=True))
    images, labels = _all(Batches(task).evaluate("test", 3))
    assert labels.tolist() == task.splits["test"].tolist()
    wanted = (task.images[labels][:, 2:14, 2:14] / 255 - task.mean) / task.std
    np.testing.assert_allclose(images.permute(0, 2, 3, 1), wanted, atol=1e-5)


def test_evaluation_does_not_depend_on_the_batch_size() -> None:
    batches = Batches(_task())
    assert torch.equal(_all(batches.evaluate("val", 1))[0], _all(batches.evaluate("val", 100))[0])


@pytest.mark.parametrize("wanted", EVERY_AUGMENT, ids=str)
def test_what_happens_to_a_sample_does_not_depend_on_the_batch_size(wanted: Augment) -> None:
    batches = Batches(_task(side=16, size=14, augment=wanted))
    one, one_labels = _all(batches.train(2, 7, 5))
    other, other_labels = _all(batches.train(2, 32, 5))
    assert torch.equal(one_labels, other_labels)
    torch.testing.assert_close(one, other)


@pytest.mark.parametrize("crop", ["none", "shift", "resized"])
def test_same_seed_same_batches_whatever_ran_before(crop: Crop) -> None:
    task = _task(augment=Augment(crop=crop, flip=True))
    fresh = _all(Batches(task).train(3, 16, 11))
    used = Batches(task)
    _all(used.train(0, 8, 4))
    next(used.train(1, 8, 4))
    torch.rand(3)
    again = _all(used.train(3, 16, 11))
    assert torch.equal(fresh[0], again[0])
    assert torch.equal(fresh[1], again[1])


def test_epochs_and_seeds_differ_in_order_and_augmentation() -> None:
    batches = Batches(_task(augment=Augment(crop="none", flip=True)))

    def flipped(epoch: int, seed: int) -> list[int]:
        plain = dict(zip(*_by_label(Batches(_task()).train(0, 16, 0)), strict=True))
        labels, images = _by_label(batches.train(epoch, 16, seed))
        return [label for label, image in zip(labels, images, strict=True) if not torch.equal(image, plain[label])]

    orders = [_all(batches.train(epoch, 16, seed))[1].tolist() for epoch, seed in ((0, 0), (1, 0), (0, 1))]
    assert len({tuple(order) for order in orders}) == 3
    assert len({tuple(sorted(flipped(epoch, seed))) for epoch, seed in ((0, 0), (1, 0), (0, 1))}) == 3


def _by_label(batches: Any) -> tuple[list[int], list[torch.Tensor]]:
    images, labels = _all(batches)
    return labels.tolist(), list(images)


def test_no_global_generator_is_touched() -> None:
    torch_before, numpy_before, python_before = torch.get_rng_state(), np.random.get_state()[1], random.getstate()
    batches = Batches(_task(augment=Augment(crop="resized", flip=True)))
    _all(batches.train(0, 8, 0))
    _all(batches.evaluate("val", 8))
    assert torch.equal(torch.get_rng_state(), torch_before)
    assert np.array_equal(np.random.get_state()[1], numpy_before)
    assert random.getstate() == python_before


def test_read_only_images_are_neither_copied_nor_warned_about() -> None:
    task = _task()
    task.images.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        batches = Batches(task)
    assert batches._reader._pixels.data_ptr() == task.images.ctypes.data  # type: ignore[attr-defined]
    before = task.images.copy()
    _all(batches.train(0, 8, 0))
    assert np.array_equal(task.images, before)


ON_DISK: dict[str, dict[str, Any]] = {
    "mapped": {"memory_limit": "10KB"},
    "streamed": {"memory_limit": "10KB", "disk_limit": 0},
}


@pytest.fixture(scope="module")
def kept_as(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Task]:
    """The same images in memory, in a file on disk, and decoded again whenever they are read."""
    root = write_folder(tmp_path_factory.mktemp("images"), {"ant": 20, "bee": 20}, size=(90, 80), suffix=".jpg")
    cache = tmp_path_factory.mktemp("cache")
    limits = {"stored": {}, **ON_DISK}
    return {
        form: load_task(folder_data(root, image_size=28, augment=Augment(flip=True), **fields), 0, cache=cache)
        for form, fields in limits.items()
    }


@pytest.mark.parametrize(("form", "workers", "threads"), [("mapped", 0, 1), ("streamed", 0, 2), ("streamed", 1, 1)])
def test_batches_from_disk_are_the_same_bit_for_bit(
    kept_as: dict[str, Task], form: str, workers: int, threads: int
) -> None:
    before, usual = torch.get_rng_state(), torch.get_num_threads()
    kept, stored = (Batches(kept_as[name], workers=workers) for name in (form, "stored"))
    next(kept.train(0, 2, 9))  # a pass that is given up does not disturb the next
    torch.set_num_threads(threads)
    for epoch in (0, 1):
        for one, other in zip(kept.train(epoch, 7, 3), stored.train(epoch, 7, 3), strict=True):
            assert torch.equal(one[0], other[0])
            assert torch.equal(one[1], other[1])
        assert torch.equal(_all(kept.evaluate("val", 5))[0], _all(stored.evaluate("val", 5))[0])
    torch.set_num_threads(usual)
    assert torch.equal(torch.get_rng_state(), before)


def test_agrees_with_a_plain_data_loader() -> None:
    """An epoch without augmentation is what torch's own loader gives for the same order."""
    task = _task()
    ours = list(Batches(task).train(0, 16, 0))
    order = [int(label) for _, labels in ours for label in labels]
    images = torch.from_numpy(task.images).permute(0, 3, 1, 2).float() / 255
    data_set = [(images[at], at) for at in order]
    for (one, labels), (other, wanted) in zip(ours, DataLoader(data_set, batch_size=16), strict=True):
        mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (task.mean, task.std))
        torch.testing.assert_close(one, (other - mean) / std, atol=1e-5, rtol=1e-5)
        assert torch.equal(labels, wanted)


def test_a_single_training_image_is_a_batch() -> None:
    task = _task()
    alone = replace(task, splits=dict(task.splits) | {"train": task.splits["train"][:1]})
    assert [len(labels) for _, labels in Batches(alone).train(0, 8, 0)] == [1]


@pytest.mark.data
def test_normalised_training_images_have_mean_0_and_deviation_1(test_data: Path) -> None:
    data = folder_data(test_data / "datasets" / "hymenoptera_data", image_size=32, on_bad_image="skip")
    images, _ = _all(Batches(load_task(data, 0)).train(0, 64, 0))
    torch.testing.assert_close(images.mean(dim=(0, 2, 3)), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(images.std(dim=(0, 2, 3)), torch.ones(3), atol=1e-3, rtol=0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("wanted", EVERY_AUGMENT, ids=str)
@pytest.mark.parametrize("resident", [False, True])
def test_batches_on_a_gpu_are_the_same(wanted: Augment, resident: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not resident:
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (0, 0))
    task = _task(side=16, size=14, augment=wanted)
    on_gpu, on_cpu = _all(Batches(task, device="cuda").train(0, 16, 0)), _all(Batches(task).train(0, 16, 0))
    assert on_gpu[0].device.type == on_gpu[1].device.type == "cuda"
    torch.testing.assert_close(on_gpu[0].cpu(), on_cpu[0], atol=1e-4, rtol=1e-4)
    assert torch.equal(on_gpu[1].cpu(), on_cpu[1])
