"""Weights into a module: strictly, but for the head, with each tensor copied once."""

import re
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from tlsweep.errors import ModelError
from tlsweep.models.architectures import AUXILIARY_HEADS, is_own_code
from tlsweep.models.weights import Array, Weights

# torchvision's DenseNet files still have the names of torch 0.3 (`norm.1`, now `norm1`); torchvision/models/densenet.py
# renames them the same way.
_OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.([12]\.)")


def load_backbone(module: nn.Module, name: str, head: str, weights: Weights) -> None:
    """Copy all of `weights` but the head into `module`, the network called `name`; the head stays as it is.

    The first convolution is adapted between grey and colour. Parameters on the meta device get memory here.

    Raises:
        ModelError: weights of another network; the message has the first three differences.
    """
    own = module.state_dict()
    in_head = f"{head}." if head else ""
    skipped = (in_head, *AUXILIARY_HEADS.get(name, ()))
    tensors = {
        key if key in own else _OLD_DENSENET.sub(r"\1\2", key): array
        for key, array in weights.tensors.items()
        if not key.startswith(skipped)
    }
    _adapt_channels(module, tensors)
    state: OrderedDict[str, Any] = OrderedDict((key, _copy(array, own.get(key))) for key, array in tensors.items())
    state.update((key, tensor) for key, tensor in own.items() if key.startswith(in_head))
    # MNASNet refuses a state dict that does not tell its version.
    vars(state)["_metadata"] = {"": {"version": module._version}}
    try:
        # The user's code may tie parameters, which only copying in place keeps.
        module.load_state_dict(state, assign=not is_own_code(name))
    except RuntimeError as error:
        differences = _differences(own, state) or [str(error)]
        more = f" and {len(differences) - 3} more" if len(differences) > 3 else ""
        raise ModelError(
            f"the weights ({weights.origin}) do not fit {name}: {'; '.join(differences[:3])}{more}; "
            "give weights of the same network with the same model.args"
        ) from None


def _copy(array: Array, like: torch.Tensor | None) -> torch.Tensor:
    """Shared memory is read-only: the one copy made here becomes the parameter (torch.tensor is 100 times slower)."""
    tensor = torch.from_numpy(np.array(array))
    return tensor if like is None else tensor.to(like.dtype)


def _adapt_channels(module: nn.Module, tensors: dict[str, Array]) -> None:
    """Between grey and colour: summed, so that a grey image gives what its RGB copy gave; or spread over three."""
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


def _differences(own: Mapping[str, torch.Tensor], given: Mapping[str, torch.Tensor]) -> list[str]:
    missing = [f"missing {key}" for key in own if key not in given and not key.endswith("num_batches_tracked")]
    unexpected = [f"unexpected {key}" for key in given if key not in own]
    shapes = [
        f"{key} has shape {tuple(given[key].shape)}, not {tuple(own[key].shape)}"
        for key in own
        if key in given and given[key].shape != own[key].shape
    ]
    return shapes + missing + unexpected
