"""Dropout and stochastic depth: their rates, in whatever network has such layers."""

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Final

from torch import nn

from tlsweep.errors import ModelError
from tlsweep.lean_torchvision import import_torchvision
from tlsweep.spec import Hyperparameters

_DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)


def dropouts(module: nn.Module) -> Iterator[tuple[nn.Module, str]]:
    """The modules that drop activations, each with the attribute that holds the rate.

    Torch's own layers; and `drop_rate`, with which torchvision's DenseNet and timm call `functional.dropout`.
    """
    for part in module.modules():
        if isinstance(part, _DROPOUTS):
            yield part, "p"
        elif type(vars(part).get("drop_rate")) in (float, int):
            yield part, "drop_rate"


def drop_paths(module: nn.Module) -> Iterator[tuple[nn.Module, str]]:
    """The modules that leave out a residual branch, from input to output, each with the attribute that holds the rate:
    torchvision's StochasticDepth, timm's DropPath."""
    # Here, where it has been imported if it is of any use.
    import_torchvision()
    from torchvision.ops import StochasticDepth

    for part in module.modules():
        if isinstance(part, StochasticDepth):
            yield part, "p"
        elif type(vars(part).get("drop_prob")) in (float, int):
            yield part, "drop_prob"


def set_dropping(module: nn.Module, hyperparameters: Hyperparameters) -> None:
    """Give the layers of a network the rates of `dropout` and `drop_path`, where there are any.

    `drop_path` is the largest of the rates: the others keep their share of it, which grows with depth in the networks
    of torchvision and timm. Where all are 0, the k-th of n gets k/n of it (Huang et al. 2016, "Deep networks with
    stochastic depth").

    Raises:
        ModelError: the network has no such layer.
    """
    for name in DROPPING:
        rate = getattr(hyperparameters, name)
        if rate is None:
            continue
        check_dropping(module, name)
        layers = list(DROPPING[name](module))
        shares = _shares([getattr(layer, attribute) for layer, attribute in layers]) if name == "drop_path" else None
        for number, (layer, attribute) in enumerate(layers):
            setattr(layer, attribute, rate if shares is None else rate * shares[number])


def check_dropping(module: nn.Module, name: str) -> None:
    """Check that `dropout` or `drop_path` has an effect on a network.

    Raises:
        ModelError: the network has no such layer.
    """
    if not any(DROPPING[name](module)):
        what = {"dropout": "dropout layer", "drop_path": "branch that stochastic depth could leave out"}[name]
        raise ModelError(
            f"train.{name}: the network has no {what}, whose rate this is; leave train.{name} out, write model.args "
            "that make one, or take another network"
        )


def _shares(built: list[float]) -> list[float]:
    largest = max(built)
    if largest:
        return [rate / largest for rate in built]
    return [number / len(built) for number in range(1, len(built) + 1)]


DROPPING: Final[Mapping[str, Callable[[nn.Module], Iterator[tuple[nn.Module, str]]]]] = MappingProxyType(
    {"dropout": dropouts, "drop_path": drop_paths}
)
"""The layers that each hyperparameter sets."""
