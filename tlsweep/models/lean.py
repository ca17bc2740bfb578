"""Building networks without drawing the values that are about to be replaced, and no larger than allowed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import init
from torch.overrides import TorchFunctionMode

from tlsweep.errors import ModelError


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


# Some of torch.nn.init's functions are told of themselves, and what they call is then not.
_DRAWING = {
    *(torch.Tensor.normal_, torch.Tensor.uniform_),
    *(init.normal_, init.uniform_, init.kaiming_uniform_),
}


def _drawn_to(args: Sequence[Any], kwargs: Mapping[str, Any]) -> torch.Tensor:
    tensor: torch.Tensor = args[0] if args else kwargs["tensor"]
    return tensor


class WithoutValues(TorchFunctionMode):
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
        # Nothing would be drawn, but in half a millisecond of Python each; and to draw from a normal distribution of a
        # tensor without memory, torch imports its compiler (torch 2.15, _refs/__init__.py).
        if func in _DRAWING and _drawn_to(args, kwargs).is_meta:
            return _drawn_to(args, kwargs)
        return func(*args, **kwargs)


class Undrawn(TorchFunctionMode):
    """Parameters have memory, and whatever was in it: timm computes with tensors that it has just made (tables of
    positions, standardised filters), which the meta device would lose."""

    def __init__(self, limits: Limits | None = None) -> None:
        super().__init__()
        self._limits = limits

    def __torch_function__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if self._limits is not None and func in (torch.empty, torch.zeros, torch.ones):
            # Counted before there is memory for it.
            self._limits.spend(torch.empty(*args, **{**kwargs, "device": "meta"}).numel())
        # `trunc_normal_` is made of the last two (torch/nn/init.py).
        if func in (torch.Tensor.normal_, torch.Tensor.uniform_, torch.Tensor.erfinv_):
            return args[0]
        return func(*args, **kwargs)
