"""A step of torch's fused kernels without what torch's optimizers prepare for each one, for steps of microseconds."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

import torch
from torch import Tensor

STEPS_FUSED: Final = frozenset({"sgd", "adam", "adamw"})
"""The optimizers, by their names in `train.optimizer`, whose steps can be taken here."""


class FusedStep:
    """Takes the steps that `optimizer.step()` would take, for parameters whose gradients always lie in one place.

    Preparing them takes torch (2.15) longer than the kernels work on the head of a network. What can change between two
    steps is the learning rate; what is remembered must be there (`allocate_state`) and stays where it is.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, gradients: Mapping[Tensor, Tensor]) -> None:
        """`gradients` has the parameters that learn, each with where its gradient will be."""
        make = _MAKERS[type(optimizer)]
        learning = [[p for p in group["params"] if p in gradients] for group in optimizer.param_groups]
        self._groups = [
            (
                group,
                make(group, [p.detach() for p in own], [gradients[p] for p in own], [optimizer.state[p] for p in own]),
            )
            for group, own in zip(optimizer.param_groups, learning, strict=True)
            if own
        ]
        self.counters = [optimizer.state[p]["step"] for own in learning for p in own if "step" in optimizer.state[p]]
        """What counts steps. They are moved on before a step, those of many optimizers by one call."""

    def __call__(self) -> None:
        """Take one, with the learning rates that the optimizer's groups have now."""
        for group, step in self._groups:
            step(group["lr"])


def _adam(kernel: Callable[..., None], group: Mapping[str, Any], *tensors: Any) -> Callable[[float], None]:
    parameters, gradients, states = tensors
    first, second, steps = ([state[name] for state in states] for name in ("exp_avg", "exp_avg_sq", "step"))
    beta1, beta2 = group["betas"]

    def step(lr: float) -> None:
        kernel(
            *(parameters, gradients, first, second, [], steps),
            lr=lr,
            beta1=beta1,
            beta2=beta2,
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            amsgrad=False,
            maximize=False,
        )

    return step


def _sgd(group: Mapping[str, Any], *tensors: Any) -> Callable[[float], None]:
    parameters, gradients, states = tensors
    momentum = [state["momentum_buffer"] for state in states] if group["momentum"] else []

    def step(lr: float) -> None:
        torch._fused_sgd_(
            *(parameters, gradients, momentum),
            weight_decay=group["weight_decay"],
            momentum=group["momentum"],
            lr=lr,
            dampening=group["dampening"],
            nesterov=group["nesterov"],
            maximize=False,
            is_first_step=False,
        )

    return step


_MAKERS: Final[Mapping[type[torch.optim.Optimizer], Callable[..., Callable[[float], None]]]] = MappingProxyType({
    torch.optim.SGD: _sgd,
    torch.optim.Adam: lambda *args: _adam(torch._fused_adam_, *args),
    torch.optim.AdamW: lambda *args: _adam(torch._fused_adamw_, *args),
})  # fmt: skip
