"""Source tasks: trained once, kept, and worth it."""

import multiprocessing
import multiprocessing.synchronize
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock, Timeout
from training_trials import ONE_THREAD, SMALL_CNN, Train

from tlsweep.data import Task
from tlsweep.errors import ModelError, ResultsError
from tlsweep.pretrained import cached_weights, pretrain, pretrained, source_key
from tlsweep.spec import DigitsData, Hyperparameters, ModelSpec, SourceTask

SOURCE = SourceTask(data=DigitsData(source="digits", domain="source"), epochs=1)


def test_transfer_beats_training_from_scratch(clean_digits: Task, train: Train) -> None:
    source, model = SOURCE.model_copy(update={"epochs": 20}), ModelSpec(name="cnn")
    weights = pretrain(source, model, clean_digits, seed=0, compute=ONE_THREAD)
    hyperparameters = Hyperparameters(lr=0.02, batch_size=16)
    transferred, scratch = (
        [train(hyperparameters, epochs=10, seed=s, model=model, weights=w).rows[-1].val_accuracy for s in (0, 1)]
        for w in (weights, None)
    )
    assert min(transferred) > max(scratch) + 0.2


def test_the_cache_gives_the_same_weights_without_training(
    clean_digits: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    epochs: list[tuple[int, int]] = []
    options = {"seed": 0, "cache": tmp_path / "new", "compute": ONE_THREAD}
    assert cached_weights(SOURCE, SMALL_CNN, clean_digits, seed=0, cache=tmp_path / "new") is None
    first = pretrained(SOURCE, SMALL_CNN, clean_digits, progress=lambda *done: epochs.append(done), **options)
    assert epochs == [(1, 1)]
    monkeypatch.setattr("tlsweep.pretrained.pretraining.finetune", lambda *_, **__: pytest.fail("trained again"))
    second = pretrained(SOURCE, SMALL_CNN, clean_digits, **options)
    key = source_key(SOURCE, SMALL_CNN, 0, clean_digits.fingerprint)
    assert (first.origin, first.sha256) == (second.origin, second.sha256) == (f"source task {key}", first.sha256)
    assert first.tensors.keys() == second.tensors.keys()
    assert all(np.array_equal(first.tensors[name], second.tensors[name]) for name in first.tensors)


def test_a_damaged_file_is_made_anew(clean_digits: Task, tmp_path: Path) -> None:
    options = {"seed": 0, "cache": tmp_path, "compute": ONE_THREAD}
    first = pretrained(SOURCE, SMALL_CNN, clean_digits, **options)
    (path,) = tmp_path.glob("*.safetensors")
    path.write_bytes(path.read_bytes()[:100])
    assert pretrained(SOURCE, SMALL_CNN, clean_digits, **options).sha256 == first.sha256
    assert path.stat().st_size > 100


Event = multiprocessing.synchronize.Event


def train_until_another_waits(task: Task, cache: Path, started: Event, waiting: Event) -> None:
    def progress(epoch: int, epochs: int) -> None:
        started.set()
        assert waiting.wait(timeout=120)

    pretrained(SOURCE, SMALL_CNN, task, seed=0, cache=cache, progress=progress, compute=ONE_THREAD)


def test_a_second_process_waits_for_the_first_to_have_trained(
    clean_digits: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tlsweep.pretrained.pretraining.finetune", lambda *_, **__: pytest.fail("trained as well"))
    context = multiprocessing.get_context("spawn")
    started, waiting, acquire = context.Event(), context.Event(), FileLock.acquire

    def acquire_in_vain_first(lock: FileLock) -> object:
        with pytest.raises(Timeout):
            acquire(lock, blocking=False)
        waiting.set()
        return acquire(lock)

    first = context.Process(target=train_until_another_waits, args=(clean_digits, tmp_path, started, waiting))
    first.start()
    monkeypatch.setattr(FileLock, "acquire", acquire_in_vain_first)
    assert started.wait(timeout=120)
    weights = pretrained(SOURCE, SMALL_CNN, clean_digits, seed=0, cache=tmp_path, compute=ONE_THREAD)
    first.join()
    assert first.exitcode == 0
    assert weights.origin.startswith("source task")


@pytest.mark.parametrize(
    ("source", "model", "seed", "fingerprint"),
    [
        (SOURCE.model_copy(update={"epochs": 2}), SMALL_CNN, 0, "a"),
        (SOURCE.model_copy(update={"train": Hyperparameters(lr=0.5)}), SMALL_CNN, 0, "a"),
        (SOURCE, ModelSpec(name="mlp", args=SMALL_CNN.args), 0, "a"),
        (SOURCE, ModelSpec(name="cnn"), 0, "a"),
        (SOURCE, SMALL_CNN, 1, "a"),
        (SOURCE, SMALL_CNN, 0, "b"),
    ],
)
def test_whatever_changes_the_weights_changes_the_key(
    source: SourceTask, model: ModelSpec, seed: int, fingerprint: str
) -> None:
    same = source_key(SOURCE, SMALL_CNN.model_copy(update={"weights": SOURCE}), 0, "a")
    assert source_key(SOURCE, SMALL_CNN, 0, "a") == same
    assert source_key(source, model, seed, fingerprint) != same


def test_divergence_is_one_message(clean_digits: Task) -> None:
    source = SOURCE.model_copy(update={"train": Hyperparameters(lr=1e30)})
    with pytest.raises(ModelError, match=r"diverged in epoch 1 with lr 1e\+30; lower model.weights.train.lr"):
        pretrain(source, SMALL_CNN, clean_digits, seed=0, compute=ONE_THREAD)


def test_a_cache_that_cannot_be_written_is_one_message(clean_digits: Task, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ResultsError, match="cannot be kept"):
        pretrained(SOURCE, SMALL_CNN, clean_digits, seed=0, cache=tmp_path / "file")
