"""The state of a trial of the user's own function: plain values and tensors, on disk as torch.save writes them."""

import io
import sys
from collections.abc import Hashable, Mapping
from numbers import Integral, Real
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tlsweep.errors import FunctionError, ResultsError
from tlsweep.models.archives import NotReadable, load_archive
from tlsweep.text import one_line, shortened

FORMAT = 1


class State(NamedTuple):
    """What a function gave as its state, and where it stood."""

    epoch: int
    """Epochs completed."""
    content: Any


def copied(content: Any) -> Any:
    """A copy in memory of its own, on the CPU: training goes on in the original. Tensors that are one stay one.

    Raises:
        FunctionError: there is something in it that `torch.load(weights_only=True)` would not read back.
    """
    return _Copier().copy(content, "state")


class _Copier:
    """Copies one state."""

    def __init__(self) -> None:
        self._tensors: dict[Hashable, Tensor] = {}

    def copy(self, value: Any, path: str) -> Any:
        match value:
            case Tensor() if value.layout is torch.strided:
                which = (value.device, value.data_ptr(), value.shape, value.stride(), value.dtype)
                if which not in self._tensors:
                    self._tensors[which] = value.detach().to("cpu", copy=True)
                return self._tensors[which]
            case Mapping():
                return {self._key(name, path): self.copy(item, f"{path}[{name!r}]") for name, item in value.items()}
            case list() | tuple():
                items = [self.copy(item, f"{path}[{at}]") for at, item in enumerate(value)]
                return tuple(items) if isinstance(value, tuple) else items
            case None | bool():
                return value
            case str():
                # Pickle writes an object that it has met before as a reference, so that equal names that are one object
                # give other bytes than equal names that are two.
                return sys.intern(str(value))
            case Integral():
                return int(value)
            case Real():  # numpy's too, which torch.load would not read
                return float(value)
        raise FunctionError(
            f"{shortened(path)} is a {type(value).__module__}.{type(value).__qualname__}, which "
            "torch.load(weights_only=True) does not read back; keep tensors, numbers, text, None, and lists and dicts "
            "of these, such as state_dict() gives"
        )

    def _key(self, name: Any, path: str) -> Any:
        if isinstance(name, str | int | float | bool):
            return sys.intern(name) if type(name) is str else name
        raise FunctionError(
            f"{shortened(path)} has the key {shortened(repr(name))}; the keys of a state are text or numbers"
        )


def dump_state(state: State) -> bytes:
    """A state, whose content `copied` gave, as bytes; equal states give equal bytes."""
    # Into memory: torch.save writes the name of a file into each record of its archive (torch/serialization.py).
    buffer = io.BytesIO()
    torch.save({"function": FORMAT, "epoch": state.epoch, "state": state.content}, buffer)
    return buffer.getvalue()


def load_state(content: bytes) -> State:
    """Read what `dump_state` wrote, without running code; all tensors are on the CPU.

    Raises:
        ResultsError: it is damaged, or no state of a function.
    """
    try:
        fields = load_archive(io.BytesIO(content), len(content))
        if fields["function"] != FORMAT or not isinstance(fields["epoch"], int):
            raise TypeError("format")
        return State(fields["epoch"], fields["state"])
    except (NotReadable, KeyError, TypeError) as error:
        reason = f"it {error}" if isinstance(error, NotReadable) else "it holds something else"
        raise ResultsError(
            f"a checkpoint of {len(content)} bytes cannot be read ({one_line(reason)}); remove it, and its trial "
            "begins again"
        ) from error
