"""Optimizers: torch's, with a factor on the learning rate for each layer group."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from prodigyopt import Prodigy
from schedulefree import AdamWScheduleFree, SGDScheduleFree
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from training_trials import SMALL_CNN, Train

from tlsweep.data import Task
from tlsweep.data.batches import Batches
from tlsweep.errors import ResourceError
from tlsweep.models import Network, build_network, set_frozen
from tlsweep.spec import Hyperparameters, ModelSpec
from tlsweep.spec.optimizers import OPTIMIZERS
from tlsweep.training.checkpoint import load_checkpoint
from tlsweep.training.optimization import optimizers as training_optimizers
from tlsweep.training.optimization.optimizers import (
    allocate_state,
    build_optimizer,
    optimizer_state,
    restore_optimizer,
    set_lr,
    set_training,
)

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
def test_layer_groups_with_one_factor_are_one_unless_something_of_each_is_remembered(kind: str) -> None:
    ours = network()
    optimizer = build_optimizer(Hyperparameters.model_validate({"optimizer": kind, "head_lr_multiplier": 10}), ours)
    remembers = kind in ("schedule_free_sgd", "schedule_free_adamw", "prodigy")
    assert len(optimizer.param_groups) == (len(ours.groups) if remembers else 2)
    scales = {id(own): group["lr_scale"] for group in optimizer.param_groups for own in group["params"]}
    head = {id(own) for name, own in ours.module.named_parameters() if name in ours.groups[-1].parameters}
    assert scales == {id(own): 10.0 if id(own) in head else 1.0 for own in ours.module.parameters()}


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


def momenta(kind: str) -> list[float]:
    return [0.9] if OPTIMIZERS[kind].needs_momentum else [0.0, 0.9]


@pytest.mark.parametrize(("kind", "momentum"), [(kind, momentum) for kind in OPTIMIZERS for momentum in momenta(kind)])
def test_allocated_state_is_what_an_optimizer_begins_with(kind: str, momentum: float) -> None:
    hyperparameters = Hyperparameters.model_validate({"optimizer": kind, "momentum": momentum, "weight_decay": 0.1})
    networks = network(), network()
    states = []
    for allocated, one in enumerate(networks):
        optimizer = build_optimizer(hyperparameters, one)
        set_training(optimizer, True)
        for _ in range(3):
            if allocated:
                allocate_state(optimizer)
            step(optimizer, list(one.module.parameters()))
        states.append(optimizer_state(optimizer, one.module))
    assert states[0].keys() == states[1].keys()
    for name, memory in states[0].items():
        assert memory.keys() == states[1][name].keys()
        for key, value in memory.items():
            ours = states[1][name][key]
            assert type(value) is type(ours)
            if isinstance(value, torch.Tensor):
                assert torch.equal(value, ours)
                assert value.dtype == ours.dtype
            else:  # Prodigy's own count of steps
                assert value == ours
    for mine, plain in zip(networks[0].module.parameters(), networks[1].module.parameters(), strict=True):
        assert torch.equal(mine, plain)


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_a_trial_that_goes_on_from_a_checkpoint_is_as_if_never_interrupted(kind: str, train: Train) -> None:
    hyperparameters = Hyperparameters.model_validate({"optimizer": kind, "batch_size": 20, "weight_decay": 0.01})
    whole = train(hyperparameters, seed=3)
    resumed = train(hyperparameters, seed=3, resume=whole.checkpoints[0])
    mine, theirs = (load_checkpoint(trial.checkpoints[-1]) for trial in (whole, resumed))
    assert mine.optimizer_groups == theirs.optimizer_groups
    assert mine.tensors.keys() == theirs.tensors.keys()
    for name, tensor in mine.tensors.items():
        assert torch.equal(tensor, theirs.tensors[name])


def test_each_optimizer_that_a_spec_may_name_can_be_made() -> None:
    assert OPTIMIZERS.keys() == training_optimizers.KINDS.keys()


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


NO_DROPOUT = ModelSpec(name="cnn", args={"channels": [8, 8], "dense": [16]})
ADAPTIVE: dict[str, tuple[dict[str, Any], Callable[[Any], Any]]] = {
    "schedule_free_sgd": (
        {"lr": 0.2, "momentum": 0.8, "weight_decay": 1e-3},
        lambda parameters: SGDScheduleFree(parameters, lr=0.2, momentum=0.8, weight_decay=1e-3),
    ),
    "schedule_free_adamw": (
        {"lr": 0.01, "momentum": 0.95, "weight_decay": 0.1},
        lambda parameters: AdamWScheduleFree(parameters, lr=0.01, betas=(0.95, 0.999), weight_decay=0.1),
    ),
    "prodigy": (
        {"weight_decay": 0.1, "lr_schedule": "constant"},
        lambda parameters: Prodigy(parameters, weight_decay=0.1),
    ),
}


@pytest.mark.parametrize("interrupted", [False, True])
@pytest.mark.parametrize("kind", ADAPTIVE)
def test_a_trial_equals_a_plain_loop_with_the_package(
    digits: Task, train: Train, kind: str, interrupted: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """Three epochs; the network that is evaluated and kept is the average, also that of a checkpoint in the middle."""
    values, make = ADAPTIVE[kind]
    hyperparameters = Hyperparameters.model_validate({"optimizer": kind, "batch_size": 20, **values})
    trial = train(hyperparameters, seed=3, model=NO_DROPOUT)
    if interrupted:
        trial = train(hyperparameters, seed=3, model=NO_DROPOUT, resume=trial.checkpoints[0])
    assert capsys.readouterr().out == ""  # Prodigy likes to talk
    sizes = {"num_classes": digits.num_classes, "channels": digits.channels, "image_size": digits.image_size}
    module = build_network(NO_DROPOUT, **sizes, seed=3).module
    optimizer, batches = make(module.parameters()), Batches(digits)
    losses = []
    for epoch in range(3):
        getattr(optimizer, "train", lambda: None)()
        for images, labels in batches.train(epoch, 20, 3):
            optimizer.zero_grad()
            F.cross_entropy(module(images), labels).backward()
            optimizer.step()
        getattr(optimizer, "eval", lambda: None)()
        with torch.no_grad():
            ((images, labels),) = batches.evaluate("val", 1000)
            losses.append(float(F.cross_entropy(module(images), labels)))
    kept = load_checkpoint(trial.checkpoints[-1])
    for name, tensor in module.state_dict().items():
        torch.testing.assert_close(kept.tensors[name], tensor, rtol=0, atol=1e-6)
    assert [row.val_loss for row in trial.rows] == pytest.approx(losses[interrupted:], abs=1e-5)
    theirs = optimizer.param_groups[0]
    for group in kept.optimizer_groups:
        assert group.keys() <= theirs.keys()
        assert all(value == pytest.approx(theirs[name], rel=1e-5) for name, value in group.items())


def test_prodigy_finds_a_learning_rate(train: Train) -> None:
    """What is restored is the estimate: it began at 1e-6."""
    groups = load_checkpoint(train(Hyperparameters(optimizer="prodigy", batch_size=5)).checkpoints[-1]).optimizer_groups
    assert {group["k"] for group in groups} == {60}
    assert len({group["d"] for group in groups}) == 1
    assert groups[0]["d"] > 1e-5


@pytest.mark.parametrize("kind", ["schedule_free_sgd", "schedule_free_adamw"])
def test_layer_groups_of_a_schedule_free_optimizer_have_their_own_learning_rates(kind: str) -> None:
    values, make = ADAPTIVE[kind]
    ours, theirs = network(), network()
    optimizer = build_optimizer(
        Hyperparameters.model_validate({"optimizer": kind, **values, "layer_decay": 0.5, "head_lr_multiplier": 3}), ours
    )
    set_lr(optimizer, values["lr"])
    set_training(optimizer, True)
    parameters = dict(theirs.module.named_parameters())
    scales = [0.5 ** (len(theirs.groups) - 1 - k) for k in range(len(theirs.groups) - 1)] + [3]
    reference = make(
        [
            {"params": [parameters[name] for name in group.parameters], "lr": values["lr"] * scale}
            for group, scale in zip(theirs.groups, scales, strict=True)
        ]
    )
    reference.train()
    for _ in range(4):
        allocate_state(optimizer)
        step(optimizer, list(ours.module.parameters()))
        step(reference, list(theirs.module.parameters()))
    set_training(optimizer, False)
    reference.eval()
    for mine, plain in zip(ours.module.parameters(), theirs.module.parameters(), strict=True):
        assert torch.equal(mine, plain)


@pytest.mark.parametrize("kind", ["schedule_free_sgd", "schedule_free_adamw"])
def test_a_group_that_thaws_begins_as_with_a_new_optimizer(kind: str) -> None:
    """Not with the bias correction, and the weight in the average, of a hundred steps that it did not take."""
    values, make = ADAPTIVE[kind]
    ours, theirs = network(), network()
    optimizer = build_optimizer(Hyperparameters.model_validate({"optimizer": kind, **values}), ours)
    set_lr(optimizer, values["lr"])
    late = dict(theirs.module.named_parameters())[ours.groups[0].parameters[0]]
    mine = dict(ours.module.named_parameters())[ours.groups[0].parameters[0]]
    reference = make([late])
    reference.train()
    for frozen, steps in ((1, 100), (0, 3)):
        set_frozen(ours, frozen)
        allocate_state(optimizer)
        set_training(optimizer, True)
        for number in range(steps):
            for parameter in ours.module.parameters():
                parameter.grad = torch.full_like(parameter, 1.0 + number) if parameter.requires_grad else None
            optimizer.step()
            if not frozen:
                late.grad = torch.full_like(late, 1.0 + number)
                reference.step()
        set_training(optimizer, False)
    reference.eval()
    assert torch.equal(mine, late)
    assert [group["k"] for group in optimizer.param_groups] == [3] + [103] * (len(ours.groups) - 1)


@pytest.mark.parametrize("kind", ["schedule_free_sgd", "schedule_free_adamw"])
def test_a_taker_goes_on_with_its_own_momentum_from_the_average(kind: str) -> None:
    """Gradients are then taken where its own momentum says, between the iterate and the average."""
    donor, taker = network(), network()
    old = build_optimizer(Hyperparameters.model_validate({"optimizer": kind, "momentum": 0.9}), donor)
    allocate_state(old)
    set_training(old, True)
    for _ in range(3):
        step(old, list(donor.module.parameters()))
    set_training(old, False)
    new = build_optimizer(Hyperparameters.model_validate({"optimizer": kind, "momentum": 0.6}), taker)
    taker.module.load_state_dict(donor.module.state_dict())
    restore_optimizer(new, taker.module, optimizer_state(old, donor.module))
    set_training(new, True)
    for average, now in zip(donor.module.parameters(), taker.module.parameters(), strict=True):
        torch.testing.assert_close(now, 0.4 * new.state[now]["z"] + 0.6 * average)
