"""Starts a new head with weights that make given logits, whatever the network does behind it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tlsweep.errors import ModelError
from tlsweep.models.network import Network
from tlsweep.models.probe import LinearHead
from tlsweep.models.weights import Array


class HeadUnfitError(ModelError):
    """A head that cannot be begun with given logits."""


@dataclass(frozen=True)
class StartingHead:
    """What a new head begins with, and how far that gets. Plain numpy, so that Ray's object store shares it."""

    tensors: Mapping[str, Array]
    """The parameters of the head, by their names within it."""
    validation: Mapping[str, float | None]
    """How far the network gets before any training, on the validation split: `loss`, `accuracy`, …"""

    def put_into(self, network: Network) -> None:
        """Let the head of a network on the CPU begin so."""
        parameters = dict(head_of(network).named_parameters())
        here = {name: tuple(parameter.shape) for name, parameter in parameters.items()}
        if here != {name: array.shape for name, array in self.tensors.items()}:
            raise HeadUnfitError("what the heads of trials are to begin with is of another network; start a new sweep")
        with torch.no_grad():
            for name, array in self.tensors.items():
                parameters[name].copy_(torch.from_numpy(np.array(array)))


def head_of(network: Network) -> nn.Module:
    """The layer that makes the classes, or the list of those whose logits are averaged."""
    heads = list(network.heads.values())
    return heads[0] if len(heads) == 1 else nn.ModuleList(heads)


def has_bias(network: Network) -> bool:
    """Whether the head adds something to its products."""
    return all(getattr(head, "bias", None) is not None for head in network.heads.values())


@torch.no_grad()
def place(network: Network, head: LinearHead) -> None:
    """Give the head these weights; each of several makes of its own features as many times its part.

    Raises:
        HeadUnfitError: it has no plain weights, or looks at several places at once.
    """
    layers: list[Any] = list(network.heads.values())
    plain = all(map(_is_plain, layers))
    if not plain or sum(layer.weight.numel() for layer in layers) != head.weight.size:
        raise HeadUnfitError(
            f"the weights of the head ({network.groups[-1].name}) are no plain matrix from its {head.weight.shape[1]} "
            "features to the classes"
        )
    parts = torch.split(torch.from_numpy(head.weight), [layer.weight.shape[1] for layer in layers], dim=1)
    for layer, part in zip(layers, parts, strict=True):
        layer.weight.copy_((part * len(layers)).view_as(layer.weight))
        if layer.bias is not None:
            layer.bias.copy_(torch.from_numpy(head.bias))


@torch.no_grad()
def place_zeros(network: Network) -> None:
    """Let the head make 0 of everything.

    Raises:
        HeadUnfitError: its weights are normalised, and those of length 0 are no numbers.
    """
    if not all(map(_is_plain, network.heads.values())):
        raise HeadUnfitError(f"the weights of the head ({network.groups[-1].name}) are made of others, and cannot be 0")
    for parameter in head_of(network).parameters():
        parameter.zero_()


def _is_plain(layer: nn.Module) -> bool:
    """Whether the weight can be any matrix. That of a normalised layer (torch.nn.utils.parametrizations) is no
    parameter."""
    return isinstance(layer.weight, nn.Parameter)


@torch.no_grad()
def lift(network: Network, height: float) -> None:
    """Add the same to all outputs of the head, which changes no probability."""
    for layer in network.heads.values():
        if layer.bias is not None:
            layer.bias.add_(height)  # type: ignore[operator]  # a parameter


def lowest_output(network: Network, forward: Callable[[Tensor], Tensor], images: Tensor) -> float:
    """The least value that the head gives, at any place, for any class, when `forward` makes logits of these images."""
    lowest: list[float] = []
    hooks = [
        head.register_forward_hook(lambda _, inputs, output: lowest.append(float(output.min())))
        for head in network.heads.values()
    ]
    try:
        forward(images)
    finally:
        for hook in hooks:
            hook.remove()
    return min(lowest)


def same_logits(found: Tensor, expected: Tensor) -> bool:
    """Whether logits (N, classes) say the same, as far as a GPU's precision goes: what is added to all is nothing."""
    # On the CPU: Apple's GPUs have no float64.
    found, expected = (logits.cpu().double() for logits in (found, expected))
    found, expected = (logits - logits.mean(1, keepdim=True) for logits in (found, expected))
    return bool((found - expected).abs().max() <= 0.01 * (1 + expected.abs().max()))


def tensors_of(network: Network) -> dict[str, Array]:
    """The parameters of the head as they are, by their names within it."""
    return {name: parameter.detach().cpu().numpy().copy() for name, parameter in head_of(network).named_parameters()}
