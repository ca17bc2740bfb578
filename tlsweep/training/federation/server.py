"""What the server of a federation makes of the networks of its clients."""

from collections.abc import Mapping
from typing import Any, Final

import torch
from torch import Tensor

from tlsweep.spec import Hyperparameters

BETAS: Final = (0.9, 0.99)
TAU: Final = 1e-3
"""Of FedAdam and FedYogi, as in the experiments of Reddi et al. (2021)."""

Tensors = Mapping[str, Tensor]


class Mean:
    """A weighted mean of networks, one after another, so that no more than two are kept.

    Taken in by interpolation: where all networks have the same value, as of a frozen layer, the mean has exactly that,
    which a sum of products need not.
    """

    def __init__(self) -> None:
        self.values: dict[str, Tensor] = {}
        self._weight = 0

    @torch.no_grad()
    def add(self, tensors: Tensors, weight: int) -> None:
        """Take in the parameters and buffers of a network, by name; numbers that are no fractions are the last one's.

        Args:
            tensors: the same names in each call.
            weight: how much it counts: its training images.
        """
        self._weight += weight
        if not self.values:
            self.values = {name: tensor.detach().clone() for name, tensor in tensors.items()}
            return
        for name, tensor in tensors.items():
            # Such as batch norm's count of batches: a mean of whole numbers is none.
            if tensor.is_floating_point():
                self.values[name].lerp_(tensor, weight / self._weight)
            else:
                self.values[name].copy_(tensor)


class Server:
    """Moves the network of all clients by the mean of theirs, as an optimizer would by a gradient.

    What is added to the mean change Δ of a round makes it: FedAvg (McMahan et al. 2017, `sgd`), FedAvgM (Hsu et al.
    2019, `sgd` with server_momentum), FedAdam or FedYogi (Reddi et al. 2021, algorithm 2, which has no bias correction,
    and begins with v = τ²).
    """

    def __init__(self, hyperparameters: Hyperparameters) -> None:
        self._optimizer = hyperparameters.server_optimizer
        self._lr, self._momentum = hyperparameters.server_lr, hyperparameters.server_momentum
        self.memory: dict[str, dict[str, Tensor]] = {}
        """What is kept from round to round, by its name in the papers (m, v) and the name of the parameter."""

    @torch.no_grad()
    def step(self, parameters: Tensors, mean: Tensors) -> None:
        """Move parameters, in place, from what all clients began with; `mean` has those names, and maybe others."""
        if self._optimizer == "sgd" and not self._momentum:
            self.memory = {}
            for name, parameter in parameters.items():
                # With weight 1 this is the mean to the last bit, which x + (mean - x) is not.
                parameter.lerp_(mean[name], self._lr)
            return
        for name, parameter in parameters.items():
            change = mean[name] - parameter
            parameter.add_(self._direction(name, change), alpha=self._lr)

    def _direction(self, name: str, change: Tensor) -> Tensor:
        """What the optimizer makes of the mean change of a parameter."""
        first = self._kept("m", name, change, 0.0)
        # As torch.optim.SGD has it, and not as Adam's first moment: the change counts whole, and the first step is it.
        if self._optimizer == "sgd":
            return first.mul_(self._momentum).add_(change)
        # Not torch.optim.Adam, which corrects the bias of both moments, so that tau counts for less at the beginning.
        second, square = self._kept("v", name, change, TAU**2), change.square()
        first.lerp_(change, 1 - BETAS[0])
        if self._optimizer == "adam":
            second.lerp_(square, 1 - BETAS[1])
        else:
            second.sub_((1 - BETAS[1]) * square * torch.sign(second - square))
        return first / (second.sqrt() + TAU)

    def _kept(self, kind: str, name: str, like: Tensor, begins_with: float) -> Tensor:
        of_kind = self.memory.setdefault(kind, {})
        if name not in of_kind:
            of_kind[name] = torch.full_like(like, begins_with)
        return of_kind[name]

    def restore(self, memory: Mapping[str, Tensors], before: Mapping[str, Any], device: str) -> None:
        """Go on with the memory of a server of the same kind; with that of another one, or none, begin.

        Args:
            memory: what `self.memory` was.
            before: the hyperparameters that were in force then.
            device: where the network is.
        """
        self.memory = {}
        if before.get("server_optimizer") == self._optimizer:
            self.memory = {
                kind: {name: tensor.to(device) for name, tensor in tensors.items()} for kind, tensors in memory.items()
            }
