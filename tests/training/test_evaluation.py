"""Evaluating a checkpoint."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score, top_k_accuracy_score
from torch.nn import functional as F
from training_trials import ONE_THREAD, SMALL_CNN, Train

from tlsweep.data import Task
from tlsweep.data.batches import Batches
from tlsweep.training import evaluate_checkpoint, evaluation
from tlsweep.training.devices import Compute
from tlsweep.training.frozen import Way
from tlsweep.training.metrics import FIGURES
from tlsweep.training.microbatch import MicroBatch
from tlsweep.training.networks import trained_network
from tlsweep.training.transfer import Transfer


def test_it_equals_the_report_of_the_epoch(digits: Task, train: Train) -> None:
    trial = train(epochs=2)
    for row, checkpoint in zip(trial.rows, trial.checkpoints, strict=True):
        again = evaluate_checkpoint(
            checkpoint,
            Transfer(digits, SMALL_CNN, weights=None, seed=1),
            split="val",
            compute=ONE_THREAD,
        )
        assert [getattr(again, name) for name in FIGURES] == [getattr(row, f"val_{name}") for name in FIGURES]


@pytest.mark.parametrize("batch_size", [1, 7, 4096])
def test_the_batch_size_of_evaluation_does_not_matter(
    digits: Task, train: Train, monkeypatch: pytest.MonkeyPatch, batch_size: int
) -> None:
    monkeypatch.setattr(evaluation, "IMAGES_PER_BATCH", batch_size)
    checkpoint = train(epochs=2).checkpoints[-1]
    result = evaluate_checkpoint(
        checkpoint, Transfer(digits, SMALL_CNN, weights=None, seed=1), split="test", compute=Compute("cpu")
    )
    module = trained_network(checkpoint, Transfer(digits, SMALL_CNN, weights=None, seed=1)).module.eval()
    images, labels = next(iter(Batches(digits).evaluate("test", 10**6)))
    with torch.inference_mode():
        logits = module(images)
    assert result.loss == pytest.approx(float(F.cross_entropy(logits, labels)), rel=1e-5)
    np.testing.assert_array_equal(result.predictions, logits.argmax(1).numpy())
    np.testing.assert_array_equal(result.labels, labels.numpy())
    probable = logits.double().softmax(1).numpy()
    assert result.top5 == top_k_accuracy_score(labels, probable, k=5)
    assert result.auroc == pytest.approx(roc_auc_score(labels, probable, multi_class="ovr"), abs=1e-4)


def test_figures_that_tell_nothing_or_cost_too_much_are_left_out(digits: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    def equal(images: torch.Tensor) -> torch.Tensor:
        return torch.zeros(len(images), task.num_classes)

    def figures() -> tuple[float | None, float | None]:
        found = evaluation.evaluate(Way(Batches(task), equal), task, "val", MicroBatch("test", "cpu"))
        return found.top5, found.auroc

    task = digits
    top5, auroc = figures()
    assert top5 is not None
    assert top5 < 0.7  # five of ten equally probable classes
    assert auroc == 0.5
    monkeypatch.setattr(evaluation, "PROBABILITIES", task.size("val") * task.num_classes - 1)
    assert figures() == (top5, None)
    task = replace(digits, labels=digits.labels % 5, classes=digits.classes[:5])
    assert figures() == (None, 0.5)


def test_large_images_are_evaluated_in_smaller_batches(digits: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    assert evaluation.evaluation_batch_size(digits) == 4096
    monkeypatch.setattr(evaluation, "VALUES_PER_BATCH", 1)
    assert evaluation.evaluation_batch_size(digits) == 1


@pytest.mark.parametrize("samples", [1, 7, 64, 359])
def test_networks_that_are_evaluated_together_have_the_figures_that_each_has_alone(digits: Task, samples: int) -> None:
    """Bit for bit: also of a network that knows nothing, and beside one that gives no numbers."""

    def linear(seed: int) -> torch.nn.Module:
        torch.manual_seed(seed)
        return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, digits.num_classes))

    def figures(ways: list[Way]) -> list[object]:
        limits = [MicroBatch("test", "cpu", limit) for limit in (None, 5, None, None, 3)][: len(ways)]
        found = evaluation.evaluate_each(ways, task, "val", limits)
        return [(one.to_dict(), one.probabilities.tolist(), one.label_probabilities.tolist()) for one in found]

    task = replace(digits, splits=digits.splits | {"val": digits.splits["train"][:samples]})
    forwards = [
        linear(0),
        linear(1),
        lambda images: linear(2)(images) * torch.nan,
        lambda images: 0 * linear(3)(images),
    ]
    ways = [Way(Batches(task), forward) for forward in (*forwards, linear(4))]
    together = figures(ways)
    assert figures([ways[0]]) + figures([ways[3]]) == [together[0], together[3]]
    in_parts = evaluation.evaluate(ways[4], task, "val", MicroBatch("test", "cpu", 3))
    assert in_parts.to_dict() == together[4][0]


@pytest.mark.parametrize("keeps", [True, False])
def test_probabilities_take_memory_only_where_they_are_kept(keeps: bool) -> None:
    logits, labels = torch.randn(2, 500, 40), torch.zeros(500, dtype=torch.int64)
    held = evaluation._judge(logits, labels, keeps=keeps).all_probabilities
    assert held.untyped_storage().nbytes() == keeps * logits.nbytes
