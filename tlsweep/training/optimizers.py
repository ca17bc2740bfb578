"""Optimizers with one parameter group for each layer group, and their state by the names of parameters."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from prodigyopt import Prodigy
from schedulefree import AdamWScheduleFree, SGDScheduleFree
from torch import Tensor, nn

from tlsweep.errors import ResourceError
from tlsweep.models import Network, parameter_groups
from tlsweep.models.weights import first_line
from tlsweep.spec import Hyperparameters
from tlsweep.training.devices import device_name

OptimizerState = dict[str, dict[str, Any]]
"""For each parameter, by name, the tensors that the optimizer keeps for it."""
GroupMemory = dict[str, float]
"""What the optimizer remembers of a parameter group as a whole."""

CLOCKS = ("k", "weight_sum", "lr_max")
"""Of a group of a schedule-free optimizer: steps taken, the sum of their weights in the average, the largest lr."""
ESTIMATES = ("k", "d", "d_max", "d_numerator")
"""Of a group of Prodigy: steps taken, and what the estimate of the learning rate is made of."""


def build_optimizer(hyperparameters: Hyperparameters, network: Network) -> torch.optim.Optimizer:
    """The optimizer of a trial over all parameters; each of its groups has a factor `lr_scale` on the learning rate.

    `schedule_free_sgd` and `schedule_free_adamw` are the package `schedulefree` (Defazio et al. 2024, "The road less
    scheduled"), `prodigy` is the package `prodigyopt` (Mishchenko & Defazio 2024, "Prodigy: an expeditiously adaptive
    parameter-free learner"), with their defaults but for what hyperparameters say; Prodigy's estimate is guarded
    against a warm-up where there is one (`safeguard_warmup`).

    Always torch's fused kernels, on CPUs too: a step of the digits' network (10 tensors, 5 groups, one core) takes
    0.34 ms fused, 0.42 ms in a loop and 0.58 ms with foreach for SGD; 0.37, 0.88 and 1.09 ms for Adam.
    """
    parameters = dict(network.module.named_parameters())
    groups = [
        {"params": [parameters[name] for name in group["params"]], "lr_scale": group["lr_scale"]}
        for group in parameter_groups(network, hyperparameters.head_lr_multiplier, hyperparameters.layer_decay)
    ]
    lr, weight_decay, momentum = hyperparameters.lr, hyperparameters.weight_decay, hyperparameters.momentum
    optimizer: torch.optim.Optimizer
    match hyperparameters.optimizer:
        case "sgd":
            # torch refuses Nesterov's form without momentum; a mutation of momentum can lead there.
            nesterov = hyperparameters.nesterov and momentum > 0
            optimizer = torch.optim.SGD(
                groups, lr=lr, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay, fused=True
            )
        case "adam":
            optimizer = torch.optim.Adam(groups, lr=lr, betas=(momentum, 0.999), weight_decay=weight_decay, fused=True)
        case "adamw":
            optimizer = torch.optim.AdamW(groups, lr=lr, betas=(momentum, 0.999), weight_decay=weight_decay, fused=True)
        case "schedule_free_sgd":
            optimizer = SGDScheduleFree(groups, lr=lr, momentum=momentum, weight_decay=weight_decay)
        case "schedule_free_adamw":
            optimizer = AdamWScheduleFree(groups, lr=lr, betas=(momentum, 0.999), weight_decay=weight_decay)
        case "prodigy":
            warmup = hyperparameters.warmup_epochs > 0
            # Given as an argument, Prodigy prints that it is there.
            decayed = [{**group, "weight_decay": weight_decay} for group in groups]
            optimizer = Prodigy(decayed, lr=lr, betas=(momentum, 0.999), safeguard_warmup=warmup)
    return optimizer


def set_training(optimizer: torch.optim.Optimizer, training: bool) -> None:
    """Put the weights into the network that are trained, or those that are evaluated and kept.

    They differ for schedule-free optimizers: gradients are taken at y = (1 - momentum) z + momentum x, between the
    iterate z and the average x, and x is the result (Defazio et al. 2024, equations 3-5). Batch norm's statistics are
    then of y.
    """
    if isinstance(optimizer, SGDScheduleFree | AdamWScheduleFree):
        (optimizer.train if training else optimizer.eval)()


def allocate_state(optimizer: torch.optim.Optimizer) -> None:
    """Make what the optimizer will remember of the parameters that are not frozen, as it would begin itself.

    So that torch's `step` needs no memory of the device. It makes it within the first `step`, group by group (torch
    2.15, optim/sgd.py `_fused_sgd`, optim/adam.py `_init_group`): where it ran out, those before would be a step ahead.
    The steps of the others need some in any case; Prodigy is left to make its own.

    A group that thaws begins to count its steps with those that it takes: schedule-free optimizers correct the bias of
    its moments, and weigh it in the average, by them.

    Raises:
        ResourceError: the memory is too small.
    """
    if isinstance(optimizer, Prodigy):
        return
    missing = [
        (group, parameter)
        for group in optimizer.param_groups
        for parameter in group["params"]
        if parameter.requires_grad and not optimizer.state.get(parameter)
    ]
    try:
        for group, parameter in missing:
            optimizer.state[parameter] = _empty_memory(group, parameter)
            group.update({name: optimizer.defaults[name] for name in CLOCKS if name in group})
    except torch.OutOfMemoryError as error:
        raise ResourceError(
            f"training: the memory of {device_name(str(missing[0][1].device))} is too small for the network and what "
            f"{type(optimizer).__name__} keeps of each parameter ({first_line(error)}); choose a smaller model.name, "
            "train.optimizer sgd, or train.freeze backbone"
        ) from error


def _empty_memory(group: Mapping[str, Any], parameter: Tensor) -> dict[str, Tensor]:
    if "train_mode" in group:  # schedule-free
        second = {"exp_avg_sq": torch.zeros_like(parameter)} if "betas" in group else {}
        return {"z": parameter.detach().clone(), **second}
    if "betas" in group:
        moments = {name: torch.zeros_like(parameter) for name in ("exp_avg", "exp_avg_sq")}
        return {"step": torch.zeros((), dtype=torch.float32, device=parameter.device), **moments}
    return {"momentum_buffer": torch.zeros_like(parameter)} if group["momentum"] else {}


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """The learning rate of the next step; each group's `lr_scale` comes on top."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_scale"]


