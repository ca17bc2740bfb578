"""Heads on kept features: the numbers of the whole network, wherever nothing else learns, and nowhere else."""

import multiprocessing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from training_trials import ONE_THREAD, SMALL_CNN, Recorder, Train

from tlsweep.data import Task
from tlsweep.files import NoRoomError
from tlsweep.models import Network, Weights
from tlsweep.models.features import sees_maps
from tlsweep.models.groups import layer_groups
from tlsweep.models.tail import TailUnfitError
from tlsweep.pretrained.features import KeptFeatures
from tlsweep.pretrained.starting import beginning
from tlsweep.spec import Augment, Hyperparameters, ModelSpec, TrainSettings
from tlsweep.training import Transfer, evaluate_checkpoint, finetune
from tlsweep.training.checkpoint import load_checkpoint
from tlsweep.training.frozen import unfit
from tlsweep.training.networks import new_network
from tlsweep.training.trainer import Trainer

BACKBONE = Hyperparameters(lr=0.01, batch_size=16, freeze="backbone")


@pytest.fixture(scope="session")
def still(digits: Task) -> Task:
    """Digits that are not changed at random."""
    return replace(digits, augment=Augment(crop="none", flip=False))


def enlarged(task: Task, size: int, name: str) -> Task:
    """A few images of a side that is a multiple of theirs; `name` is for their hash."""
    images = np.kron(task.images, np.ones((1, size // 8, size // 8, 1), np.uint8))
    few = {split: indices[:24] for split, indices in task.splits.items()}
    return replace(task, images=images, splits=few, image_size=size, pixels=f"{name} {size}")


def weights_of(task: Task, model: ModelSpec) -> Weights:
    return Weights.from_state_dict(new_network(Transfer(task, model, None, 9)).module.state_dict(), "elsewhere")


class Source(KeptFeatures):
    """Counts how often rows are asked for."""

    def __init__(self, cache: Path) -> None:
        super().__init__(cache, tell=(lines := []).append)
        object.__setattr__(self, "lines", lines)
        object.__setattr__(self, "asked", [])

    def rows(self, *arguments: Any, **options: Any) -> Any:
        self.asked.append(1)
        return super().rows(*arguments, **options)


def alike(one: Recorder, other: Recorder, rel: float = 1e-6) -> None:
    """Figures, and what a checkpoint holds."""
    for row, expected in zip(one.rows, other.rows, strict=True):
        for name in ("train_loss", "val_loss", "val_ece"):
            assert getattr(row, name) == pytest.approx(getattr(expected, name), rel=rel), name
        assert (row.train_accuracy, row.val_accuracy, row.step) == (
            expected.train_accuracy,
            expected.val_accuracy,
            expected.step,
        )
    for content, expected_content in zip(one.checkpoints, other.checkpoints, strict=True):
        found, there = load_checkpoint(content), load_checkpoint(expected_content)
        assert found.tensors.keys() == there.tensors.keys()
        for name, tensor in found.tensors.items():
            assert torch.allclose(tensor, there.tensors[name], rtol=1e-4, atol=1e-6), name


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"optimizer": "adamw", "ema": 0.5, "clip_norm": 1.0},
        {"optimizer": "schedule_free_adamw", "lr_schedule": "constant", "momentum": 0.9},
        {"dropout": 0.0, "decay_by": "batch_size", "label_smoothing": 0.1},
    ],
)
def test_a_cnn_trains_as_without(still: Task, train: Train, tmp_path: Path, changes: dict[str, Any]) -> None:
    """Dropout of 0.3 in front of the head, unless it is set, has the very masks that it had."""
    values = BACKBONE.model_copy(update=changes)
    options = {"task": still, "weights": weights_of(still, SMALL_CNN), "noise_scale": not changes}
    source = Source(tmp_path)
    alike(train(values, features=source, **options), train(values, **options))
    assert (source.lines, len(source.asked)) == ([], 1)


def test_memory_that_divides_batches_and_weights_of_classes_change_nothing(
    still: Task, tmp_path: Path, train: Train
) -> None:
    options: dict[str, Any] = {"task": still, "weights": weights_of(still, SMALL_CNN), "micro_batch": 5}
    alike(train(BACKBONE, features=Source(tmp_path), **options), train(BACKBONE, **options))
    transfer = Transfer(still, SMALL_CNN, options["weights"], 1)
    settings = TrainSettings(epochs=2, class_weights="balanced", sampler="balanced", loss="focal", precision="bf16")
    found, expected = Recorder(), Recorder()
    finetune(BACKBONE, settings, transfer, report=found, compute=ONE_THREAD, features=Source(tmp_path))
    finetune(BACKBONE, settings, transfer, report=expected, compute=ONE_THREAD)
    # bfloat16 has 8 bits: a value that rounds the other way is off by 2 ** -9.
    alike(found, replace_checkpoints(expected, found), rel=2e-3)


