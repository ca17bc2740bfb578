"""Dividing a batch: equal parts, the same gradient, and an attempt that failed leaves nothing."""

import weakref
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tlsweep.data import Task
from tlsweep.errors import ResourceError
from tlsweep.spec import Hyperparameters, ModelSpec, TrainSettings
from tlsweep.training.devices import Compute
from tlsweep.training.microbatch import ForwardState, MicroBatch
from tlsweep.training.trainer import Trainer
from tlsweep.training.transfer import Transfer

IMAGES, LABELS = torch.arange(10.0).view(10, 1, 1, 1), torch.arange(10)


@given(samples=st.integers(1, 3000), limit=st.integers(1, 3000))
def test_parts_are_as_few_and_as_equal_as_can_be(samples: int, limit: int) -> None:
    parts = torch.arange(samples).tensor_split(MicroBatch("training", "cpu", limit).parts(samples))
    sizes = [len(part) for part in parts]
    assert torch.equal(torch.cat(parts), torch.arange(samples))
    assert max(sizes) <= limit
    assert max(sizes) - min(sizes) <= 1
    assert (len(parts) - 1) * limit < samples
    assert min(sizes) > 1 or samples == 1 or limit == 1 or (limit == 2 and samples % 2 == 1)


def test_a_limit_below_one_is_one_message() -> None:
    with pytest.raises(ResourceError, match="micro_batch is 0; it is at least 1"):
        MicroBatch("training", "cpu", 0)


def test_an_attempt_that_fails_is_undone_and_made_again_in_halves() -> None:
    calls: list[Any] = []

    def work(images: Tensor, labels: Tensor) -> list[int]:
        calls.append(len(labels))
        if len(labels) > 3 or calls == [10, 5, 3]:  # the last one: in the middle of an attempt
            raise torch.OutOfMemoryError("out of memory")
        assert images.flatten().tolist() == labels.tolist()
        return labels.tolist()

    micro_batch = MicroBatch("training", "cpu")
    assert micro_batch.run(work, IMAGES, LABELS, lambda: calls.append("undone")) == [
        [0, 1],
        [2, 3],
        [4, 5],
        [6, 7],
        [8, 9],
    ]
    assert calls == [10, "undone", 5, "undone", 2, 2, 2, 2, 2]
    calls.clear()
    assert len(micro_batch.run(work, IMAGES, LABELS)) == 5  # remembered
    assert micro_batch.limit == 2


def test_what_an_attempt_held_is_free_before_it_is_made_again() -> None:
    held: list[weakref.ref[Tensor]] = []

    def work(images: Tensor, labels: Tensor) -> Tensor:
        activations = images + 1
        held.append(weakref.ref(activations))
        if len(held) == 3:
            raise torch.OutOfMemoryError("out of memory")
        return activations

    def undo() -> None:
        assert [reference() for reference in held] == [None] * 3

    assert len(MicroBatch("training", "cpu", 4).run(work, IMAGES, LABELS, undo)) == 5
    assert len(held) == 8


def test_at_a_single_sample_the_message_says_what_was_too_large() -> None:
    def work(images: Tensor, labels: Tensor) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nmore lines")

    message = (
        "training: the memory of cpu is too small for a single image of 6x7 pixels (CUDA out of memory. Tried to "
        "allocate 2 GiB); lower data.image_size, choose a smaller model.name, or use train.precision bf16"
    )
    with pytest.raises(ResourceError) as caught:
        MicroBatch("training", "cpu").run(work, torch.zeros(5, 3, 6, 7), torch.zeros(5))
    assert str(caught.value) == message
    assert isinstance(caught.value.__cause__, torch.OutOfMemoryError)


def test_other_errors_pass_and_nothing_is_tried_again() -> None:
    calls = []

    def work(images: Tensor, labels: Tensor) -> None:
        calls.append(len(labels))
        raise RuntimeError("not about memory")

    with pytest.raises(RuntimeError, match="not about memory"):
        MicroBatch("training", "cpu").run(work, IMAGES, LABELS)
    assert calls == [10]


LOSSES: dict[str | None, dict[str, Any]] = {
    "weighted": {"class_weights": {"0": 9, "3": 0.1}},
    "focal": {"class_weights": {"0": 9, "3": 0.1}, "loss": "focal"},
}


