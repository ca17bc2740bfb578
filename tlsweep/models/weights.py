"""Pretrained weights: from torchvision, timm or a file to read-only numpy arrays with a checksum."""

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
from tlsweep.models.timm_networks import is_timm, pretrained_settings
from tlsweep.models.timm_weights import HUB, Fetched, fetch_from_hub, fetch_tagged, timm_statistics
from tlsweep.models.weights_files import read_state_dict
from tlsweep.spec import ModelSpec
from tlsweep.text import in_words, listed, one_line

Array = npt.NDArray[Any]

_NUMPY_FLOATS = (torch.float16, torch.float32, torch.float64)


@dataclass(frozen=True, eq=False)
class Weights:
    """A network's parameters and buffers. Plain numpy, so that Ray's object store shares them without a copy."""

    tensors: Mapping[str, Array]
    """The tensors by name, as in `module.state_dict()`; read-only."""
    origin: str
    """Their origin, for people: `torchvision ResNet18_Weights.IMAGENET1K_V1`,
    `timm vit_tiny_patch16_224.augreg_in21k_ft_in1k`, `file resnet18.pth`, ..."""
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
    """List torchvision's or timm's weights of this network by name, `DEFAULT` among them; empty for other networks.

    Raises:
        ModelError: an unknown network.
    """
    if is_timm(model.name):
        return dict(pretrained_settings(model.name))
    if not is_torchvision(model.name):
        return {}
    from torchvision import models

    return dict(models.get_model_weights(model.name).__members__)


def resolve_weights(model: ModelSpec) -> Weights | None:
    """The weights that `model.weights` names: torchvision's or timm's (downloaded once), those in a file, or None.

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
        entry = known[model.weights]
        return _read(fetch_tagged(model.name, entry)) if is_timm(model.name) else _download(entry)
    if model.weights.startswith(HUB):
        return _read(fetch_from_hub(model, model.weights))
    path = Path(os.path.expanduser(model.weights))
    if path.is_file():
        return replace(read_weights(path), statistics=exported_statistics(path) or _likely(model, known))
    hub = f", nor {HUB}owner/name" if is_timm(model.name) else ""
    names = (
        f"a name of {model.name}'s weights ({listed(list(known), 12)})" if known else f"a name ({model.name} has none)"
    )
    raise ModelError(
        f"model.weights '{model.weights}' is neither {names}{hub} nor a .pth, .pt or .safetensors file that "
        "exists; "
        "give one of them, or none for random weights"
    )


def _likely(model: ModelSpec, known: Mapping[str, Any]) -> Statistics | None:
    """How images were normalised for weights in a file, which say nothing of it: as for torchvision's or timm's
    of that network, nearly all of torchvision's with ImageNet's statistics. None for other networks."""
    if "DEFAULT" not in known:
        return None
    if is_timm(model.name):
        return timm_statistics(known["DEFAULT"], f"as for timm's weights of {model.name}, which the file fits")
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


def _read(fetched: Fetched) -> Weights:
    return replace(read_weights(fetched.path), origin=fetched.origin, statistics=fetched.statistics)


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
