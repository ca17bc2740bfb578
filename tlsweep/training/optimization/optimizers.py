"""Optimizers with one parameter group for each layer group, and their state by the names of parameters."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import torch
from prodigyopt import Prodigy
from schedulefree import AdamWScheduleFree, SGDScheduleFree
from torch import Tensor, nn

from tlsweep.errors import ResourceError
from tlsweep.models import Network, parameter_groups
from tlsweep.models.archives import first_line
from tlsweep.spec import Hyperparameters
from tlsweep.training.devices import device_name
from tlsweep.training.optimization.eager_steps import leave_compiler_out

OptimizerState = dict[str, dict[str, Any]]
"""The tensors that an optimizer keeps for each parameter, by the parameter's name."""
GroupMemory = dict[str, float]
"""What the optimizer remembers of a parameter group as a whole."""

ParameterGroup = Mapping[str, Any]

CLOCKS = ("k", "weight_sum", "lr_max")
"""What a schedule-free optimizer counts in a group: steps taken, the sum of their weights in the average, the largest
lr."""
ESTIMATES = ("k", "d", "d_max", "d_numerator")
"""What Prodigy keeps in a group: steps taken, and what the estimate of the learning rate is made of."""


AVERAGING: Final = (SGDScheduleFree, AdamWScheduleFree)
"""Optimizers that train other weights than those that are their result."""


@dataclass(frozen=True)
class Kind:
    """How an optimizer is made, and what it remembers."""

    make: Callable[..., torch.optim.Optimizer]
    """Its class, called with parameter groups, `lr` and `options`; each group has its weight decay."""
    options: Callable[[Hyperparameters], dict[str, Any]]
    memory: Callable[[ParameterGroup, Tensor], dict[str, Tensor]] | None
    """What it begins to remember of a parameter, exactly as its first step would; None: that is left to the step."""
    group_memory: tuple[str, ...] = ()
    """Which entries of a parameter group are memory, and no setting."""


def _sgd_options(hyperparameters: Hyperparameters) -> dict[str, Any]:
    # torch refuses Nesterov's form without momentum; a mutation of momentum can lead there.
    nesterov = hyperparameters.nesterov and hyperparameters.momentum > 0
    return {"momentum": hyperparameters.momentum, "nesterov": nesterov, "fused": True}


def _betas(hyperparameters: Hyperparameters) -> dict[str, Any]:
    return {"betas": (hyperparameters.momentum, 0.999)}


def _adam_options(hyperparameters: Hyperparameters) -> dict[str, Any]:
    return {**_betas(hyperparameters), "fused": True}


def _prodigy_options(hyperparameters: Hyperparameters) -> dict[str, Any]:
    return {**_betas(hyperparameters), "safeguard_warmup": hyperparameters.warmup_epochs > 0}


def _velocity(group: ParameterGroup, parameter: Tensor) -> dict[str, Tensor]:
    if group["momentum"]:
        return {"momentum_buffer": torch.zeros_like(parameter)}
    return {}


def _moments(_: ParameterGroup, parameter: Tensor) -> dict[str, Tensor]:
    moments = {name: torch.zeros_like(parameter) for name in ("exp_avg", "exp_avg_sq")}
    # On the device, where the fused kernels count steps (torch/optim/adam.py, `_init_group`).
    return {"step": torch.zeros((), dtype=torch.float32, device=parameter.device), **moments}


def _iterate(_: ParameterGroup, parameter: Tensor) -> dict[str, Tensor]:
    return {"z": parameter.detach().clone()}


def _iterate_and_second_moment(_: ParameterGroup, parameter: Tensor) -> dict[str, Tensor]:
    return {"z": parameter.detach().clone(), "exp_avg_sq": torch.zeros_like(parameter)}


KINDS: Final[Mapping[str, Kind]] = MappingProxyType({
    "sgd": Kind(torch.optim.SGD, _sgd_options, _velocity),
    "adam": Kind(torch.optim.Adam, _adam_options, _moments),
    "adamw": Kind(torch.optim.AdamW, _adam_options, _moments),
    "schedule_free_sgd": Kind(SGDScheduleFree, lambda values: {"momentum": values.momentum}, _iterate, CLOCKS),
    "schedule_free_adamw": Kind(AdamWScheduleFree, _betas, _iterate_and_second_moment, CLOCKS),
    "prodigy": Kind(Prodigy, _prodigy_options, memory=None, group_memory=ESTIMATES),
})  # fmt: skip
"""Each optimizer, by its name in `train.optimizer`."""


