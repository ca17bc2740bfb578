"""Features of a network: what goes into its head."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from tlsweep.errors import ModelError
from tlsweep.models.network import Network


@contextmanager
def head_inputs(network: Network, *, maps: bool = False) -> Iterator[Callable[[Tensor], Tensor]]:
    """Inside, a function from images (N, C, S, S) to the features (N, D) that the head makes classes of.

    A head that is a convolution sees a map (N, D, H, W), which is averaged over its places, as the network averages
    what comes out of such a head; of a sequence (N, L, D) before a linear head the positions are averaged. Of several
    heads the features stand one behind the other. The mode of the module, training or evaluation, is the caller's.

    Args:
        maps: leave the map of a single head that is a convolution as it is.

    Raises:
        ModelError: the user's own network never calls its head as a module; raised by the function.
    """
    heads = network.heads
    seen: dict[nn.Module, Tensor] = {}

    def remember(head: nn.Module, inputs: tuple[Any, ...]) -> None:
        if inputs:
            seen[head] = inputs[0]

    def extract(images: Tensor) -> Tensor:
        seen.clear()
        network.module(images)
        if missing := [name for name, head in heads.items() if head not in seen]:
            raise ModelError(
                f"the network uses the weights of its head ({missing[0]}) without calling it, so its features cannot "
                "be read; call the layer itself in forward"
            )
        if maps and sees_maps(network):
            return seen.pop(next(iter(heads.values())))
        return torch.cat([_pooled(seen.pop(head), head) for head in heads.values()], dim=-1)

    # By a hook, whatever the network is built like: torchvision's feature extraction traces it (torch.fx), which code
    # of the user's that branches on its input does not survive.
    hooks = [head.register_forward_pre_hook(remember) for head in heads.values()]
    try:
        yield extract
    finally:
        for hook in hooks:
            hook.remove()


def sees_maps(network: Network) -> bool:
    """Whether the one head is a convolution, which makes classes of each place."""
    return len(network.heads) == 1 and isinstance(next(iter(network.heads.values())), nn.Conv2d)


def pooled_map(values: Tensor) -> Tensor:
    """The mean over the places of maps: (N, D, H, W) to (N, D)."""
    return values.mean((-2, -1))


def _pooled(values: Tensor, head: nn.Module) -> Tensor:
    """One vector for each image, as wide as the head's input."""
    if isinstance(head, nn.Conv2d):
        return pooled_map(values)
    if values.ndim > 2:
        return values.flatten(1, -2).mean(1)
    return values