def replace_checkpoints(recorder: Recorder, by: Recorder) -> Recorder:
    recorder.copies = by.copies
    return recorder


@pytest.mark.parametrize(
    ("name", "size"), [("squeezenet1_1", 48), ("mobilenet_v3_small", 32), ("timm/vit_tiny_patch16_224", 32)]
)
def test_networks_of_others_do_too(still: Task, train: Train, tmp_path: Path, name: str, size: int) -> None:
    """With a convolution as head and a ReLU behind it; dropout that works in place; a sequence before the head."""
    task = enlarged(still, size, name)
    args = {"img_size": size} if name.startswith("timm/") else {}
    model = ModelSpec(name=name, args=args)
    options: dict[str, Any] = {"task": task, "weights": weights_of(task, model), "model": model, "epochs": 2}
    source = Source(tmp_path)
    alike(train(BACKBONE, features=source, **options), train(BACKBONE, **options))
    assert source.lines == []


def test_gradual_thawing_uses_them_until_the_next_group_thaws(
    still: Task, train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone: list[bool] = []
    begin = Trainer.begin_epoch

    def noted(self: Trainer) -> None:
        begin(self)
        gone.append(self.goes_through is not self.batches)

    monkeypatch.setattr(Trainer, "begin_epoch", noted)
    values = BACKBONE.model_copy(update={"freeze": "gradual"})
    options = {"task": still, "weights": weights_of(still, SMALL_CNN), "epochs": 13}
    found = train(values, features=Source(tmp_path), **options)
    assert gone == [True, True] + [False] * 11  # of three groups behind the head the first thaws after 13 / 6 epochs
    alike(found, train(values, **options), rel=1e-4)


def test_going_on_and_taking_over(still: Task, train: Train, tmp_path: Path) -> None:
    options: dict[str, Any] = {"task": still, "weights": weights_of(still, SMALL_CNN)}
    source = Source(tmp_path)
    whole = train(BACKBONE, features=source, **options)
    resumed = train(BACKBONE, features=source, resume=whole.checkpoints[0], **options)
    assert resumed.numbers == whole.numbers[1:]
    # A member whose layers have been trained before: they are no longer those of the weights.
    donor = train(BACKBONE.model_copy(update={"freeze": "nothing"}), epochs=1, **options).checkpoints[0]
    source = Source(tmp_path)
    taken, expected = (train(BACKBONE, resume=donor, features=some, **options) for some in (source, None))
    assert taken.numbers == expected.numbers
    assert source.asked == []


@pytest.mark.parametrize(
    ("changes", "crop", "told"),
    [
        ({}, "shift", "training images change at random (data.augment.crop)"),
        ({"rotation": 5.0, "mixup": 0.2}, "none", "change at random (train.rotation, train.mixup)"),
    ],
)
def test_where_images_change_at_random_they_are_not_used_and_that_is_said(
    still: Task, train: Train, tmp_path: Path, changes: dict[str, Any], crop: str, told: str
) -> None:
    task = replace(still, augment=Augment(crop=crop, flip=False))  # type: ignore[arg-type]
    options = {"task": task, "weights": weights_of(task, SMALL_CNN), "epochs": 2}
    values, source = BACKBONE.model_copy(update=changes), Source(tmp_path)
    assert train(values, features=source, **options).numbers == train(values, **options).numbers
    (line,) = source.lines
    assert told in line
    assert list(tmp_path.iterdir()) == []


def test_random_weights_and_own_code_have_none(still: Task) -> None:
    assert "random weights" in str(unfit(BACKBONE, still, Transfer(still, SMALL_CNN, None, 1)))
    own = Transfer(still, ModelSpec(name="mine:net"), weights_of(still, SMALL_CNN), 1)
    assert "mine:net is own code" in str(unfit(BACKBONE, still, own))


def test_what_cannot_be_kept_or_is_not_linear_to_the_logits_is_computed_in_each_epoch(
    still: Task, train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"task": still, "weights": weights_of(still, SMALL_CNN), "epochs": 1}
    expected = train(BACKBONE, **options).numbers
    for error in (NoRoomError("no room"), TailUnfitError("its head is odd")):
        monkeypatch.setattr(Trainer, "through", lambda *_, error=error: (_ for _ in ()).throw(error))
        source = Source(tmp_path)
        assert train(BACKBONE, features=source, **options).numbers == expected
        assert source.lines == [f"the frozen layers compute in each epoch: {error}"]


def test_to_try_it_changes_no_statistics(still: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch norm without parameters goes with the head, and is more than dropout: its statistics are those before."""
    transfer = Transfer(still, SMALL_CNN, weights_of(still, SMALL_CNN), 1)
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8, affine=False), nn.Linear(8, 10))
    normalised = Network(module, layer_groups(module, "3"))
    monkeypatch.setattr("tlsweep.training.networks.build_network", lambda *_, **__: normalised)
    trainer = Trainer(BACKBONE, TrainSettings(), transfer, ONE_THREAD)
    generator = torch.get_rng_state()
    with pytest.raises(TailUnfitError, match="more than dropout"):
        trainer.through(np.zeros((len(still.labels), 8), np.float32))
    assert module[2].training
    assert int(module[2].num_batches_tracked) == 0  # type: ignore[arg-type]
    assert torch.equal(torch.get_rng_state(), generator)


def rows_of(task: Task, weights: Weights, cache: Path, start: Any, done: Any) -> None:
    """In a process of its own: how often it computed, and a sum of what it got."""
    computed: list[int] = []
    source = KeptFeatures(cache, progress=lambda at, total: computed.append(at == total))
    start.wait()
    rows = source.rows(Transfer(task, SMALL_CNN, weights, 1), TrainSettings(), "cpu", maps=False)
    done.put((sum(computed), float(rows[task.splits["train"]].sum())))


def test_of_two_processes_at_once_one_computes_and_both_map_the_same_file(still: Task, tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    start, done = context.Barrier(2), context.Queue()
    weights = weights_of(still, SMALL_CNN)
    both = [context.Process(target=rows_of, args=(still, weights, tmp_path, start, done)) for _ in range(2)]
    for process in both:
        process.start()
    (first, one), (second, other) = (done.get(timeout=60) for _ in both)
    for process in both:
        process.join()
    assert first + second == 1
    assert one == other


@pytest.mark.parametrize(("model", "size"), [(SMALL_CNN, None), (ModelSpec(name="squeezenet1_1"), 48)])
@pytest.mark.parametrize("how", ["probe", "zero"])
def test_a_head_begins_on_kept_features_as_without_and_the_frozen_layers_compute_no_more(
    still: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: ModelSpec, size: int | None, how: str
) -> None:
    task = still if size is None else enlarged(still, size, model.name)
    transfer = Transfer(task, model, weights_of(task, model), 1)
    settings = TrainSettings(head=how)
    expected = beginning(transfer, settings, compute=ONE_THREAD)
    kept = KeptFeatures(tmp_path)
    kept.rows(transfer, settings, "cpu", maps=sees_maps(new_network(transfer)))
    sizes = watched_batches(monkeypatch)
    found = beginning(transfer, settings, features_cache=tmp_path, features=kept, compute=ONE_THREAD)
    assert found.how == expected.how == how
    for head, there in zip(found.heads, expected.heads, strict=True):
        assert head.validation == pytest.approx(there.validation, rel=1e-5)
        for name, values in head.tensors.items():
            assert np.allclose(values, there.tensors[name], rtol=1e-4, atol=1e-6), name
    assert max(sizes) <= 2, "of a few images, to compare"


def test_what_a_trial_left_is_evaluated_on_kept_features_where_only_its_head_is_new(
    still: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, train: Train
) -> None:
    weights = weights_of(still, SMALL_CNN)
    transfer, kept = Transfer(still, SMALL_CNN, weights, 1), KeptFeatures(tmp_path)
    kept.rows(transfer, TrainSettings(), "cpu", maps=False)
    for freeze, whole in (("backbone", False), ("nothing", True)):
        values = BACKBONE.model_copy(update={"freeze": freeze})
        content = train(values, task=still, weights=weights).checkpoints[-1]
        for split in ("train", "val", "test"):
            expected = evaluate_checkpoint(content, transfer, split=split, compute=ONE_THREAD)
            with monkeypatch.context() as context:
                sizes = watched_batches(context)
                found = evaluate_checkpoint(content, transfer, split=split, compute=ONE_THREAD, features=kept)
            assert found.loss == pytest.approx(expected.loss, rel=1e-5)
            assert (found.predictions == expected.predictions).all()
            assert (max(sizes) > 2) == (whole or split == "test")


def watched_batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images pass through convolutions at once, from here on."""
    sizes: list[int] = []
    forward = nn.Conv2d.forward

    def watched(layer: nn.Conv2d, images: torch.Tensor) -> torch.Tensor:
        if layer.out_channels != 10 or layer.kernel_size != (1, 1):  # not a head that is one
            sizes.append(len(images))
        return forward(layer, images)

    monkeypatch.setattr(nn.Conv2d, "forward", watched)
    return sizes
