"""Makes a torch module from a name and arguments: our own networks, torchvision's, timm's, or the user's code."""

import inspect
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, cast

from torch import nn
from torch.nn.parameter import UninitializedParameter

from tlsweep.errors import ModelError
from tlsweep.lean_torchvision import import_torchvision
from tlsweep.models.lean import Limits, Undrawn, WithoutValues
from tlsweep.models.plain import cnn, mlp
from tlsweep.models.timm_networks import construct_timm, is_timm, timm_arguments
from tlsweep.own_code import import_function, refuse_main
from tlsweep.spec import ModelSpec
from tlsweep.spec.model import TIMM
from tlsweep.text import did_you_mean

_PLAIN: dict[str, Callable[..., nn.Module]] = {"cnn": cnn, "mlp": mlp}

# These two train with extra classifiers, and rescale their input themselves when they carry ImageNet weights
# (torchvision/models/inception.py). Without them the output is one tensor, in training as in evaluation.
AUXILIARY_HEADS = {"googlenet": ("aux1.", "aux2."), "inception_v3": ("AuxLogits.",)}

_RESERVED = {"num_classes", "weights", "progress", "aux_logits"}


def is_own_code(name: str) -> bool:
    """Whether `name` is the user's `package.module:function`."""
    return ":" in name


def is_torchvision(name: str) -> bool:
    """Whether `name` is a classification network of torchvision.

    Raises:
        ModelError: `name` is no network at all; the message has the nearest names.
    """
    if name in _PLAIN or is_own_code(name) or is_timm(name):
        return False
    import_torchvision()
    from torchvision import models  # which `cnn` does without

    known = cast(list[str], models.list_models(module=models))
    if name not in known:
        near = did_you_mean(name, [*_PLAIN, *known])
        raise ModelError(
            f"unknown network '{name}'; {near}; model.name is cnn, mlp, a classification network of torchvision.models "
            f"or of timm ({TIMM}…), or your own package.module:function"
        )
    return True


def construct(
    model: ModelSpec,
    num_classes: int,
    channels: int,
    image_size: int,
    *,
    without_values: bool,
    limits: Limits | None = None,
) -> nn.Module:
    """The module of `model`, which maps (N, channels, image_size, image_size) to (N, num_classes).

    Draws from torch's global generator. With `without_values`, parameters that would be drawn are on the meta device
    instead (never those of the user's own code; those of timm's networks have any values).

    Raises:
        ModelError: unknown network or arguments, code that cannot be imported. What the user's code raises itself
            passes unchanged.
    """
    lean = without_values and not is_own_code(model.name)
    mode = Undrawn if is_timm(model.name) else WithoutValues
    with mode(limits) if lean else nullcontext():
        if is_timm(model.name):
            return construct_timm(model, num_classes, channels, image_size)
        if is_torchvision(model.name):
            return _torchvision(model, num_classes, channels)
        factory = _PLAIN.get(model.name) or _own(model.name)
        _check_arguments(model, factory)
        module = factory(num_classes, channels, image_size, **model.args)
    if not isinstance(module, nn.Module):
        raise ModelError(f"model.name {model.name} returned {type(module).__name__}; it must return a torch.nn.Module")
    if lazy := [name for name, parameter in module.named_parameters() if isinstance(parameter, UninitializedParameter)]:
        raise ModelError(
            f"model.name {model.name}: {lazy[0]} is of a lazy layer, which has no size yet; give its input size, or "
            "call the network once before it is returned"
        )
    return module


def keeps_memory(name: str) -> bool:
    """Whether weights are copied into the tensors that the network has: those that are tied stay so."""
    return is_own_code(name) or is_timm(name)


def complete_args(model: ModelSpec, image_size: int) -> dict[str, Any]:
    """Complete `model.args` by what else torchvision or timm have to be told so that they build the same network."""
    if is_timm(model.name):
        return timm_arguments(model, image_size)
    if model.name not in AUXILIARY_HEADS:
        return model.args
    # What initial values are drawn from takes a minute, and a state dict replaces them.
    return _auxiliary_arguments(model) | model.args | {"init_weights": False}


def _auxiliary_arguments(model: ModelSpec) -> dict[str, Any]:
    return {"aux_logits": False, "init_weights": True, "transform_input": isinstance(model.weights, str)}


def _torchvision(model: ModelSpec, num_classes: int, channels: int) -> nn.Module:
    from torchvision import models

    arguments: dict[str, Any] = {}
    if model.name in AUXILIARY_HEADS:
        arguments = _auxiliary_arguments(model)
        if channels == 1 and (arguments | model.args)["transform_input"]:
            raise ModelError(
                f"{model.name} with transform_input rescales red, green and blue differently, but the images are grey; "
                "set model.args: {transform_input: false}, or choose another network"
            )
    try:
        # As in an exported model.json, which plain torchvision is to be given.
        without_heads = {"aux_logits"} if model.args.get("aux_logits") is False else set()
        if reserved := (_RESERVED & set(model.args)) - without_heads:
            raise TypeError(f"{', '.join(sorted(reserved))} cannot be set")
        module = cast(
            nn.Module, models.get_model(model.name, weights=None, num_classes=num_classes, **arguments | model.args)
        )
    except Exception as error:  # whatever a constructor says to arguments of the user's
        if not model.args:
            raise
        known = set(inspect.signature(type(models.get_model(model.name, weights=None, **arguments))).parameters)
        raise ModelError(
            f"model.args {model.args} do not fit {model.name}: {error}; known: {', '.join(sorted(known - _RESERVED))}"
        ) from error
    if channels != 3:
        _see_grey(module)
    return module


def _see_grey(module: nn.Module) -> None:
    """Sum the first convolution over its input channels: a grey image gives what its RGB copy gave."""
    first = next(layer for layer in module.modules() if isinstance(layer, nn.Conv2d))
    first.weight = nn.Parameter(first.weight.detach().sum(dim=1, keepdim=True))
    first.in_channels = 1


def _own(name: str) -> Callable[..., nn.Module]:
    refuse_main(name, f"model.name {name}", ModelError)
    return cast(Callable[..., nn.Module], import_function(name, f"model.name {name}", ModelError))


def _check_arguments(model: ModelSpec, factory: Callable[..., nn.Module]) -> None:
    signature = inspect.signature(factory)
    try:
        signature.bind(2, 3, 8, **model.args)
    except TypeError as error:
        known = ", ".join(list(signature.parameters)[3:]) or "none"
        raise ModelError(f"model.args {model.args} do not fit {model.name}: {error}; known: {known}") from None
