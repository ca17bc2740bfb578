"""Files of weights, whose origin is not to be trusted: what is a state dict in them, and what they are if they hold
none."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from tlsweep.errors import ModelError
from tlsweep.models.archives import NotReadable, first_line, load_archive
from tlsweep.text import one_line, shortened

WRAPPERS = (
    "state_dict", "model", "model_state_dict", "net", "network", "weights", "params", "module",
    "ema_state_dict", "state_dict_ema", "model_ema", "ema", "params_ema",
)  # fmt: skip
"""The keys under which training scripts keep a state dict, that of the network before the average of its steps."""
_COUNTER = "n_averaged"
"""The counter of torch.optim.swa_utils.AveragedModel, beside the network that it averaged."""

_SIGNATURES = {
    b"version https://git-lfs": "is a pointer of Git LFS, not the file itself: fetch it with 'git lfs pull'",
    b"<": "is a web page (HTML or XML), not the file itself: download it again",
    b"\x1f\x8b": "is compressed with gzip: unpack it",
    b"BZh": "is compressed with bzip2: unpack it",
    b"\xfd7zXZ": "is compressed with xz: unpack it",
    b"\x28\xb5\x2f\xfd": "is compressed with Zstandard: unpack it",
    b"\x89HDF": "is HDF5, as Keras writes it; weights of PyTorch are needed",
    b"\x93NUMPY": "is a numpy array; weights of PyTorch are needed",
    b"GGUF": "is GGUF; weights of PyTorch are needed",
    b"{": "is JSON, such as the index of a network in several files: give one file that has all of it",
}


def read_state_dict(path: Path) -> tuple[dict[str, torch.Tensor], str]:
    """The state dict in a .pth, .pt or .safetensors file, bare or under one of `WRAPPERS`; no code in it runs.

    Returns:
        Plain tensors by name, and what they were chosen from, if there was more than one.

    Raises:
        ModelError: a file that cannot be read, or that holds something else.
    """
    shown = one_line(str(path))
    try:
        if not path.is_file():  # opening a FIFO would wait for ever
            raise NotReadable("is no file")
        state, chosen = _unwrapped(_content(path))
        return {name: _plain(name, tensor) for name, tensor in state.items()}, chosen
    except _OtherFormat as error:
        raise ModelError(f"weights file {shown} {error}") from None
    except OSError as error:
        raise ModelError(f"weights file {shown} cannot be read: {error.strerror}") from error
    except NotReadable as error:
        raise ModelError(
            f"weights file {shown} {error}; save the tensors alone: torch.save(module.state_dict(), path)"
        ) from error


class _OtherFormat(Exception):
    """What a file is that was never one of PyTorch's, as the rest of a sentence that its name begins."""


def _content(path: Path) -> Any:
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(512)
        is_safetensors = _is_safetensors(start, size)
        # Not of safetensors, whose first bytes are a number: 0x3C20 would be a web page's ' <'.
        if not is_safetensors and (what := _other_format(start)):
            raise _OtherFormat(what)
        file.seek(0)
        if path.suffix != ".safetensors" and not is_safetensors:
            return load_archive(file, size)
    try:
        return load_file(path)
    except Exception as error:  # whatever a damaged header makes of it
        raise NotReadable(f"cannot be read as safetensors ({shortened(first_line(error), 160)})") from error


def _other_format(start: bytes) -> str | None:
    """What a file is that begins so, if that is known and no weights."""
    if not start:
        return "cannot be read: it is empty"
    if start[257:262] == b"ustar":
        return "is a tar file: unpack it"
    bare = start.lstrip(b"\xef\xbb\xbf \t\r\n")
    return next((what for first, what in _SIGNATURES.items() if bare.startswith(first)), None)


def _is_safetensors(start: bytes, size: int) -> bool:
    return start[8:9] == b"{" and int.from_bytes(start[:8], "little") + 8 <= size


def _unwrapped(content: Any) -> tuple[dict[str, torch.Tensor], str]:
    """The state dict within its wrappings, without what nn.DataParallel and the like put before each name."""
    chosen = ""
    while isinstance(content, Mapping):
        found = [key for key in WRAPPERS if isinstance(content.get(key), Mapping)]
        if not found:
            break
        if len(found) > 1:
            chosen = f"{found[0]} (of {', '.join(found)})"
        content = content[found[0]]
    if not isinstance(content, Mapping) or not content:
        held = "nothing" if isinstance(content, Mapping) else f"a {type(content).__name__}"
        raise NotReadable(f"holds {held}; it must hold a state dict")
    for name, value in content.items():
        if not isinstance(name, str):
            raise NotReadable(f"is no state dict: its name {shortened(repr(name))} is no text")
        if not isinstance(value, torch.Tensor):
            keys = f" (there is {_some(content)})" if isinstance(value, Mapping) else ""
            raise NotReadable(f"is no state dict: {name!r:.80} is a {type(value).__name__}, not a tensor{keys}")
    names = set(content) - {_COUNTER}
    if names and all(name.startswith("module.") for name in names):
        return {name.removeprefix("module."): content[name] for name in content if name in names}, chosen
    return dict(content), chosen


def _some(content: Mapping[Any, Any]) -> str:
    return one_line(", ".join(f"{key!r:.40}" for key in list(content)[:5]))


def _plain(name: str, tensor: torch.Tensor) -> torch.Tensor:
    """The tensor, if numbers of a network can be in it."""
    kinds = {
        "sparse": tensor.layout is not torch.strided and not tensor.is_nested,
        "nested": tensor.is_nested,
        "quantised": tensor.is_quantized,
        "without values (on the meta device)": tensor.is_meta,
        f"complex ({tensor.dtype})": tensor.is_complex(),
        f"a {type(tensor).__name__}": type(tensor) not in (torch.Tensor, torch.nn.Parameter),
    }
    if kind := next((kind for kind, found in kinds.items() if found), None):
        raise NotReadable(f"cannot be used, '{one_line(name)}' is {kind}; plain tensors of real numbers are needed")
    try:
        return _as_numpy_has_it(tensor.detach().resolve_neg())
    except (TypeError, RuntimeError) as error:
        raise NotReadable(f"cannot be used, '{one_line(name)}' is of {tensor.dtype}, which does not convert") from error


def _as_numpy_has_it(tensor: torch.Tensor) -> torch.Tensor:
    """What numpy has no type for (bfloat16) becomes float32, which holds it exactly."""
    known = (torch.float16, torch.float32, torch.float64)
    exact = tensor.float() if tensor.is_floating_point() and tensor.dtype not in known else tensor
    exact[:0].numpy() if exact.ndim else exact.numpy()
    return exact
