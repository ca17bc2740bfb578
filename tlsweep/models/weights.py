"""Pretrained weights: from torchvision or a file to read-only numpy arrays with a checksum."""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from http.client import HTTPException
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from tlsweep.errors import ModelError
from tlsweep.models.architectures import is_torchvision
from tlsweep.models.archives import fault
from tlsweep.models.statistics import Statistics, exported_statistics, torchvision_statistics
from tlsweep.models.weights_files import read_state_dict
from tlsweep.spec import ModelSpec
from tlsweep.text import in_words, one_line

Array = npt.NDArray[Any]

_NUMPY_FLOATS = (torch.float16, torch.float32, torch.float64)


@dataclass(frozen=True, eq=False)
class Weights:
    """A network's parameters and buffers. Plain numpy, so that Ray's object store shares them without a copy."""

    tensors: Mapping[str, Array]
    """The tensors by name, as in `module.state_dict()`; read-only."""
    origin: str
    """Their origin, for people: `torchvision ResNet18_Weights.IMAGENET1K_V1`, `file resnet18.pth`, ..."""
    sha256: str
    """A hash of names, types, shapes and bytes, in the order of the names."""
    statistics: Statistics | None = None
    """How images were normalised when they were trained; None where that is not known."""

    @classmethod
    def from_state_dict(
        cls, state: Mapping[str, torch.Tensor], origin: str, statistics: Statistics | None = None
    ) -> "Weights":
        """A copy of `state`; what numpy has no type for (bfloat16) becomes float32, which holds it exactly."""
        tensors = {name: _read_only_copy(tensor) for name, tensor in state.items()}
        return cls(tensors, origin, _checksum(tensors), statistics)


def _read_only_copy(tensor: torch.Tensor) -> Array:
    tensor = tensor.detach().cpu()
    if tensor.is_floating_point() and tensor.dtype not in _NUMPY_FLOATS:
        tensor = tensor.float()
    # In one order of memory: the checksum of a network in channels-last format is that of the same one without.
    array = np.array(tensor.numpy(), order="C")
    # As it comes out of Ray's object store: what would write to it fails on one machine too.
    array.flags.writeable = False
    return array


def _checksum(tensors: Mapping[str, Array]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        array = tensors[name]
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def weights_names(model: ModelSpec) -> dict[str, Any]:
    """List torchvision's weights of this network by name, `DEFAULT` among them; empty for other networks.

    Raises:
        ModelError: an unknown network.
    """
    if not is_torchvision(model.name):
        return {}
    from torchvision import models

    return dict(models.get_model_weights(model.name).__members__)


def resolve_weights(model: ModelSpec) -> Weights | None:
    """The weights that `model.weights` names: torchvision's (downloaded once), those in a file, or None.

    Raises:
        ModelError: no such name or file, a file without a plain state dict, a download that failed.
        TypeError: a source task, whose weights are made by training.
    """
    if model.weights is None:
        return None
    if not isinstance(model.weights, str):
        raise TypeError("the weights of a source task are made by training")
    known = weights_names(model)
    if model.weights in known:
        return _download(known[model.weights])
    path = Path(os.path.expanduser(model.weights))
    if path.is_file():
        return replace(read_weights(path), statistics=exported_statistics(path) or _likely(model, known))
    names = f"a name of {model.name}'s weights ({', '.join(known)})" if known else f"a name ({model.name} has none)"
    raise ModelError(
        f"model.weights '{model.weights}' is neither {names} nor a .pth, .pt or .safetensors file that exists; "
        "give one of them, or none for random weights"
    )


def _likely(model: ModelSpec, known: Mapping[str, Any]) -> Statistics | None:
    """How images were normalised for weights in a file, which say nothing of it: as for torchvision's of that
    network, nearly all of which were trained with ImageNet's statistics. None for other networks."""
    if "DEFAULT" not in known:
        return None
    return torchvision_statistics(
        known["DEFAULT"], f"as for torchvision's weights of {model.name}, which the file fits"
    )


def _download(entry: Any) -> Weights:
    try:
        # The names of torchvision's files hold the first digits of their SHA-256, which torch.hub compares.
        state = entry.get_state_dict(progress=False, check_hash=True, map_location="cpu", weights_only=True)
    except (OSError, HTTPException, RuntimeError, UnpicklingError, EOFError) as error:
        raise ModelError(
            f"the weights {entry} could not be fetched from {entry.url} ({_reason(error)}); "
            "give model.weights the path of a .pth or .safetensors file instead"
        ) from error
    return Weights.from_state_dict(
        state, f"torchvision {entry}", torchvision_statistics(entry, f"as torchvision says of {entry}")
    )


def _reason(error: Exception) -> str:
    """Why a download failed: the network, or what it brought."""
    return one_line(in_words(error)) if isinstance(error, OSError) else fault(error)


def read_weights(path: Path) -> Weights:
    """The weights in a .pth, .pt or .safetensors file, however a training script wrapped them; no code in it runs.

    Raises:
        ModelError: a file that cannot be read, or that holds something else.
    """
    state, chosen = read_state_dict(path)
    return Weights.from_state_dict(state, f"file {one_line(path.name)}{chosen and f', {chosen}'}")
