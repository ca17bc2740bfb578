"""Trials on a device whose memory is too small for their batches: as if that had been known from the start."""

from typing import Any

import pytest
import torch
from training_trials import ONE_THREAD, Recorder, Train, same_checkpoint

from tlsweep.data import Task
from tlsweep.errors import ResourceError
from tlsweep.spec import Hyperparameters, ModelSpec, TrainSettings
from tlsweep.training import evaluate_checkpoint
from tlsweep.training.checkpoint import load_checkpoint
from tlsweep.training.devices import Compute
from tlsweep.training.trainer import Trainer
from tlsweep.training.transfer import Transfer


def limited(**args: Any) -> ModelSpec:
    return ModelSpec(name="training_networks:limited", args=args)


def hyperparameters(**values: Any) -> Hyperparameters:
    return Hyperparameters.model_validate({"lr": 0.01, "batch_size": 32} | values)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "schedule_free_adamw", "prodigy"])
@pytest.mark.parametrize("phase", ["forward", "backward"])
def test_a_trial_that_finds_the_limit_equals_one_that_was_told(train: Train, phase: str, optimizer: str) -> None:
    """Bit for bit, with batch norm and dropout: failed attempts have left nothing in buffers, generators, optimizer."""
    model, values = limited(**{phase: 8}), hyperparameters(optimizer=optimizer)
    found, told = (train(values, model=model, epochs=2, micro_batch=limit) for limit in (None, 8))
    assert {row.micro_batch for row in found.rows} == {8}
    assert found.numbers == told.numbers
    assert all(map(same_checkpoint, found.checkpoints, told.checkpoints))


