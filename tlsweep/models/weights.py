"""Pretrained weights: from torchvision or a file to read-only numpy arrays with a checksum."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file

from tlsweep.errors import ModelError
from tlsweep.models.architectures import is_torchvision
from tlsweep.spec import ModelSpec

Array = npt.NDArray[Any]

_NUMPY_FLOATS = (torch.float16, torch.float32, torch.float64)


@dataclass(frozen=True, eq=False)
class Weights:
    """A network's parameters and buffers. Plain numpy, so that Ray's object store shares them without a copy."""

    tensors: Mapping[str, Array]
    """By name as in `module.state_dict()`; read-only."""
    origin: str
    """Where they come from, for people: `torchvision ResNet18_Weights.IMAGENET1K_V1`, `file resnet18.pth`, ..."""
    sha256: str
    """Of names, types, shapes and bytes, in the order of the names."""

    @classmethod
    def from_state_dict(cls, state: Mapping[str, torch.Tensor], origin: str) -> "Weights":
        """A copy of `state`; what numpy has no type for (bfloat16) becomes float32, which holds it exactly."""
        tensors = {name: _read_only_copy(tensor) for name, tensor in state.items()}
        return cls(tensors, origin, _checksum(tensors))


def _read_only_copy(tensor: torch.Tensor) -> Array:
    tensor = tensor.detach().cpu()
    if tensor.is_floating_point() and tensor.dtype not in _NUMPY_FLOATS:
        tensor = tensor.float()
    array = np.array(tensor.numpy(), order="C")
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
    """torchvision's weights of this network by name, `DEFAULT` among them; empty for other networks.

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
    path = Path(model.weights).expanduser()
    if path.is_file():
        return read_weights(path)
    names = f"a name of {model.name}'s weights ({', '.join(known)})" if known else f"a name ({model.name} has none)"
    raise ModelError(
        f"model.weights '{model.weights}' is neither {names} nor a .pth, .pt or .safetensors file that exists; "
        "give one of them, or none for random weights"
    )


def _download(entry: Any) -> Weights:
    try:
        state = entry.get_state_dict(progress=False, check_hash=True, map_location="cpu", weights_only=True)
    except (OSError, HTTPException, RuntimeError, UnpicklingError, EOFError) as error:
        raise ModelError(
            f"the weights {entry} could not be fetched from {entry.url} ({first_line(error)}); "
            "give model.weights the path of a .pth or .safetensors file instead"
        ) from error
    return Weights.from_state_dict(state, f"torchvision {entry}")


def read_weights(path: Path) -> Weights:
    """The state dict in a .pth, .pt or .safetensors file, bare or under `state_dict` or `model`; no code in it runs.

    Raises:
        ModelError: a file that cannot be read, or that holds something else.
    """
    try:
        content = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except Exception as error:  # a damaged file can fail anywhere in zip, pickle or storage code
        foreign = isinstance(error, UnpicklingError) and "global" in str(error).lower()
        fault = "holds Python objects, which are never executed" if foreign else f"cannot be read ({first_line(error)})"
        raise ModelError(
            f"weights file {path} {fault}; save the tensors alone: torch.save(module.state_dict(), path)"
        ) from error
    return Weights.from_state_dict(_state_dict(content, path), f"file {path.name}")


def _state_dict(content: Any, path: Path) -> dict[str, torch.Tensor]:
    for wrapper in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not isinstance(content, Mapping) or not content:
        raise ModelError(f"weights file {path} holds a {type(content).__name__}; it must hold a state dict")
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, torch.Tensor):
            raise ModelError(
                f"weights file {path} is no state dict: {name!r} is a {type(value).__name__}, not a tensor; "
                "save the tensors alone: torch.save(module.state_dict(), path)"
            )
    # What nn.DataParallel and DistributedDataParallel put before each name.
    wrapped = all(name.startswith("module.") for name in content)
    return {name.removeprefix("module.") if wrapped else name: value for name, value in content.items()}


def first_line(error: BaseException) -> str:
    """What an exception says first; those of torch go on for pages."""
    return (str(error).splitlines() or [type(error).__name__])[0]
