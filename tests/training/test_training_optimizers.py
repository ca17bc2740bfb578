"""Optimizers: torch's, with a factor on the learning rate for each layer group."""

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from training_trials import SMALL_CNN

from tlsweep.errors import ResourceError
from tlsweep.models import Network, build_network, set_frozen
from tlsweep.spec import Hyperparameters
from tlsweep.training.optimizers import allocate_state, build_optimizer, optimizer_state, restore_optimizer, set_lr

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


class NewTensors(TorchDispatchMode):
    """Counts tensors that an operation returns without having been given them."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        known = {id(value) for value in torch.utils._pytree.tree_leaves((args, kwargs))}
        results = torch.utils._pytree.tree_leaves(result)
        self.made += [str(func) for value in results if isinstance(value, torch.Tensor) and id(value) not in known]
        return result


@pytest.mark.parametrize("allocated", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_once_state_is_allocated_a_step_makes_no_tensor(kind: str, allocated: bool) -> None:
    """So that it cannot run out of memory with half of the parameters changed; torch alone would make them there."""
    ours = network()
    optimizer = build_optimizer(Hyperparameters.model_validate({"optimizer": kind, "weight_decay": 0.1}), ours)
    for parameter in ours.module.parameters():
        parameter.grad = torch.ones_like(parameter)
    if allocated:
        allocate_state(optimizer)
    with NewTensors() as tensors:
        optimizer.step()
    assert (tensors.made == []) is allocated


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("kind", KINDS)
def test_allocated_state_is_what_torch_begins_with(kind: str, momentum: float) -> None:
    hyperparameters = Hyperparameters.model_validate({"optimizer": kind, "momentum": momentum, "weight_decay": 0.1})
    networks = network(), network()
    states = []
    for allocated, one in enumerate(networks):
        optimizer = build_optimizer(hyperparameters, one)
        for _ in range(3):
            if allocated:
                allocate_state(optimizer)
            step(optimizer, list(one.module.parameters()))
        states.append(optimizer_state(optimizer, one.module))
    assert states[0].keys() == states[1].keys()
    for name, memory in states[0].items():
        assert memory.keys() == states[1][name].keys()
        for key, value in memory.items():
            assert torch.equal(value, states[1][name][key])
            assert value.dtype == states[1][name][key].dtype
    for mine, plain in zip(networks[0].module.parameters(), networks[1].module.parameters(), strict=True):
        assert torch.equal(mine, plain)


def test_frozen_parameters_get_no_state_until_they_thaw() -> None:
    ours = network()
    optimizer = build_optimizer(Hyperparameters(), ours)
    for frozen in (3, 1, 0):
        set_frozen(ours, frozen)
        allocate_state(optimizer)
        thawed = {name for group in ours.groups[frozen:] for name in group.parameters}
        assert optimizer_state(optimizer, ours.module).keys() == thawed


def test_memory_too_small_for_the_state_is_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(_: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nmore lines")

    monkeypatch.setattr("torch.zeros_like", exhausted)
    with pytest.raises(ResourceError, match=r"memory of cpu .+ what AdamW keeps .+ 2 GiB\); choose") as caught:
        allocate_state(build_optimizer(Hyperparameters(optimizer="adamw"), network()))
    assert isinstance(caught.value.__cause__, torch.OutOfMemoryError)
