"""Which layer groups learn, and how fast."""

import math
from typing import Literal, TypedDict

from torch.nn.modules.batchnorm import _BatchNorm

from tlsweep.models.network import Network


class ParameterGroup(TypedDict):
    """The parameters of one layer group, and the factor on their learning rate."""

    params: tuple[str, ...]
    lr_scale: float


def frozen_groups(freeze: Literal["nothing", "backbone", "gradual"], groups: int, progress: float) -> int:
    """How many of `groups`, counted from the input, are frozen at `progress` (0 to 1) of the training.

    `gradual` starts with the head alone, thaws one group after another from the head down, and the last at 0.5
    (Howard & Ruder 2018, "Universal language model fine-tuning for text classification").
    """
    if freeze == "nothing":
        return 0
    if freeze == "backbone":
        return groups - 1
    # Epochs are added up in floating point: a hair below a step is the step.
    thawed = math.floor(2 * progress * (groups - 1) + 1e-9)
    return max(groups - 1 - thawed, 0)


def set_frozen(network: Network, count: int, *, batch_norm: Literal["train", "frozen"] = "train") -> None:
    """Freeze the first `count` layer groups, thaw the others, and put each in the mode of `train_mode`."""
    frozen = _parameters(network, count)
    for name, parameter in network.module.named_parameters():
        parameter.requires_grad_(name not in frozen)
    train_mode(network, count, batch_norm=batch_norm)


def train_mode(network: Network, frozen: int, *, batch_norm: Literal["train", "frozen"] = "train") -> None:
    """Put the network into training mode, but for the first `frozen` layer groups, which evaluate.

    So their batch-norm statistics stay, and nothing in them is dropped at random. A module without parameters (dropout
    between two layers) goes with the layer that it feeds.

    With `batch_norm` frozen all batch norms evaluate: they use the statistics that they have and keep them, while scale
    and shift learn. In a network with random weights these are mean 0 and variance 1, so that scale and shift are all
    they do. One that keeps no statistics (`track_running_stats=False`) goes on with the batch's.
    """
    network.module.train()
    if frozen:
        _hold(network, frozen)
    if batch_norm == "frozen":
        for module in network.module.modules():
            # Torch has no public name for what all its batch norms are (torch/nn/modules/batchnorm.py).
            if isinstance(module, _BatchNorm):
                module.eval()


def _hold(network: Network, count: int) -> None:
    """Put the first `count` layer groups, and what feeds them, into the mode of evaluation."""
    names = _parameters(network, count)
    held = {id(parameter) for name, parameter in network.module.named_parameters() if name in names}
    # Backwards, so that the layer that comes next is known; a container comes after all that is in it.
    feeds_frozen = False
    for module in reversed(list(network.module.modules())):
        frozen_inside = {id(parameter) in held for parameter in module.parameters()}
        if not frozen_inside:
            module.training = not feeds_frozen
        elif len(frozen_inside) == 1:
            feeds_frozen = frozen_inside.pop()
            module.train(not feeds_frozen)


def parameter_groups(network: Network, head_lr_multiplier: float, layer_decay: float) -> list[ParameterGroup]:
    """Give each layer group, from input to head, its factor on the learning rate.

    `head_lr_multiplier` for the head; `layer_decay` to the power of the distance to the head for the others.
    """
    *backbone, head = network.groups
    scaled: list[ParameterGroup] = [
        {"params": group.parameters, "lr_scale": layer_decay ** (len(backbone) - number)}
        for number, group in enumerate(backbone)
    ]
    return [*scaled, {"params": head.parameters, "lr_scale": head_lr_multiplier}]


def _parameters(network: Network, count: int) -> set[str]:
    return {name for group in network.groups[:count] for name in group.parameters}
