"""A step of the kernels alone is the step of torch's optimizer."""

from typing import Any

import pytest
import torch
from torch import nn

from tlsweep.models import Network
from tlsweep.models.groups import layer_groups
from tlsweep.spec import Hyperparameters
from tlsweep.training.optimization.fused_steps import STEPS_FUSED, FusedStep
from tlsweep.training.optimization.optimizers import allocate_state, build_optimizer, set_lr

CHANGES: list[dict[str, Any]] = [
    {"optimizer": "sgd", "momentum": 0.0},
    {"optimizer": "sgd", "momentum": 0.9, "weight_decay": 0.1},
    {"optimizer": "sgd", "momentum": 0.9, "nesterov": True, "head_lr_multiplier": 5.0},
    {"optimizer": "adam", "weight_decay": 0.1, "layer_decay": 0.5},
    {"optimizer": "adamw", "weight_decay": 0.1, "momentum": 0.8},
]


def two_networks() -> tuple[Network, Network]:
    made = []
    for _ in range(2):
        torch.manual_seed(0)
        module = nn.Sequential(nn.Linear(7, 5), nn.ReLU(), nn.Linear(5, 3))
        made.append(Network(module, layer_groups(module, "2")))
    return made[0], made[1]


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_it_is_torchs_own_bit_for_bit(change: dict[str, Any]) -> None:
    values = Hyperparameters(lr=0.1, **change)
    ours, torchs = two_networks()
    optimizers = [build_optimizer(values, network) for network in (ours, torchs)]
    for optimizer in optimizers:
        allocate_state(optimizer)
    gradients = {parameter: torch.zeros_like(parameter) for parameter in ours.module.parameters()}
    step = FusedStep(optimizers[0], gradients)
    for number in range(4):
        torch.manual_seed(number)
        for (mine, gradient), other in zip(gradients.items(), torchs.module.parameters(), strict=True):
            gradient.copy_(torch.randn_like(mine))
            other.grad = gradient.clone()
        for optimizer in optimizers:
            set_lr(optimizer, 0.1 / (number + 1))
        if step.counters:
            torch._foreach_add_(step.counters, 1)
        step()
        optimizers[1].step()
    for mine, other in zip(ours.module.parameters(), torchs.module.parameters(), strict=True):
        assert torch.equal(mine, other)
        states = [optimizer.state[own] for optimizer, own in zip(optimizers, (mine, other), strict=True)]
        assert all(torch.equal(states[0][name], states[1][name]) for name in states[1])


def test_all_that_are_named_are_tried() -> None:
    assert {change["optimizer"] for change in CHANGES} == STEPS_FUSED
