"""Weights into a module: strictly, but for the head, with each tensor copied once."""

import difflib
import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

import numpy as np
import torch
from torch import nn

from tlsweep.errors import ModelError
from tlsweep.models.architectures import AUXILIARY_HEADS, keeps_memory
from tlsweep.models.archives import first_line
from tlsweep.models.timm_networks import fitted_to, is_timm, settings_of
from tlsweep.models.weights import Array, Weights
from tlsweep.text import one_line

_EXAMPLES = 3
_PARALLEL = "module."
"""Taken away when the file was read, though a network may call a part of itself so."""
_COUNTERS = "num_batches_tracked"
"""The counters of batch norm; files from before torch 0.4.1 lack them."""

# torchvision's DenseNet files still have the names of torch 0.3 (`norm.1`, now `norm1`); torchvision/models/densenet.py
# renames them the same way.
_OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.([12]\.)")


def load_backbone(module: nn.Module, name: str, heads: Sequence[str], weights: Weights) -> None:
    """Copy all of `weights` but the heads into `module`, the network called `name`; the heads stay as they are.

    The first convolution is adapted between grey and colour. Parameters on the meta device get memory here.

    Raises:
        ModelError: weights of another network; the message has the first three differences.
    """
    own = module.state_dict()
    in_heads = _prefixes(heads)
    skipped = (*in_heads, *AUXILIARY_HEADS.get(name, ()))
    wanted = [key for key in own if not key.startswith(skipped) and not key.endswith(_COUNTERS)]
    try:
        tensors = _named_as(wanted, weights.tensors)
        if is_timm(name):
            tensors = _named_as(wanted, _as_timm_loads(module, name, tensors))
        tensors = {key: array for key, array in tensors.items() if not key.startswith(skipped)}
        _adapt_channels(module, tensors)
        state: OrderedDict[str, Any] = OrderedDict(
            (key, _copy(key, array, own.get(key))) for key, array in tensors.items()
        )
    except ModelError as error:
        raise ModelError(f"the weights ({weights.origin}) do not fit {name}: {error}") from None
    state.update((key, tensor) for key, tensor in own.items() if key.startswith(in_heads))
    try:
        load_state(module, state, assign=not keeps_memory(name))
    except RuntimeError as error:
        raise ModelError(
            f"the weights ({weights.origin}) do not fit {name}: "
            f"{_differences(own, state) or one_line(first_line(error))}; "
            f"give weights of the same network with the same model.args{_size_of(name)}"
        ) from None


def _size_of(name: str) -> str:
    """What else timm's weights may depend on, where it does not convert them (PiT, LeViT)."""
    if is_timm(name) and settings_of(name).fixed_input_size:
        return ", or set data.image_size to the side that they were trained at"
    return ""


def _prefixes(heads: Sequence[str]) -> tuple[str, ...]:
    """What the names of the heads' tensors begin with; a network that is its head has nothing else."""
    return tuple(f"{head}." if head else "" for head in heads)


def _as_timm_loads(module: nn.Module, name: str, tensors: Mapping[str, Array]) -> Mapping[str, Array]:
    state = {key: torch.from_numpy(np.array(array)) for key, array in tensors.items()}
    try:
        return {key: tensor.numpy() for key, tensor in fitted_to(module, name, state).items()}
    except Exception:  # weights of another network, which are told by their names and shapes
        return tensors


def load_state(module: nn.Module, state: Mapping[str, torch.Tensor], *, assign: bool, strict: bool = True) -> None:
    """Call `module.load_state_dict`, for every network.

    Args:
        assign: whether the tensors themselves become those of the module. The user's code may tie parameters, which
            only copying in place keeps; and an optimizer goes on with those that it was given.
    """
    versioned = OrderedDict(state)
    # MNASNet refuses a state dict that does not tell its version.
    vars(versioned)["_metadata"] = {"": {"version": module._version}}
    module.load_state_dict(versioned, assign=assign, strict=strict)


def check_values(module: nn.Module, heads: Sequence[str], weights: Weights) -> None:
    """What `load_backbone` made of `weights` gives numbers: their type too can overflow in that of the network.

    Raises:
        ModelError: NaN, infinite parameters, or variances below 0; the message has the first tensor.
    """
    parameters = {name for name, _ in module.named_parameters()}
    faults = [
        f"'{one_line(name)}' has {fault}"
        for name, tensor in module.state_dict().items()
        if not name.startswith(_prefixes([head for head in heads if head])) and not tensor.is_meta
        if (fault := _no_numbers(name, tensor, parameter=name in parameters))
    ]
    if faults:
        more = f" (and {len(faults) - 1} more tensors)" if len(faults) > 1 else ""
        raise ModelError(
            f"the weights ({weights.origin}) are damaged: {faults[0]}{more}, with which nothing can be learned; "
            "give others, from before the training that made them diverged"
        )


