"""Features of a split: what they are, and that they are computed once."""

import shutil
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from training_trials import ONE_THREAD

from tlsweep.data import Task
from tlsweep.data.batches import Batches
from tlsweep.data.views import with_few_labels
from tlsweep.errors import ResultsError
from tlsweep.files import NoRoomError
from tlsweep.models import Weights
from tlsweep.pretrained.features import KeptFeatures, features
from tlsweep.spec import ModelSpec, TrainSettings
from tlsweep.training import evaluation
from tlsweep.training.devices import move_to_device
from tlsweep.training.networks import new_network
from tlsweep.training.transfer import Transfer

CNN = ModelSpec(name="cnn", args={"dropout": 0.5})
BATCH_NORM = ModelSpec(name="training_networks:with_batch_norm")


def found(
    task: Task,
    split: str = "val",
    model: ModelSpec = CNN,
    weights: Weights | None = None,
    seed: int = 3,
    **options: Any,
) -> Any:
    return features(Transfer(task, model, weights, seed), split, compute=ONE_THREAD, **options)[0]


@pytest.mark.parametrize("model", [CNN, BATCH_NORM])
def test_they_are_what_the_head_of_the_evaluating_network_is_given(digits: Task, model: ModelSpec) -> None:
    module = new_network(Transfer(digits, model, weights=None, seed=3)).module.eval()
    *backbone, head = module
    with torch.no_grad():
        batches = Batches(digits, channels_last=move_to_device(module, "cpu"))
        images, labels = next(batches.evaluate("val", digits.size("val")))
        given = torch.nn.Sequential(*backbone)(images)
    values, found_labels = features(Transfer(digits, model, weights=None, seed=3), "val", compute=ONE_THREAD)
    assert values.shape == (digits.size("val"), head.in_features)
    assert values.dtype == np.float32
    assert np.array_equal(values, given.numpy())
    assert found_labels.tolist() == labels.tolist() == digits.labels[digits.splits["val"]].tolist()


def test_neither_batches_nor_memory_change_them(digits: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = found(digits, model=BATCH_NORM)
    monkeypatch.setattr(evaluation, "IMAGES_PER_BATCH", 50)
    assert np.allclose(found(digits, model=BATCH_NORM), whole, atol=1e-6)
    small = ModelSpec(name="training_networks:limited", args={"evaluation": 20})
    large = ModelSpec(name="training_networks:limited")
    assert np.allclose(found(digits, model=small), found(digits, model=large), atol=1e-6)


def test_they_leave_no_trace(digits: Task) -> None:
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    found(digits)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == threads
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()


class Counter:
    """A receiver of progress: how often a split was computed to its end."""

    def __init__(self) -> None:
        self.ends = 0

    def __call__(self, done: int, total: int) -> None:
        self.ends += done == total


def test_they_are_computed_once_for_each_thing_that_changes_them(digits: Task, tmp_path: Path) -> None:
    computed = Counter()
    options = {"cache": tmp_path, "progress": computed}
    first = found(digits, **options)
    assert np.array_equal(found(digits, **options), first)
    assert computed.ends == 1
    trained = Weights.from_state_dict(
        new_network(Transfer(digits, CNN, weights=None, seed=9)).module.state_dict(), "elsewhere"
    )
    others = [
        found(digits, **options, seed=4),
        found(digits, weights=trained, **options),
        found(digits, "train", **options),
        found(with_few_labels(digits, 2, 0), "train", **options),  # normalised by fewer images
        found(digits, model=CNN.model_copy(update={"args": {"dense": [32]}}), **options),
    ]
    assert computed.ends == 6
    assert not any(other.shape == first.shape and np.array_equal(other, first) for other in others)
    # A head that begins elsewhere changes nothing that comes before it, and other splits are of the same images.
    assert np.array_equal(found(digits, weights=trained, **options, seed=5), others[1])
    halves = replace(digits, splits={**digits.splits, "train": digits.splits["train"][::2]})
    assert np.array_equal(found(halves, "train", **options), others[2][::2])
    assert computed.ends == 6


@pytest.mark.parametrize("damage", ["emptied", "torn", "cut short", "another row", "without sums"])
def test_what_is_damaged_is_computed_again(
    digits: Task, tmp_path: Path, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And said in one line by those who train on them."""
    weights = Weights.from_state_dict(new_network(Transfer(digits, CNN, None, 9)).module.state_dict(), "elsewhere")
    lines: list[str] = []
    computed = Counter()
    kept = KeptFeatures(tmp_path, lines.append, computed)

    def rows() -> npt.NDArray[np.float32]:
        return kept.rows(Transfer(digits, CNN, weights, 3), TrainSettings(), "cpu", maps=False)

    wanted = np.concatenate([digits.splits[name] for name in ("train", "val")])
    first = rows()[wanted].copy()
    (file,), (sums,) = tmp_path.glob("*.npy"), tmp_path.glob("*.sums")
    content = file.read_bytes()
    file.write_bytes({"emptied": b"", "torn": b"\x93NUMPY torn", "cut short": content[:-100]}.get(damage, content))
    if damage == "another row":
        at = len(content) - (len(digits.labels) - int(wanted[5])) * first[0].nbytes
        with file.open("r+b") as stream:
            stream.seek(at)
            stream.write(b"odd")
    if damage == "without sums":  # as after a kill before they were written down
        sums.unlink()
    monkeypatch.setattr("tlsweep.pretrained.rows._sound", {})  # as in another process
    assert np.allclose(rows()[wanted], first, atol=1e-6)  # a batch of another size
    assert computed.ends == 2
    assert len(lines) == (damage != "without sums")
    assert all(line.startswith(f"kept features are damaged, and computed again: '{tmp_path}") for line in lines)
    assert {path.suffix for path in tmp_path.iterdir()} == {".npy", ".sums", ".lock"}  # nothing half-written


def test_more_than_half_of_the_free_disk_is_not_taken(
    digits: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=50_000)
    monkeypatch.setattr("tlsweep.files.shutil.disk_usage", lambda _: usage)
    with pytest.raises(NoRoomError, match=r"features of \d+ images take 0.0 GiB, more than half of .* TLSWEEP_CACHE"):
        found(digits, cache=tmp_path, model=CNN.model_copy(update={"args": {"dense": [64]}}))
    assert not list(tmp_path.glob("*.npy"))


def test_of_two_at_once_one_computes(digits: Task, tmp_path: Path) -> None:
    computed, values = Counter(), []
    both = [
        threading.Thread(target=lambda: values.append(found(digits, cache=tmp_path, progress=computed)))
        for _ in range(2)
    ]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert computed.ends == 1
    assert np.array_equal(*values)


def test_those_of_own_code_are_not_kept(digits: Task, tmp_path: Path) -> None:
    found(digits, model=BATCH_NORM, cache=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_cache_that_cannot_be_written_is_told(digits: Task, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ResultsError, match=r"features cannot be kept in '.*file/cache' .* TLSWEEP_CACHE"):
        found(digits, cache=tmp_path / "file" / "cache")
