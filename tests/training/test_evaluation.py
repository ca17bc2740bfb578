"""Evaluating a checkpoint."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from training_trials import ONE_THREAD, SMALL_CNN, Train

from tlsweep.data import Task
from tlsweep.data.batches import Batches
from tlsweep.training import evaluate_checkpoint, evaluation
from tlsweep.training.devices import Compute
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
        assert (again.loss, again.accuracy, again.precision, again.recall, again.f1) == (
            row.val_loss, row.val_accuracy, row.val_precision, row.val_recall, row.val_f1,
        )  # fmt: skip


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


def test_large_images_are_evaluated_in_smaller_batches(digits: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    assert evaluation.evaluation_batch_size(digits) == 4096
    monkeypatch.setattr(evaluation, "VALUES_PER_BATCH", 1)
    assert evaluation.evaluation_batch_size(digits) == 1
