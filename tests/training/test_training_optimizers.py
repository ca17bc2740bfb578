"""Optimizers: torch's, with a factor on the learning rate for each layer group."""

import pytest
import torch
from training_trials import SMALL_CNN

from tlsweep.models import Network, build_network
from tlsweep.spec import Hyperparameters
from tlsweep.training.optimizers import build_optimizer, optimizer_state, restore_optimizer, set_lr

KINDS = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}


def network() -> Network:
    return build_network(SMALL_CNN, num_classes=3, channels=1, image_size=8, seed=0)


def step(optimizer: torch.optim.Optimizer, parameters: list[torch.Tensor]) -> None:
    generator = torch.Generator().manual_seed(0)
    for parameter in parameters:
        parameter.grad = torch.randn(parameter.shape, generator=generator)
    optimizer.step()


@pytest.mark.parametrize("kind", KINDS)
def test_steps_equal_those_of_torchs_plain_loop(kind: str) -> None:
    ours, theirs = network(), network()
    hyperparameters = Hyperparameters.model_validate(
        {"optimizer": kind, "lr": 0.01, "momentum": 0.8, "weight_decay": 0.01}
    )
    optimizer = build_optimizer(hyperparameters, ours)
    set_lr(optimizer, 0.01)
    options = {"momentum": 0.8} if kind == "sgd" else {"betas": (0.8, 0.999)}
    reference = KINDS[kind](theirs.module.parameters(), lr=0.01, weight_decay=0.01, foreach=False, **options)
    for _ in range(3):
        step(optimizer, list(ours.module.parameters()))
        step(reference, list(theirs.module.parameters()))
    for mine, plain in zip(ours.module.parameters(), theirs.module.parameters(), strict=True):
        torch.testing.assert_close(mine, plain, rtol=0, atol=1e-6)


def test_the_head_and_deeper_groups_have_their_own_learning_rates() -> None:
    optimizer = build_optimizer(Hyperparameters(layer_decay=0.5, head_lr_multiplier=10), network())
    set_lr(optimizer, 0.1)
    rates = [group["lr"] for group in optimizer.param_groups]
    assert rates[-1] == pytest.approx(1.0)
    assert rates[:-1] == pytest.approx([0.1 * 0.5 ** (len(rates) - 1 - k) for k in range(len(rates) - 1)])


@pytest.mark.parametrize("kind", KINDS)
def test_a_restored_optimizer_keeps_its_memory_but_takes_new_hyperparameters(kind: str) -> None:
    donor, taker = network(), network()
    old = build_optimizer(Hyperparameters.model_validate({"optimizer": kind, "momentum": 0.9}), donor)
    step(old, list(donor.module.parameters()))
    new = build_optimizer(
        Hyperparameters.model_validate({"optimizer": kind, "momentum": 0.5, "weight_decay": 0.3}), taker
    )
    restore_optimizer(new, taker.module, optimizer_state(old, donor.module))
    theirs, ours = optimizer_state(old, donor.module), optimizer_state(new, taker.module)
    assert theirs.keys() == ours.keys() == dict(taker.module.named_parameters()).keys()
    for name, memory in theirs.items():
        for key, value in memory.items():
            assert torch.equal(value, ours[name][key])
    for group in new.param_groups:
        assert group["weight_decay"] == 0.3
        assert group.get("momentum", group.get("betas", [None])[0]) == 0.5
