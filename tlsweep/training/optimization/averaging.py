"""The moving average of a network's weights, which is evaluated and kept in their place."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class Average:
    """An exponential moving average of the weights that are trained, and of batch norm's statistics.

    It begins with the weights after the first step, as torch's `AveragedModel` does, and averages buffers too, as
    timm's `ModelEmaV3` does: of floating point; others (batch norm's count of batches) are those of training. While it
    is in the network, the weights that are trained are kept here.

    Args:
        module: the network, on its device.
        decay: what an epoch leaves of what was averaged before it; a step takes its share of that, so that it means the
            same at every batch size. 0: there is no average.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self._decay = decay
        # Looked up anew at each use, as a network may put new buffers in their place; walking the modules costs more.
        self._owners = _floating(module)
        self._other: dict[str, Tensor] = {}
        """The average, or while that is in the network the weights that are trained; empty before the first step."""
        self._in_network = False

    @torch.no_grad()
    def update(self, share: float, stepped: bool | Tensor = True) -> None:
        """Take in the weights after a step over this share of an epoch's images; not one that was left out."""
        # Asking the device is waiting for it: only until the first step is made.
        if not self._decay or (not self._other and not stepped):
            return
        weights = self._weights()
        if not self._other:
            self._other = {name: tensor.clone() for name, tensor in weights.items()}
            return
        part = 1 - self._decay**share
        if isinstance(stepped, bool):
            torch._foreach_lerp_(list(self._other.values()), list(weights.values()), part * stepped)
            return
        for name, tensor in weights.items():
            self._other[name].lerp_(tensor, (part * stepped).to(tensor.dtype))

    def put_in(self) -> None:
        """Put the average into the network, if it has begun."""
        self._exchange(in_network=True)

    def take_out(self) -> None:
        """Put the weights into the network that are trained."""
        self._exchange(in_network=False)

    def trained(self) -> Mapping[str, Tensor]:
        """The weights that are trained, by name, while the average is in the network; views, not copies."""
        return self._other if self._in_network else {}

    @torch.no_grad()
    def restore(self, trained: Mapping[str, Tensor]) -> None:
        """Go on from a checkpoint, whose average the network holds, with what `trained` gave; without it, begin."""
        weights = self._weights()
        self._other = {}
        self._in_network = bool(self._decay and trained)
        if self._in_network:
            # Layers that were always frozen are not in a checkpoint: their average is what they are.
            self._other = {name: trained.get(name, own).to(own, copy=True) for name, own in weights.items()}
            return
        for name, tensor in trained.items():
            weights[name].copy_(tensor)

    @torch.no_grad()
    def _exchange(self, *, in_network: bool) -> None:
        if not self._other or self._in_network is in_network:
            return
        # One after another: all at once would need memory for a third network.
        for name, tensor in self._weights().items():
            before = tensor.clone()
            tensor.copy_(self._other[name])
            self._other[name].copy_(before)
        self._in_network = in_network

    def _weights(self) -> dict[str, Tensor]:
        return {name: owner[name.rpartition(".")[2]].detach() for name, owner in self._owners.items()}


def _floating(module: nn.Module) -> dict[str, dict[str, Tensor]]:
    """Where each parameter and buffer of floating point stands that a state dict holds, by name; tied ones once."""
    owners: dict[str, dict[str, Tensor]] = {}
    seen: set[int] = set()
    for prefix, part in module.named_modules():
        for owner in (part._parameters, part._buffers):
            for name, tensor in owner.items():
                if tensor is None or id(tensor) in seen or name in part._non_persistent_buffers_set:
                    continue
                if tensor.is_floating_point():
                    seen.add(id(tensor))
                    owners[f"{prefix}.{name}".lstrip(".")] = owner
    return owners
