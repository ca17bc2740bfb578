"""Makes a torch module from a name and arguments: our own networks, torchvision's, or the user's code."""

import difflib
import importlib
import inspect
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn
from torch.nn.parameter import UninitializedParameter
from torch.overrides import TorchFunctionMode

from tlsweep.errors import ModelError
from tlsweep.models.plain import cnn, mlp
from tlsweep.spec import ModelSpec

_PLAIN: dict[str, Callable[..., nn.Module]] = {"cnn": cnn, "mlp": mlp}

# These two train with extra classifiers, and rescale their input themselves when they carry ImageNet weights
# (torchvision/models/inception.py). Without them the output is one tensor, in training as in evaluation.
AUXILIARY_HEADS = {"googlenet": ("aux1.", "aux2."), "inception_v3": ("AuxLogits.",)}

_RESERVED = {"num_classes", "weights", "progress", "aux_logits"}


@dataclass
class Limits:
    """How large a network may get whose arguments are not to be trusted, before its building is given up."""

    tensors: int
    values: int

    def spend(self, values: int) -> None:
        """Count a tensor of this size.

        Raises:
            ModelError: there is no room for a tensor of this size.
        """
        self.tensors, self.values = self.tensors - 1, self.values - values
        if min(self.tensors, self.values) < 0:
            raise ModelError("its arguments make a larger network than the one that is stored")


class _WithoutValues(TorchFunctionMode):
    """Parameters are made on the meta device: no memory, nothing drawn, for modules whose weights come from elsewhere.

    Not `torch.device("meta")`, under which RegNet cannot compute its widths and Swin's index tables would be lost.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        super().__init__()
        self._limits = limits

    def __torch_function__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        # Torch's layers make their parameters of it before they draw values for them.
        if func is torch.empty:
            kwargs["device"] = "meta"
            made = func(*args, **kwargs)
            if self._limits is not None:
                self._limits.spend(made.numel())
            return made
        if func in (torch.Tensor.normal_, torch.Tensor.uniform_) and args[0].is_meta:
            return args[0]  # nothing would be drawn, but in half a millisecond of Python each
        return func(*args, **kwargs)


def is_own_code(name: str) -> bool:
    """Whether `name` is the user's `package.module:function`."""
    return ":" in name


def is_torchvision(name: str) -> bool:
    """Whether `name` is a classification network of torchvision.

    Raises:
        ModelError: `name` is no network at all; the message has the nearest names.
    """
    if name in _PLAIN or is_own_code(name):
        return False
    from torchvision import models  # takes as long to import as torch itself, and `cnn` does without

    known = cast(list[str], models.list_models(module=models))
    if name not in known:
        raise ModelError(
            f"unknown network '{name}'; {_nearest(name, [*_PLAIN, *known])}; model.name is cnn, mlp, a classification "
            "network of torchvision.models, or your own package.module:function"
        )
    return True


def _nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name.lower(), list(known), n=3)
    if near:
        return f"did you mean {' or '.join(near)}?"
    return "nothing of a similar name is known"


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
    instead (never those of the user's own code).

    Raises:
        ModelError: unknown network or arguments, code that cannot be imported. What the user's code raises itself
            passes unchanged.
    """
    lean = without_values and not is_own_code(model.name)
    with _WithoutValues(limits) if lean else nullcontext():
        if is_torchvision(model.name):
            return _torchvision(model, num_classes, channels)
        factory = _PLAIN.get(model.name) or _import_function(model.name)
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


def complete_args(model: ModelSpec) -> dict[str, Any]:
    """Complete `model.args` by what else torchvision has to be told so that it builds the same network."""
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


def _import_function(path: str) -> Callable[..., nn.Module]:
    module_name, _, function_name = path.partition(":")
    if not all(part.isidentifier() for part in (*module_name.split("."), function_name)):
        raise ModelError(f"model.name '{path}' is not of the form package.module:function")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise ModelError(
            f"model.name {path}: cannot import '{module_name}' ({error}); "
            "it must be importable where tlsweep is started, on every worker"
        ) from error
    function = getattr(module, function_name, None)
    if not callable(function):
        raise ModelError(f"model.name {path}: '{module_name}' has no function '{function_name}'")
    return cast(Callable[..., nn.Module], function)


def _check_arguments(model: ModelSpec, factory: Callable[..., nn.Module]) -> None:
    signature = inspect.signature(factory)
    try:
        signature.bind(2, 3, 8, **model.args)
    except TypeError as error:
        known = ", ".join(list(signature.parameters)[3:]) or "none"
        raise ModelError(f"model.args {model.args} do not fit {model.name}: {error}; known: {known}") from None