def _no_numbers(name: str, tensor: torch.Tensor, *, parameter: bool) -> str:
    """Buffers may be infinite: masks are."""
    if not tensor.is_floating_point():
        return ""
    statistic = name.endswith(("running_mean", "running_var"))
    wrong = ~tensor.isfinite() if parameter or statistic else tensor.isnan()
    if count := int(wrong.sum()):
        return f"{count:,} of {tensor.numel():,} values that are NaN or infinite"
    if name.endswith("running_var") and (count := int((tensor < 0).sum())):
        return f"{count:,} of {tensor.numel():,} variances below 0"
    return ""


def _named_as(wanted: Sequence[str], tensors: Mapping[str, Array]) -> dict[str, Array]:
    """The tensors under the names that the network wants, whatever a wrapper put before each.

    torch.compile puts `_orig_mod.` there, Lightning `model.`, frameworks of self-supervision `backbone.`, and so on:
    any prefix will do with which all that is wanted is there. What else such a file has is of other parts, an old
    head or a loss. Without a prefix the file is the network's own, and must be it to the last name.

    Raises:
        ModelError: the network is there under several prefixes.
    """
    names = set(wanted)
    renamed = {key if key in names else _OLD_DENSENET.sub(r"\1\2", key): array for key, array in tensors.items()}
    if not wanted or all(key in renamed for key in wanted):
        return renamed
    if all(key.startswith(_PARALLEL) and key.removeprefix(_PARALLEL) in renamed for key in wanted):
        return {_PARALLEL + key: array for key, array in renamed.items()}
    prefixes = {key.removesuffix(wanted[0]) for key in renamed if key.endswith(f".{wanted[0]}")}
    whole = sorted(prefix for prefix in prefixes if all(prefix + key in renamed for key in wanted))
    if len(whole) > 1:
        raise ModelError(
            f"the network is in them {len(whole)} times, under {', '.join(map(one_line, whole))}; save the one that is "
            "to be fine-tuned alone"
        )
    best = whole[0] if whole else max(prefixes, key=lambda prefix: _matches(prefix, wanted, renamed), default="")
    if not whole and _matches("", wanted, renamed) >= _matches(best, wanted, renamed):
        return renamed
    return {key.removeprefix(best): array for key, array in renamed.items() if key.startswith(best)}


def _matches(prefix: str, wanted: Sequence[str], tensors: Mapping[str, Array]) -> int:
    return sum(prefix + key in tensors for key in wanted)


def _copy(key: str, array: Array, like: torch.Tensor | None) -> torch.Tensor:
    """Shared memory is read-only: the one copy made here becomes the parameter (torch.tensor is 100 times slower).

    Raises:
        ModelError: whole numbers where the network has fractions: quantisation left them, without their scales.
    """
    tensor = torch.from_numpy(np.array(array))
    if like is None:
        return tensor
    if like.is_floating_point() and not tensor.is_floating_point():
        raise ModelError(f"{key} is of {array.dtype}, not {like.dtype}; give weights that are not quantised")
    return tensor.to(like.dtype)


def _adapt_channels(module: nn.Module, tensors: dict[str, Array]) -> None:
    """Convert filters between grey and colour: summed, so that a grey image gives what its RGB copy gave; or spread
    over three."""
    layers = ((name, layer) for name, layer in module.named_modules() if isinstance(layer, nn.Conv2d | nn.Linear))
    name, first = next(layers)
    key = f"{name}.weight"
    if key not in tensors or not isinstance(first, nn.Conv2d) or tensors[key].ndim != 4:
        return
    before, after = tensors[key].shape[1], first.in_channels
    if (before, after) == (3, 1):
        tensors[key] = tensors[key].sum(axis=1, keepdims=True, dtype=np.float32)
    elif (before, after) == (1, 3):
        tensors[key] = np.repeat(tensors[key] / 3, 3, axis=1)


def _differences(own: Mapping[str, torch.Tensor], given: Mapping[str, torch.Tensor]) -> str:
    """Three of them, of each kind one before a second, and how many more there are."""
    missing = [key for key in own if key not in given and not key.endswith(_COUNTERS)]
    unexpected = [key for key in given if key not in own]
    shapes = [
        f"{one_line(key)} has shape {tuple(given[key].shape)}, not {tuple(own[key].shape)}"
        for key in own
        if key in given and given[key].shape != own[key].shape
    ]
    likely = [f"missing {key}{_nearest(key, unexpected)}" for key in missing[:_EXAMPLES]]
    foreign = [f"unexpected {one_line(key)}" for key in unexpected[:_EXAMPLES]]
    in_turn = [problem for some in zip_longest(shapes, likely, foreign) for problem in some if problem is not None][
        :_EXAMPLES
    ]
    more = len(shapes) + len(missing) + len(unexpected) - len(in_turn)
    return f"{'; '.join(in_turn)}{f' and {more} more' if more else ''}"


def _nearest(key: str, others: Sequence[str]) -> str:
    near = difflib.get_close_matches(key, others, n=1)
    return f" (there is {one_line(near[0])})" if near else ""
