"""Starts a new head with weights that make given logits, whatever the network does behind it."""

from collections.abc import Mapping
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
        with torch.no_grad():
            for name, array in self.tensors.items():
                parameters[name].copy_(torch.from_numpy(np.array(array)))


def head_of(network: Network) -> nn.Module:
    """The layer that makes the classes."""
    return network.module.get_submodule(network.groups[-1].name)


def has_bias(network: Network) -> bool:
    """Whether the head adds something to its products."""
    return getattr(head_of(network), "bias", None) is not None


@torch.no_grad()
def place(network: Network, head: LinearHead) -> None:
    """Give the head these weights.

    Raises:
        HeadUnfitError: it has no plain weights, or looks at several places at once.
    """
    layer: Any = head_of(network)
    if not _is_plain(layer) or layer.weight.numel() != head.weight.size:
        raise HeadUnfitError(
            f"the weights of the head ({network.groups[-1].name}) are no plain matrix from its {head.weight.shape[1]} "
            "features to the classes"
        )
    layer.weight.copy_(torch.from_numpy(head.weight).view_as(layer.weight))
    if layer.bias is not None:
        layer.bias.copy_(torch.from_numpy(head.bias))


@torch.no_grad()
def place_zeros(network: Network) -> None:
    """Let the head make 0 of everything.

    Raises:
        HeadUnfitError: its weights are normalised, and those of length 0 are no numbers.
    """
    layer = head_of(network)
    if not _is_plain(layer):
        raise HeadUnfitError(f"the weights of the head ({network.groups[-1].name}) are made of others, and cannot be 0")
    for parameter in layer.parameters():
        parameter.zero_()


def _is_plain(layer: nn.Module) -> bool:
    """Whether the weight can be any matrix. That of a normalised layer (torch.nn.utils.parametrizations) is no
    parameter."""
    return isinstance(layer.weight, nn.Parameter)


@torch.no_grad()
def lift(network: Network, height: float) -> None:
    """Add the same to all outputs of the head, which changes no probability."""
    layer: Any = head_of(network)
    if layer.bias is not None:
        layer.bias.add_(height)


def lowest_output(network: Network, images: Tensor) -> float:
    """The least value that the head gives for these images, at any place, for any class."""
    lowest: list[float] = []
    hook = head_of(network).register_forward_hook(lambda _, inputs, output: lowest.append(float(output.min())))
    try:
        network.module(images)
    finally:
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
