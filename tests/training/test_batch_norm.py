"""Batch norm whose statistics are frozen."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from training_trials import Train, same_checkpoint

from tlsweep.data import Task
from tlsweep.models import Weights, build_network, train_mode
from tlsweep.spec import Hyperparameters, ModelSpec, TrainSettings
from tlsweep.training.checkpoint import load_checkpoint
from tlsweep.training.devices import Compute
from tlsweep.training.networks import new_network
from tlsweep.training.trainer import Trainer
from tlsweep.training.transfer import Transfer

MODEL = ModelSpec(name="training_networks:with_batch_norm")
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


@pytest.fixture(scope="module")
def weights(digits: Task) -> Weights:
    """Of a network whose batch norms have seen other images: statistics unlike the batches' own."""
    module = new_network(Transfer(digits, MODEL, weights=None, seed=0)).module
    with torch.random.fork_rng([]), torch.no_grad():
        torch.default_generator.manual_seed(0)
        for _ in range(5):
            module.train()(3 * torch.randn(16, 1, 8, 8) + 1)
    return Weights.from_state_dict(module.state_dict(), "test")


@pytest.mark.parametrize("freeze", ["nothing", "gradual", "backbone"])
def test_statistics_stay_while_scale_and_shift_learn(train: Train, weights: Weights, freeze: str) -> None:
    """From the first epoch to the last, with an evaluation between them."""
    trial = train(Hyperparameters(lr=0.05, freeze=freeze), model=MODEL, weights=weights, batch_norm="frozen", epochs=4)
    kept = load_checkpoint(trial.checkpoints[-1]).tensors
    for name in ("1", "4"):
        for key in STATISTICS:
            tensor = kept.get(f"{name}.{key}", torch.tensor(weights.tensors[f"{name}.{key}"]))
            assert torch.equal(tensor, torch.tensor(weights.tensors[f"{name}.{key}"]))
        if freeze != "backbone":
            for key in ("weight", "bias"):
                assert not torch.equal(kept[f"{name}.{key}"], torch.tensor(weights.tensors[f"{name}.{key}"]))


def test_statistics_move_where_batch_norm_trains(train: Train, weights: Weights) -> None:
    kept = load_checkpoint(train(model=MODEL, weights=weights, epochs=1).checkpoints[-1]).tensors
    assert not torch.equal(kept["1.running_mean"], torch.tensor(weights.tensors["1.running_mean"]))


def test_batches_are_normalised_with_the_frozen_statistics(digits: Task, weights: Weights) -> None:
    """A step's gradient is that of the network in evaluation."""
    seen = {}
    for batch_norm in ("frozen", "train"):
        trainer = Trainer(
            Hyperparameters(lr=1, momentum=0, lr_schedule="constant"),
            TrainSettings.model_validate({"batch_norm": batch_norm}),
            Transfer(digits, MODEL, weights=weights, seed=1),
            Compute("cpu"),
        )
        trainer.module[6] = nn.Identity()  # without dropout
        images, labels = next(iter(trainer.batches.train(0, 32, 1)))
        trainer.module.eval()
        expected = torch.autograd.grad(F.cross_entropy(trainer.module(images), labels), [trainer.module[0].weight])[0]
        before = trainer.module[0].weight.detach().clone()
        trainer.train_step(images, labels, 0)
        seen[batch_norm] = float((before - trainer.module[0].weight.detach() - expected).abs().max())
    assert seen["frozen"] < 1e-5
    assert seen["train"] > 1e-2


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "googlenet"])
@pytest.mark.parametrize("frozen", [0, 2])
def test_all_batch_norms_evaluate_and_nothing_else_changes_its_mode(name: str, frozen: int) -> None:
    network = build_network(ModelSpec(name=name), num_classes=3, channels=3, image_size=32, seed=0)
    train_mode(network, frozen)
    modes = {key: module.training for key, module in network.module.named_modules()}
    train_mode(network, frozen, batch_norm="frozen")
    norms = {key for key, module in network.module.named_modules() if isinstance(module, _BatchNorm)}
    assert norms
    for key, module in network.module.named_modules():
        assert module.training == (modes[key] and key not in norms)
    train_mode(network, 0)
    assert all(module.training for module in network.module.modules())


def test_from_random_weights_it_only_scales_and_shifts(train: Train) -> None:
    trial = train(model=MODEL, batch_norm="frozen", epochs=2)
    kept = load_checkpoint(trial.checkpoints[-1]).tensors
    assert float(kept["1.running_mean"].abs().max()) == 0
    assert math.isfinite(trial.rows[-1].val_loss)
    assert trial.rows[-1].train_loss < trial.rows[0].train_loss


def test_a_trial_goes_on_from_its_checkpoint_as_never_having_stopped(train: Train, weights: Weights) -> None:
    options = {"model": MODEL, "weights": weights, "batch_norm": "frozen", "epochs": 3}
    whole = train(**options)
    rest = train(resume=whole.checkpoints[0], **options)
    assert rest.numbers == whole.numbers[1:]
    assert same_checkpoint(rest.checkpoints[-1], whole.checkpoints[-1])