def optimizer_state(optimizer: torch.optim.Optimizer, module: nn.Module) -> OptimizerState:
    """What the optimizer remembers of each parameter (momentum, moments, steps); views, not copies."""
    state: Mapping[Tensor, dict[str, Any]] = optimizer.state
    return {name: dict(state[p]) for name, p in module.named_parameters() if state.get(p)}


def group_memory(optimizer: torch.optim.Optimizer) -> list[GroupMemory]:
    """What the optimizer remembers of each parameter group; nothing, if it is one of torch's."""
    names = ESTIMATES if isinstance(optimizer, Prodigy) else CLOCKS
    return [{name: group[name] for name in names if name in group} for group in optimizer.param_groups]


def restore_optimizer(
    optimizer: torch.optim.Optimizer, module: nn.Module, state: OptimizerState, groups: Sequence[GroupMemory] = ()
) -> None:
    """Put the memory back; learning rate, momentum, weight decay and the like stay as the optimizer was built."""
    names: dict[Tensor, str] = {parameter: name for name, parameter in module.named_parameters()}
    ordered: Iterable[Tensor] = (p for group in optimizer.param_groups for p in group["params"])
    by_index = {index: state[names[p]] for index, p in enumerate(ordered) if names[p] in state}
    optimizer.load_state_dict({"state": by_index, "param_groups": optimizer.state_dict()["param_groups"]})
    for group, memory in zip(optimizer.param_groups, groups, strict=False):
        group.update(memory)