def build_optimizer(hyperparameters: Hyperparameters, network: Network) -> torch.optim.Optimizer:
    """Make the optimizer of a trial over all parameters; each group has a factor `lr_scale` on the learning rate.

    Layer groups with the same factor are one, unless the optimizer remembers something of each: fewer calls in a step.

    `schedule_free_sgd` and `schedule_free_adamw` are the package `schedulefree` (Defazio et al. 2024, "The road less
    scheduled"), `prodigy` is the package `prodigyopt` (Mishchenko & Defazio 2024, "Prodigy: an expeditiously adaptive
    parameter-free learner"), with their defaults but for what hyperparameters say; Prodigy's estimate is guarded
    against a warm-up where there is one (`safeguard_warmup`).

    Always torch's fused kernels, on CPUs too: a step of the digits' network (10 tensors, 5 groups, one core) takes
    0.34 ms fused, 0.42 ms in a loop and 0.58 ms with foreach for SGD; 0.37, 0.88 and 1.09 ms for Adam.
    """
    kind = KINDS[hyperparameters.optimizer]
    parameters = dict(network.module.named_parameters())
    members: dict[tuple[float, int], list[Tensor]] = {}
    scaled = parameter_groups(network, hyperparameters.head_lr_multiplier, hyperparameters.layer_decay)
    for number, group in enumerate(scaled):
        key = (group["lr_scale"], number if kind.group_memory else 0)
        members.setdefault(key, []).extend(parameters[name] for name in group["params"])
    # The decay here and not as an argument, of which Prodigy would print that it is there.
    decay = hyperparameters.weight_decay
    groups = [{"params": own, "lr_scale": scale, "weight_decay": decay} for (scale, _), own in members.items()]
    leave_compiler_out()
    return kind.make(groups, lr=hyperparameters.lr, **kind.options(hyperparameters))


def _kind(optimizer: torch.optim.Optimizer) -> Kind:
    return next(kind for kind in KINDS.values() if kind.make is type(optimizer))


def set_training(optimizer: torch.optim.Optimizer, training: bool) -> None:
    """Put the weights into the network that are trained, or those that are evaluated and kept.

    They differ for schedule-free optimizers: gradients are taken at y = (1 - momentum) z + momentum x, between the
    iterate z and the average x, and x is the result (Defazio et al. 2024, equations 3-5). Batch norm's statistics are
    then of y.
    """
    if isinstance(optimizer, AVERAGING):
        (optimizer.train if training else optimizer.eval)()


def allocate_state(optimizer: torch.optim.Optimizer) -> None:
    """Make what the optimizer will remember of the parameters that are not frozen, as it would begin itself.

    So that torch's `step` needs no memory of the device. It makes it within the first `step`, group by group (torch
    2.15, optim/sgd.py `_fused_sgd`, optim/adam.py `_init_group`): where it ran out, those before would be a step ahead.
    The steps of the others need some in any case; an optimizer without a declared `memory` is left to make its own.
    And where a first step is left out, as in float16, SGD would go on from a momentum that nobody has written
    (`_fused_sgd`, `empty_like`).

    A group that thaws begins to count its steps with those that it takes: schedule-free optimizers correct the bias of
    its moments, and weigh it in the average, by them.

    Raises:
        ResourceError: the memory is too small.
    """
    kind = _kind(optimizer)
    if kind.memory is None:
        return
    missing = [
        (group, parameter)
        for group in optimizer.param_groups
        for parameter in group["params"]
        if parameter.requires_grad and not optimizer.state.get(parameter)
    ]
    try:
        for group, parameter in missing:
            optimizer.state[parameter] = kind.memory(group, parameter)
            group.update({name: optimizer.defaults[name] for name in kind.group_memory})
    except torch.OutOfMemoryError as error:
        raise ResourceError(
            f"training: the memory of {device_name(str(missing[0][1].device))} is too small for the network and what "
            f"{type(optimizer).__name__} keeps of each parameter ({first_line(error)}); choose a smaller model.name, "
            "train.optimizer sgd, or train.freeze backbone"
        ) from error


def forget_state(optimizer: torch.optim.Optimizer) -> None:
    """Let it begin anew, as it was built: nothing is remembered of any parameter or group."""
    optimizer.state.clear()
    for group in optimizer.param_groups:
        group.update({name: optimizer.defaults[name] for name in _kind(optimizer).group_memory})


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """The learning rate of the next step; each group's `lr_scale` comes on top."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_scale"]


def forget_gradients(optimizer: torch.optim.Optimizer) -> None:
    """What `zero_grad` does, without telling a profiler of it: a sixth of the time with few parameters."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = None


def optimizer_state(optimizer: torch.optim.Optimizer, module: nn.Module) -> OptimizerState:
    """What the optimizer remembers of each parameter (momentum, moments, steps); views, not copies."""
    state: Mapping[Tensor, dict[str, Any]] = optimizer.state
    return {name: dict(state[p]) for name, p in module.named_parameters() if state.get(p)}


def group_memory(optimizer: torch.optim.Optimizer) -> list[GroupMemory]:
    """What the optimizer remembers of each parameter group; nothing, if it is one of torch's."""
    names = _kind(optimizer).group_memory
    return [{name: group[name] for name in names} for group in optimizer.param_groups]


def restore_optimizer(
    optimizer: torch.optim.Optimizer, module: nn.Module, state: OptimizerState, groups: Sequence[GroupMemory] = ()
) -> None:
    """Put the memory back; learning rate, momentum, weight decay and the like stay as the optimizer was built."""
    names: dict[Tensor, str] = {parameter: name for name, parameter in module.named_parameters()}
    ordered: Iterable[Tensor] = (p for group in optimizer.param_groups for p in group["params"])
    by_index = {index: state[names[p]] for index, p in enumerate(ordered) if names[p] in state}
    # torch takes the learning rate and its like from what it is given, so it is given those in force.
    optimizer.load_state_dict({"state": by_index, "param_groups": optimizer.state_dict()["param_groups"]})
    # A checkpoint of format 1 has no memory of groups.
    for group, memory in zip(optimizer.param_groups, groups, strict=False):
        group.update(memory)
