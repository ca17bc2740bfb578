"""The two networks of our own: a small convolutional one and a multilayer perceptron."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from torch import nn

from tlsweep.errors import ModelError


def _widths(name: str, values: Any, *, at_least: int) -> tuple[int, ...]:
    whole = isinstance(values, Sequence) and all(type(value) is int and value > 0 for value in values)
    if not whole or len(values) < at_least:
        some = "at least one whole number" if at_least else "whole numbers"
        raise ModelError(f"model.args.{name} is {values!r}; it is a list of {some} above 0, for example [64, 64]")
    return tuple(values)


def _probability(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
        raise ModelError(f"model.args.dropout is {value!r}; it is a number from 0 to below 1, for example 0.2")
    return float(value)


def _dense_layers(
    inputs: int, widths: Sequence[int], num_classes: int, dropout: float
) -> "OrderedDict[str, nn.Module]":
    layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
    for number, width in enumerate(widths, start=1):
        layers[f"dense{number}"] = nn.Linear(inputs, width)
        layers[f"dense{number}_relu"] = nn.ReLU()
        inputs = width
    layers["dropout"] = nn.Dropout(dropout)
    layers["head"] = nn.Linear(inputs, num_classes)
    return layers


def cnn(
    num_classes: int,
    in_channels: int,
    image_size: int,
    *,
    channels: Sequence[int] = (32, 64, 64),
    dense: Sequence[int] = (64,),
    dropout: float = 0.0,
) -> nn.Module:
    """Build TensorFlow's tutorial network: 3x3 convolutions with ReLU, max-pooling between them, dense layers, head
    (https://www.tensorflow.org/tutorials/images/cnn), padded so that it works on 8x8 images too.

    Maps (N, in_channels, image_size, image_size) to (N, num_classes). Pools only while the map stays at least 2 wide;
    `dropout` is the probability before the head.

    Raises:
        ModelError: a width that is no whole number above 0, or a dropout outside [0, 1).
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    size, before = image_size, in_channels
    for number, width in enumerate(_widths("channels", channels, at_least=1), start=1):
        if number > 1 and size >= 4:
            layers[f"pool{number - 1}"] = nn.MaxPool2d(2)
            size //= 2
        layers[f"conv{number}"] = nn.Conv2d(before, width, kernel_size=3, padding="same")
        layers[f"conv{number}_relu"] = nn.ReLU()
        before = width
    widths = _widths("dense", dense, at_least=0)
    return nn.Sequential(layers | _dense_layers(before * size**2, widths, num_classes, _probability(dropout)))


def mlp(
    num_classes: int,
    in_channels: int,
    image_size: int,
    *,
    hidden: Sequence[int] = (128, 64),
    dropout: float = 0.0,
) -> nn.Module:
    """Dense layers with ReLU on the flattened image, and a head.

    Maps (N, in_channels, image_size, image_size) to (N, num_classes); `dropout` is the probability before the head.

    Raises:
        ModelError: a width that is no whole number above 0, or a dropout outside [0, 1).
    """
    widths = _widths("hidden", hidden, at_least=0)
    return nn.Sequential(_dense_layers(in_channels * image_size**2, widths, num_classes, _probability(dropout)))
