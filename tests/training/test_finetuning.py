"""The fine-tuning function: the mathematics of a plain loop, determinism, restoring, and what it leaves behind."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from training_trials import ONE_THREAD, SMALL_CNN, Recorder, Train, same_checkpoint

from tlsweep.data import Task
from tlsweep.data.batches import Batches
from tlsweep.models import Weights, build_network
from tlsweep.pretrained import pretrain
from tlsweep.spec import DigitsData, Hyperparameters, ModelSpec, SourceTask, TrainSettings
from tlsweep.training import EpochReport, Snapshot, evaluate_checkpoint, finetune
from tlsweep.training.checkpoint import load_checkpoint
from tlsweep.training.networks import new_network
from tlsweep.training.transfer import Transfer

BATCH_NORM = ModelSpec(name="training_networks:with_batch_norm")
NO_DROPOUT = ModelSpec(name="cnn", args={"channels": [8, 8], "dense": [16]})


def reference_loop(task: Task, epochs: int, seed: int, chosen: Hyperparameters) -> dict[str, torch.Tensor]:
    """SGD with momentum, weight decay and a cosine over steps, written out with torch alone."""
    lr, batch_size = chosen.lr, chosen.batch_size
    sizes = {"num_classes": task.num_classes, "channels": task.channels, "image_size": task.image_size}
    module = build_network(NO_DROPOUT, **sizes, seed=seed).module
    optimizer = torch.optim.SGD(module.parameters(), lr=lr, momentum=0.9, weight_decay=1e-3, foreach=False)
    steps = epochs * math.ceil(task.size("train") / batch_size)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
    batches = Batches(task, chosen)
    for epoch in range(epochs):
        for images, labels in batches.train(epoch, batch_size, seed):
            optimizer.zero_grad()
            F.cross_entropy(module(images), labels, label_smoothing=0.1).backward()
            torch.nn.utils.clip_grad_norm_(module.parameters(), chosen.clip_norm or math.inf)
            optimizer.step()
            scheduler.step()
    return module.state_dict()


MIXED = {"auto_augment": "rand", "color_jitter": 0.2, "rotation": 10, "random_erasing": 0.5, "mixup": 0.4, "cutmix": 1}


@pytest.mark.parametrize("chosen", [{}, {"clip_norm": 0.05}, MIXED], ids=["plain", "clipped", "augmented"])
def test_two_epochs_equal_a_plain_loop(digits: Task, train: Train, chosen: dict[str, Any]) -> None:
    hyperparameters = Hyperparameters(lr=0.05, batch_size=20, weight_decay=1e-3, label_smoothing=0.1, **chosen)
    trial = train(hyperparameters, epochs=2, seed=3, model=NO_DROPOUT)
    expected = reference_loop(digits, 2, 3, hyperparameters)
    got = load_checkpoint(trial.checkpoints[-1]).tensors
    assert got.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(got[name], tensor, rtol=0, atol=1e-6)


def test_reports_count_what_was_done(digits: Task, train: Train) -> None:
    trial = train(Hyperparameters(lr=0.05, batch_size=16, lr_schedule="step", lr_gamma=0.1, lr_step_epochs=2), epochs=3)
    rows, steps = trial.rows, math.ceil(digits.size("train") / 16)
    assert [row.epoch for row in rows] == [1, 2, 3]
    assert [row.samples for row in rows] == [digits.size("train") * epoch for epoch in (1, 2, 3)]
    assert [row.step for row in rows] == [steps * epoch for epoch in (1, 2, 3)]
    assert [row.scheduled_lr for row in rows] == pytest.approx([0.05, 0.05, 0.005])
    assert all(row.train_seconds > 0 and row.eval_seconds > 0 and row.samples_per_second > 0 for row in rows)
    assert {(row.micro_batch, row.device, row.device_memory) for row in rows} == {(16, "cpu", 0)}


def test_a_warm_up_reaches_the_base_rate_with_its_last_step(train: Train) -> None:
    """Half of it after one of two epochs: the last step of an epoch counts the samples that it passes itself."""
    rows = train(Hyperparameters(lr=0.05, lr_schedule="constant", warmup_epochs=2), epochs=3).rows
    assert [row.scheduled_lr for row in rows] == pytest.approx([0.025, 0.05, 0.05])


def test_training_learns(train: Train) -> None:
    rows = train(Hyperparameters(lr=0.05, batch_size=16), epochs=12, model=NO_DROPOUT).rows
    assert rows[-1].train_loss < rows[0].train_loss / 2
    assert rows[-1].val_accuracy > 0.4


def test_the_time_spent_in_a_report_is_waiting_in_the_next(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter(range(10**6))
    monkeypatch.setattr("time.perf_counter", lambda: float(next(ticks)))
    rows: list[EpochReport] = []

    def slow(row: EpochReport, snapshot: Snapshot) -> None:
        rows.append(row)
        for _ in range(1000):
            next(ticks)

    train(epochs=2, report=slow)
    assert rows[0].wait_seconds < 100
    assert 1000 <= rows[1].wait_seconds < 1100


def test_the_numbers_do_not_depend_on_what_ran_before(train: Train) -> None:
    fresh = train().numbers
    torch.rand(7)
    np.random.rand(7)
    train(Hyperparameters(lr=0.01, batch_size=64, optimizer="adam"), seed=9, epochs=1)
    assert train().numbers == fresh
    assert train(seed=2).numbers != fresh


def test_nothing_is_left_behind(train: Train) -> None:
    generator, threads, dtype = torch.get_rng_state(), torch.get_num_threads(), torch.get_default_dtype()
    train(threads=threads + 1, epochs=1)

    def fail(row: EpochReport, snapshot: Snapshot) -> None:
        assert torch.get_num_threads() == threads + 1
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(threads=threads + 1, epochs=1, report=fail)
    assert torch.equal(torch.get_rng_state(), generator)
    assert (torch.get_num_threads(), torch.get_default_dtype()) == (threads, dtype)
    assert torch.is_grad_enabled()


RESTORED = {
    "sgd": Hyperparameters(lr=0.05, batch_size=16, nesterov=True, weight_decay=1e-3),
    "adam": Hyperparameters(lr=0.005, batch_size=16, optimizer="adam", lr_schedule="constant"),
    "adamw": Hyperparameters(lr=0.005, batch_size=24, optimizer="adamw", weight_decay=0.1, lr_schedule="step"),
    "exponential": Hyperparameters(lr=0.05, lr_schedule="exponential", warmup_epochs=1.5, label_smoothing=0.1),
    "gradual": Hyperparameters(lr=0.05, freeze="gradual", layer_decay=0.7, head_lr_multiplier=2),
    "gradual-adam": Hyperparameters(lr=0.005, optimizer="adam", freeze="gradual"),
    "backbone": Hyperparameters(lr=0.05, freeze="backbone"),
    "one-cycle": Hyperparameters(lr=0.05, lr_schedule="one_cycle", warmup_epochs=0.5),
    "wsd": Hyperparameters(lr=0.05, lr_schedule="wsd", lr_cooldown=0.5, clip_norm=0.1, ema=0.5),
    "plateau": Hyperparameters(lr=0.05, lr_schedule="plateau", lr_patience=0, lr_threshold=0.2, lr_gamma=0.5),
    "adjusted": Hyperparameters(lr=0.3, lr_schedule="adjusted", lr_patience=0, freeze="gradual"),
    "dynamic": Hyperparameters(lr=0.3, optimizer="adam", lr_schedule="dynamic", lr_patience=0, warmup_epochs=1),
    "growing batch": Hyperparameters(
        lr=0.05, batch_size=8, lr_schedule="adjusted", lr_gamma=0.5, decay_by="batch_size", batch_size_limit=40
    ),
    "schedule-free": Hyperparameters(lr=0.1, optimizer="schedule_free_sgd", layer_decay=0.7, weight_decay=1e-3),
    "schedule-free-adamw": Hyperparameters(lr=0.01, optimizer="schedule_free_adamw", freeze="gradual"),
    "augmented": Hyperparameters(lr=0.05, batch_size=16, label_smoothing=0.1, **MIXED),
    "prodigy": Hyperparameters(optimizer="prodigy", freeze="gradual", weight_decay=1e-3, warmup_epochs=0.5),
}


@pytest.mark.parametrize("model", [SMALL_CNN, BATCH_NORM], ids=["dropout", "batch-norm"])
@pytest.mark.parametrize("hyperparameters", RESTORED.values(), ids=RESTORED.keys())
def test_going_on_from_any_epoch_is_as_never_having_stopped(
    train: Train, hyperparameters: Hyperparameters, model: ModelSpec
) -> None:
    whole = train(hyperparameters, epochs=4, model=model)
    for epoch in (1, 2, 3):
        rest = train(hyperparameters, epochs=4, model=model, resume=whole.checkpoints[epoch - 1])
        assert rest.numbers == whole.numbers[epoch:]
        assert same_checkpoint(rest.checkpoints[-1], whole.checkpoints[-1])


def test_a_finished_trial_has_nothing_more_to_report(train: Train) -> None:
    whole = train(epochs=2)
    assert train(epochs=2, resume=whole.checkpoints[-1]).rows == []


def test_after_a_restore_the_trials_own_hyperparameters_win(digits: Task, train: Train) -> None:
    donor = train(Hyperparameters(lr=0.05, batch_size=16, momentum=0.9), epochs=4, seed=1)
    taker = Hyperparameters(lr=0.007, batch_size=32, momentum=0.5, lr_schedule="constant")
    rows = train(taker, epochs=4, seed=2, resume=donor.checkpoints[1]).rows
    steps = math.ceil(digits.size("train") / 32)
    assert [row.scheduled_lr for row in rows] == [0.007, 0.007]
    assert [row.step for row in rows] == [donor.rows[1].step + steps, donor.rows[1].step + 2 * steps]
    assert [row.samples for row in rows] == [donor.rows[2].samples, donor.rows[3].samples]
    assert {row.micro_batch for row in rows} == {32}


def test_a_trial_trains_with_its_dropout_and_goes_on_with_another_one(train: Train) -> None:
    """A mutation takes effect: what counts is the value in force, whatever the network was built with."""
    whole = train()  # built with a rate of 0.3
    assert train(Hyperparameters(lr=0.05, dropout=0.3), model=NO_DROPOUT).numbers == whole.numbers
    off = train(Hyperparameters(lr=0.05, dropout=0.0), resume=whole.checkpoints[0])
    assert off.numbers == train(model=NO_DROPOUT, resume=whole.checkpoints[0]).numbers
    assert off.numbers != whole.numbers[1:]


def test_the_optimizers_memory_goes_on_only_in_the_same_kind(train: Train) -> None:
    constant = {"lr": 0.01, "batch_size": 1000, "lr_schedule": "constant"}
    donor = train(Hyperparameters.model_validate(constant | {"optimizer": "adam"}), epochs=2).checkpoints[0]
    same = train(Hyperparameters.model_validate(constant | {"optimizer": "adam"}), epochs=2, resume=donor)
    other = train(Hyperparameters.model_validate(constant | {"optimizer": "adamw"}), epochs=2, resume=donor)
    steps = [
        float(next(iter(load_checkpoint(trial.checkpoints[-1]).optimizer_state.values()))["step"])
        for trial in (same, other)
    ]
    assert steps == [2.0, 1.0]


@pytest.fixture(scope="module")
def weights(clean_digits: Task) -> Weights:
    source = SourceTask(data=DigitsData(source="digits", domain="source"), epochs=1)
    return pretrain(source, SMALL_CNN, clean_digits, seed=0, compute=ONE_THREAD)


@pytest.mark.parametrize("pretrained", [True, False], ids=["pretrained", "scratch"])
@pytest.mark.parametrize("taker", ["nothing", "gradual", "backbone"])
@pytest.mark.parametrize("donor", ["nothing", "gradual", "backbone"])
def test_a_member_may_take_over_a_checkpoint_of_another_seed_that_froze_otherwise(
    digits: Task, train: Train, weights: Weights, donor: str, taker: str, pretrained: bool
) -> None:
    """What was trained before is kept by all later checkpoints, although it is frozen now; so are random layers."""
    base = weights if pretrained else None
    first = train(Hyperparameters(lr=0.05, freeze=donor), epochs=4, seed=1, weights=base)
    second = train(Hyperparameters(lr=0.05, freeze=taker), epochs=4, seed=2, weights=base, resume=first.checkpoints[2])
    for seed, trial in ((3, first), (4, second)):
        again = evaluate_checkpoint(
            trial.checkpoints[-1],
            Transfer(digits, SMALL_CNN, weights=base, seed=seed),
            split="val",
            compute=ONE_THREAD,
        )
        assert (again.loss, again.accuracy) == (trial.rows[-1].val_loss, trial.rows[-1].val_accuracy)


def test_a_frozen_backbone_is_neither_trained_nor_kept(train: Train, weights: Weights) -> None:
    frozen = load_checkpoint(train(Hyperparameters(lr=0.05, freeze="backbone"), weights=weights).checkpoints[-1])
    assert set(frozen.tensors) == set(frozen.optimizer_state)
    assert len(frozen.tensors) == 2


def test_frozen_statistics_of_batch_norm_are_not_kept(digits: Task, train: Train) -> None:
    weights = Weights.from_state_dict(
        new_network(Transfer(digits, BATCH_NORM, weights=None, seed=0)).module.state_dict(), "test"
    )
    frozen = train(Hyperparameters(lr=0.05, freeze="backbone"), model=BATCH_NORM, weights=weights)
    assert set(load_checkpoint(frozen.checkpoints[-1]).tensors) == {"8.weight", "8.bias"}
    gradual = train(Hyperparameters(lr=0.05, freeze="gradual"), model=BATCH_NORM, weights=weights, epochs=4)
    kept = load_checkpoint(gradual.checkpoints[1]).tensors
    assert "4.running_mean" in kept
    assert "1.running_mean" not in kept


def test_batch_norm_of_frozen_layers_stands_still(train: Train) -> None:
    checkpoints = train(Hyperparameters(lr=0.05, freeze="backbone"), model=BATCH_NORM).checkpoints
    first, last = (load_checkpoint(content).tensors for content in (checkpoints[0], checkpoints[-1]))
    assert {name for name in first if not torch.equal(first[name], last[name])} == {"8.weight", "8.bias"}


def test_divergence_is_reported_without_an_evaluation(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tlsweep.training.trainer.evaluate", lambda *_: pytest.fail("evaluated"))
    row = train(Hyperparameters(lr=1e30), epochs=1).rows[0]
    assert not math.isfinite(row.train_loss)
    assert all(math.isnan(x) for x in (row.val_loss, row.val_accuracy, row.val_precision, row.val_recall, row.val_f1))


def test_a_batch_larger_than_the_training_split_is_one_step(digits: Task, train: Train) -> None:
    assert train(Hyperparameters(lr=0.05, batch_size=10**6), epochs=2).rows[-1].step == 2


def test_bf16_trains_in_lower_precision_with_fp32_weights(train: Train) -> None:
    low, full = train(precision="bf16"), train(precision="fp32")
    assert low.numbers != full.numbers
    assert low.rows[-1].val_loss == pytest.approx(full.rows[-1].val_loss, rel=0.1)
    assert {tensor.dtype for tensor in load_checkpoint(low.checkpoints[-1]).tensors.values()} == {torch.float32}


def test_channels_last_is_the_same_mathematics(digits: Task) -> None:
    losses = []
    for channels_last in (False, True):
        recorder = Recorder(checkpoints=False)
        settings = TrainSettings(epochs=2, channels_last=channels_last)
        finetune(
            Hyperparameters(lr=0.05),
            settings,
            Transfer(digits, NO_DROPOUT, weights=None, seed=0),
            report=recorder,
            compute=ONE_THREAD,
        )
        losses.append(recorder.rows[-1].val_loss)
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_nesterov_without_momentum_is_plain_sgd(train: Train) -> None:
    plain = Hyperparameters(lr=0.05, momentum=0.0)
    assert train(plain.model_copy(update={"nesterov": True})).numbers == train(plain).numbers


def test_the_test_split_is_not_looked_at(digits: Task, train: Train, shuffled: Callable[[Task], Task]) -> None:
    assert train(task=shuffled(digits)).numbers == train(task=digits).numbers


@pytest.fixture
def shuffled() -> Callable[[Task], Task]:
    """The task with wrong labels in the test split."""

    def change(task: Task) -> Task:
        labels = task.labels.copy()
        labels[task.splits["test"]] = (labels[task.splits["test"]] + 1) % task.num_classes
        return replace(task, labels=labels)

    return change