def gradient(
    task: Task, samples: int, limit: int | None, *, batch_norm: str | None, loss: str | None = None
) -> dict[str, Tensor]:
    """What a step of plain SGD with lr 1 changes, in double precision, with label smoothing."""
    args = {"double": True, "dropout": 0.0, "batch_norm": batch_norm is not None}
    trainer = Trainer(
        Hyperparameters(lr=1, momentum=0, lr_schedule="constant", batch_size=10**4, label_smoothing=0.1),
        TrainSettings.model_validate({"batch_norm": batch_norm or "train", **LOSSES.get(loss, {})}),
        Transfer(task, ModelSpec(name="training_networks:limited", args=args), weights=None, seed=1),
        Compute(device="cpu", micro_batch=limit),
    )
    if batch_norm == "frozen":
        norm = trainer.module.get_submodule("features.1")
        norm.running_mean.fill_(0.3)  # type: ignore[union-attr,operator]
        norm.running_var.fill_(2.0)  # type: ignore[union-attr,operator]
    before = {name: parameter.detach().clone() for name, parameter in trainer.module.named_parameters()}
    generator = torch.Generator().manual_seed(samples)
    images = torch.randn(samples, 1, 8, 8, generator=generator)
    labels = torch.randint(10, (samples,), generator=generator)
    _, figures = trainer.train_step(images, labels, 0)
    assert len(figures) == (1 if limit is None else -(-samples // limit))
    assert sum(len(part.hits) for part in figures) == samples
    return {name: parameter.detach() - before[name] for name, parameter in trainer.module.named_parameters()}


def farthest(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    assert all(bool(tensor.any()) for tensor in one.values())
    return max(float((tensor - other[name]).abs().max()) for name, tensor in one.items())


@pytest.mark.parametrize("batch_norm", [None, "frozen"])
@given(samples=st.integers(1, 40), limit=st.integers(1, 40))
@example(samples=33, limit=32)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_gradient_of_a_divided_batch_is_that_of_the_whole(
    digits: Task, batch_norm: str | None, samples: int, limit: int
) -> None:
    whole = gradient(digits, samples, None, batch_norm=batch_norm)
    divided = gradient(digits, samples, limit, batch_norm=batch_norm)
    assert farthest(whole, divided) < 1e-10


def test_with_batch_norm_that_trains_each_part_is_normalised_by_itself(digits: Task) -> None:
    whole = gradient(digits, 32, None, batch_norm="train")
    assert farthest(whole, gradient(digits, 32, 32, batch_norm="train")) == 0
    assert farthest(whole, gradient(digits, 32, 16, batch_norm="train")) > 1e-3


class Remembering(nn.Module):
    """Changes buffers in all the ways there are: in place, by a new tensor, from nothing; and draws at random."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))
        self.register_buffer("mean", torch.zeros(3))
        self.register_buffer("last", None)
        self.norm = nn.BatchNorm1d(3)
        self.scale = nn.Parameter(torch.ones(3))

    def forward(self, values: Tensor) -> Tensor:
        self.count += 1
        self.mean = 0.9 * self.mean + 0.1 * (self.scale * values).mean(0)
        self.last = values
        return self.norm(values * self.scale) + torch.rand(3)


def test_forward_passes_are_taken_back() -> None:
    module = Remembering()
    state = ForwardState(module, "cpu")
    with torch.random.fork_rng([]):
        torch.default_generator.manual_seed(0)
        for last in (False, True, True):
            state.keep()
            before = {name: buffer.clone() for name, buffer in module.named_buffers()}
            assert ("last" in before) is last
            first, second = module(torch.ones(4, 3)), module(torch.zeros(4, 3))
            after = {name: buffer.clone() for name, buffer in module.named_buffers()}
            state.restore()
            assert before.keys() == dict(module.named_buffers()).keys()
            assert all(torch.equal(buffer, before[name]) for name, buffer in module.named_buffers())
            assert torch.equal(first, module(torch.ones(4, 3)))
            assert torch.equal(second, module(torch.zeros(4, 3)))
            assert all(torch.equal(buffer, after[name]) for name, buffer in module.named_buffers())


def test_batches_are_passed_on_untouched_where_they_are_whole() -> None:
    images, labels = MicroBatch("training", "cpu", 10).run(lambda *batch: batch, IMAGES, LABELS)[0]
    assert images is IMAGES
    assert labels is LABELS


@pytest.mark.parametrize("micro_batch", [None, 1, 2, 3, 7])
def test_each_sample_is_seen_once_an_epoch_in_its_order(few_digits: Task, micro_batch: int | None) -> None:
    count = few_digits.size("train")
    for batch_size in range(1, count + 2):
        trainer = Trainer(
            Hyperparameters(batch_size=batch_size),
            TrainSettings(epochs=2),
            Transfer(few_digits, ModelSpec(name="mlp", args={"hidden": []}), weights=None, seed=1),
            Compute(device="cpu", micro_batch=micro_batch),
        )
        plain, seen = trainer.forward, list[Tensor]()
        trainer.forward = lambda images, plain=plain, seen=seen: (seen.append(images), plain(images))[1]
        sizes = [len(labels) for _, labels in trainer.batches.train(0, batch_size, 1)]
        for epoch in range(2):
            seen.clear()
            trainer.train_epoch()
            expected = torch.cat([images for images, _ in trainer.batches.train(epoch, count, 1)])
            assert torch.equal(torch.cat(seen), expected)
            assert (trainer.samples, trainer.step) == ((epoch + 1) * count, (epoch + 1) * len(sizes))
            if micro_batch is not None and micro_batch < min(batch_size, count):
                assert max(map(len, seen)) <= micro_batch
            else:
                assert list(map(len, seen)) == sizes


@pytest.mark.parametrize("loss", LOSSES)
def test_classes_with_weights_count_in_a_divided_batch_as_in_the_whole(digits: Task, loss: str) -> None:
    whole = gradient(digits, 33, None, batch_norm=None, loss=loss)
    assert farthest(whole, gradient(digits, 33, 8, batch_norm=None, loss=loss)) < 1e-7
    assert farthest(whole, gradient(digits, 33, None, batch_norm=None)) > 1e-3
