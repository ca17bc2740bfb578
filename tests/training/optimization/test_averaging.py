"""The moving average of the weights: torch's, evaluated and kept in their place, and gone on with."""

import io
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel
from training_trials import ONE_THREAD, SMALL_CNN, Train, same_checkpoint

from tlsweep.data import Task
from tlsweep.data.batches import Batches
from tlsweep.errors import ResultsError
from tlsweep.spec import Hyperparameters, ModelSpec
from tlsweep.training import evaluate_checkpoint, export_model
from tlsweep.training.checkpoint import load_checkpoint
from tlsweep.training.exported import load_exported
from tlsweep.training.networks import new_network
from tlsweep.training.optimization.averaging import Average
from tlsweep.training.transfer import Transfer

BATCH_NORM = ModelSpec(name="training_networks:with_batch_norm")
NORMED = ModelSpec(name="training_networks:limited", args={"dropout": 0.0})
"""Batch norm, and nothing that is random."""


def chosen(**values: Any) -> Hyperparameters:
    return Hyperparameters.model_validate({"lr": 0.05, "batch_size": 24, "ema": 0.4} | values)


def reference(task: Task, epochs: int, seed: int) -> tuple[nn.Module, AveragedModel, list[float]]:
    """SGD with torch's own average; the last batch of an epoch is smaller, and decays less."""
    module = new_network(Transfer(task, NORMED, None, seed)).module
    optimizer = torch.optim.SGD(module.parameters(), lr=0.05, momentum=0.9)
    share = 0.0

    def average(old: Tensor, new: Tensor, _: object) -> Tensor:
        return 0.4**share * old + (1 - 0.4**share) * new

    averaged, batches, losses = AveragedModel(module, avg_fn=average, use_buffers=True), Batches(task), []
    for epoch in range(epochs):
        module.train()
        for images, labels in batches.train(epoch, 24, seed):
            optimizer.zero_grad()
            F.cross_entropy(module(images), labels).backward()
            optimizer.step()
            share = len(labels) / task.size("train")
            averaged.update_parameters(module)
        ((images, labels),) = batches.evaluate("val", 1000)
        with torch.no_grad():
            losses.append(float(F.cross_entropy(averaged.module.eval()(images), labels)))
    return module, averaged, losses


def test_it_is_torchs_average_evaluated_and_kept_in_place_of_the_weights(digits: Task, train: Train) -> None:
    trial = train(chosen(momentum=0.9, lr_schedule="constant"), seed=3, model=NORMED)
    module, averaged, losses = reference(digits, epochs=3, seed=3)
    kept = load_checkpoint(trial.checkpoints[-1])
    expected = averaged.module.state_dict()
    for weights, theirs in ((kept.tensors, expected), (kept.trained, module.state_dict())):
        assert weights.keys() == {name for name in theirs if weights is kept.tensors or "num_batches" not in name}
        for name, tensor in weights.items():
            if "num_batches" not in name:
                torch.testing.assert_close(tensor, theirs[name], rtol=1e-5, atol=1e-6)
    assert [row.val_loss for row in trial.rows] == pytest.approx(losses, rel=1e-5)


@pytest.mark.parametrize("model", [SMALL_CNN, BATCH_NORM], ids=["dropout", "batch-norm"])
@pytest.mark.parametrize("freeze", ["nothing", "backbone", "gradual"])
def test_going_on_is_as_never_having_stopped(train: Train, freeze: str, model: ModelSpec) -> None:
    whole = train(chosen(freeze=freeze), epochs=4, model=model)
    for epoch in (1, 3):
        rest = train(chosen(freeze=freeze), epochs=4, model=model, resume=whole.checkpoints[epoch - 1])
        assert rest.numbers == whole.numbers[epoch:]
        assert same_checkpoint(rest.checkpoints[-1], whole.checkpoints[-1])


def test_what_is_evaluated_again_and_exported_is_the_average(digits: Task, train: Train, tmp_path: Path) -> None:
    trial = train(chosen())
    transfer = Transfer(digits, SMALL_CNN, None, seed=1)
    again = evaluate_checkpoint(trial.checkpoints[-1], transfer, split="val", compute=ONE_THREAD)
    assert again.loss == trial.rows[-1].val_loss
    export_model(tmp_path, trial.checkpoints[-1], transfer, metrics={})
    exported, kept = load_exported(tmp_path)[0].state_dict(), load_checkpoint(trial.checkpoints[-1])
    for name, tensor in exported.items():
        assert torch.equal(tensor, kept.tensors[name])
        assert not torch.equal(tensor, kept.trained[name])


def test_it_means_the_same_at_every_batch_size() -> None:
    """Weights that jump from 0 to 1 and stay: after two epochs the average is 1 - decay², however many the steps."""
    for steps in (1, 7, 100):
        module = nn.Linear(1, 1, bias=False)
        average = Average(module, 0.3)
        for value in (0.0, *[1.0] * 2 * steps):
            nn.init.constant_(module.weight, value)
            average.update(1 / steps)
        average.put_in()
        assert module.weight.item() == pytest.approx(1 - 0.3**2, rel=1e-5)
        average.take_out()
        assert module.weight.item() == 1


def test_a_member_takes_over_average_and_weights_and_goes_on_with_its_own_decay(train: Train) -> None:
    donor = train(chosen(), epochs=2).checkpoints
    plain = train(chosen(ema=0), epochs=2).checkpoints
    # The weights that are trained do not depend on their average, whether a taker has one or not.
    for before, of_taker in ((donor, 0.0), (donor, 0.9), (plain, 0.9)):
        taken = load_checkpoint(train(chosen(ema=of_taker), epochs=2, resume=before[0]).checkpoints[-1])
        for name, tensor in load_checkpoint(plain[1]).tensors.items():
            assert torch.equal((taken.trained or taken.tensors).get(name, tensor), tensor)
        assert bool(taken.trained) == bool(of_taker)
    slow, slower = (
        load_checkpoint(train(chosen(ema=decay), epochs=2, resume=donor[0]).checkpoints[-1]) for decay in (0.9, 0.99)
    )
    before = load_checkpoint(donor[0]).tensors
    distances = [
        sum(float((kept.tensors[name] - tensor).abs().sum()) for name, tensor in before.items())
        for kept in (load_checkpoint(donor[1]), slow, slower)
    ]
    assert all(far > near > 0 for far, near in pairwise(distances))


@pytest.mark.parametrize("trained", [{"head.weight": 3}, {"other": torch.ones(2)}, {"head.weight": torch.ones(2)}])
def test_a_strangers_checkpoint_is_one_message(train: Train, trained: object) -> None:
    content = torch.load(io.BytesIO(train(epochs=1).checkpoints[0]), weights_only=True)
    buffer = io.BytesIO()
    torch.save(content | {"trained": trained}, buffer)
    with pytest.raises(ResultsError, match=r"cannot be read \(it holds something else\); remove it"):
        load_checkpoint(buffer.getvalue())