def test_what_was_found_lasts_for_the_trial_and_goes_on_after_a_restore(train: Train) -> None:
    model = limited(forward=8)
    whole = train(hyperparameters(), model=model, epochs=3)
    rest = train(hyperparameters(), model=model, epochs=3, resume=whole.checkpoints[0], micro_batch=8)
    assert rest.numbers == whole.numbers[1:]


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_memory_may_run_out_once_in_the_middle_of_a_step(digits: Task, optimizer: str) -> None:
    """In the second part of a later step, when gradients of the first are there already."""

    def trainer(limit: int | None) -> Trainer:
        return Trainer(
            hyperparameters(optimizer=optimizer),
            TrainSettings(epochs=2),
            Transfer(digits, limited(), weights=None, seed=1),
            Compute(device="cpu", micro_batch=limit),
        )

    failing, expected = trainer(16), trainer(16)
    plain, calls = failing.forward, 0

    def forward(images: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        logits = plain(images)
        if calls == 4:
            raise torch.OutOfMemoryError("out of memory")
        return logits

    failing.forward = forward
    for step, (images, labels) in enumerate(failing.batches.train(0, 32, 1)):
        if step == 1:
            expected.micro_batch.limit = 8
        # Both draw dropout from torch's global generator.
        states = []
        for one in (failing, expected):
            with torch.random.fork_rng([]):
                torch.default_generator.manual_seed(step)
                one.train_step(images, labels, 32 * step)
                states.append(torch.get_rng_state())
        assert torch.equal(*states)
    assert failing.micro_batch.limit == 8
    assert same_checkpoint(failing.snapshot(), expected.snapshot())


@pytest.mark.parametrize(
    "values", [{}, {"optimizer": "adamw"}, {"freeze": "gradual"}, {"batch_size": 9}, {"clip_norm": 0.05}], ids=str
)
def test_in_double_precision_division_changes_nothing_that_training_does(train: Train, values: dict[str, Any]) -> None:
    """Momentum, weight decay, label smoothing, learning rates of groups, schedule: they see the whole batch only."""
    values = {
        "nesterov": True, "weight_decay": 0.01, "label_smoothing": 0.1, "layer_decay": 0.5, "head_lr_multiplier": 3,
        "warmup_epochs": 0.5,
    } | values  # fmt: skip
    model = limited(double=True, batch_norm=False, dropout=0.0)
    whole, divided = (train(hyperparameters(**values), model=model, epochs=3, micro_batch=limit) for limit in (None, 5))
    assert {row.micro_batch for row in divided.rows} == {5}
    for row, other in zip(whole.rows, divided.rows, strict=True):
        assert (row.samples, row.step, row.scheduled_lr, row.train_accuracy) == (
            other.samples, other.step, other.scheduled_lr, other.train_accuracy,
        )  # fmt: skip
        assert row.train_loss == pytest.approx(other.train_loss, rel=1e-10)
    one, other = (load_checkpoint(trial.checkpoints[-1]) for trial in (whole, divided))
    assert not all(torch.equal(tensor, other.tensors[name]) for name, tensor in one.tensors.items())
    for name, tensor in one.tensors.items():
        torch.testing.assert_close(tensor, other.tensors[name], rtol=0, atol=1e-10)
    for name, memory in one.optimizer_state.items():
        for key, value in memory.items():
            torch.testing.assert_close(value, other.optimizer_state[name][key], rtol=1e-9, atol=1e-10)


WHOLE = 10**6
REPORTED = {
    # batch size, micro-batch that is handed in, samples that fit: what the report says (100 images to train on)
    "whole": (16, None, 1000, 16),
    "told its own size": (16, 16, 1000, 16),
    "told more than its size": (16, 64, 1000, 16),
    "told less": (16, 4, 1000, 4),
    "told no divisor": (16, 15, 1000, 15),
    "found": (32, None, 8, 8),
    "told too much": (64, 40, 8, 8),
    "larger than the split": (WHOLE, None, 1000, WHOLE),
    "larger than the split, told more than that": (WHOLE, 200, 1000, WHOLE),
    "larger than the split, told just that": (WHOLE, 100, 1000, WHOLE),
    "larger than the split, told less": (WHOLE, 50, 1000, 50),
    "larger than the split, found": (WHOLE, None, 30, 25),
    "the last batch has a sample more": (99, 99, 1000, 99),
    "the last batch has a sample more, found": (99, None, 99, 50),
    "one": (1, None, 1, 1),
}


@pytest.mark.parametrize(("batch_size", "told", "fits", "reported"), REPORTED.values(), ids=REPORTED.keys())
def test_the_report_tells_what_is_divided(
    train: Train, batch_size: int, told: int | None, fits: int, reported: int
) -> None:
    trial = train(hyperparameters(batch_size=batch_size), model=limited(forward=fits), epochs=1, micro_batch=told)
    assert trial.rows[0].micro_batch == reported
    assert trial.rows[0].samples == 100


@pytest.mark.parametrize("phase", ["forward", "backward"])
def test_a_single_sample_that_does_not_fit_fails_the_trial_with_one_message(train: Train, phase: str) -> None:
    recorder = Recorder()
    with pytest.raises(ResourceError, match=r"^training: .+ a single image of 8x8 pixels \(CUDA out .+ 2 GiB\);") as e:
        train(hyperparameters(batch_size=4), model=limited(**{phase: 0}), report=recorder)
    assert isinstance(e.value.__cause__, torch.OutOfMemoryError)
    assert "\n" not in str(e.value)
    assert recorder.rows == []


def test_an_evaluation_that_does_not_fit_is_made_in_halves(digits: Task, train: Train) -> None:
    trial, plain = (train(hyperparameters(), model=model, epochs=2) for model in (limited(evaluation=16), limited()))
    for row, other in zip(trial.rows, plain.rows, strict=True):
        assert row.train_loss == other.train_loss
        assert row.val_loss == pytest.approx(other.val_loss, rel=1e-6)
        assert row.val_f1 == other.val_f1
    results = [
        evaluate_checkpoint(
            plain.checkpoints[-1],
            Transfer(digits, model, weights=None, seed=1),
            split="test",
            compute=Compute("cpu"),
        )
        for model in (limited(), limited(evaluation=16))
    ]
    assert results[0].loss == pytest.approx(results[1].loss, rel=1e-6)
    assert results[0].predictions.tolist() == results[1].predictions.tolist()
    assert results[1].confusion.sum() == digits.size("test")


def test_what_an_evaluation_found_is_kept_for_the_trial(digits: Task) -> None:
    trainer = Trainer(
        hyperparameters(),
        TrainSettings(),
        Transfer(digits, limited(evaluation=50), weights=None, seed=1),
        Compute("cpu"),
    )
    plain, sizes = trainer.forward, list[int]()
    trainer.forward = lambda images: (sizes.append(len(images)), plain(images))[1]
    first, count = trainer.evaluate("val"), digits.size("val")
    assert sizes[0] == count > 50
    assert sum(size for size in sizes if size <= 50) == count
    sizes.clear()
    assert trainer.evaluate("val").loss == first.loss
    assert max(sizes) <= 50
    assert sum(sizes) == count
    assert trainer.micro_batch.limit is None  # training is another matter


def test_a_single_image_that_cannot_be_evaluated_is_one_message(digits: Task, train: Train) -> None:
    with pytest.raises(ResourceError, match=r"^evaluation: the memory of cpu is too small for a single image"):
        train(hyperparameters(), model=limited(evaluation=0))
    checkpoint = train(hyperparameters(), model=limited(), epochs=1).checkpoints[-1]
    with pytest.raises(ResourceError, match=r"^evaluation: .+ a single image"):
        evaluate_checkpoint(
            checkpoint,
            Transfer(digits, limited(evaluation=0), weights=None, seed=1),
            split="val",
            compute=ONE_THREAD,
        )


@pytest.mark.parametrize("freeze", ["nothing", "gradual"])
def test_an_optimizer_has_its_state_before_its_step(digits: Task, freeze: str) -> None:
    """A step that stops half-way could not be repeated: so there is nothing left in it that could run out of memory."""
    trainer = Trainer(
        hyperparameters(optimizer="adam", freeze=freeze),
        TrainSettings(epochs=4),
        Transfer(digits, limited(), weights=None, seed=1),
        Compute("cpu"),
    )
    steps, plain = 0, trainer.scaling.step

    def step() -> None:
        nonlocal steps
        steps += 1
        assert all(
            parameter in trainer.optimizer.state
            for parameter in trainer.module.parameters()
            if parameter.grad is not None
        )
        plain()

    trainer.scaling.step = step
    for _ in range(3):
        trainer.train_epoch()
    assert steps == trainer.step == 12
    trainer.scaling.step = lambda: (_ for _ in ()).throw(torch.OutOfMemoryError("in the optimizer"))
    with pytest.raises(torch.OutOfMemoryError, match="in the optimizer"):
        trainer.train_epoch()
    assert trainer.micro_batch.limit is None
