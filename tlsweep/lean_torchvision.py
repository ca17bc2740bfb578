"""Imports torchvision without torch's compiler.

torchvision's operators for detection ask the compiler a question when they run, and import it for that at their top
(torchvision 0.29, ops/roi_align.py): 1.1 of the 1.2 s of processor time that `import torchvision` takes in each process
(measured), although no classification network has such an operator.
"""

import sys
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any

_COMPILER = "torch._dynamo"
_PARTS = (_COMPILER, f"{_COMPILER}.utils")
_ASKED_WHEN_RUN = "is_compile_supported"
"""The one function that torchvision imports from there and does not call before an operator runs."""


class _StandIn(ModuleType):
    """A part of the compiler while torchvision is imported; what else is asked of it, it has from the part itself."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # of the module itself, as the import system and inspect ask for it
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        return _later(self.__name__, name) if name == _ASKED_WHEN_RUN else getattr(_itself(self.__name__), name)


def import_torchvision() -> None:
    """Have torchvision imported; call it before `from torchvision import …`.

    The compiler is imported by whoever needs it, then or later: it is as if torchvision had not.
    """
    if "torchvision" in sys.modules:
        return
    absent = [part for part in _PARTS if part not in sys.modules]
    sys.modules.update({part: _StandIn(part) for part in absent})
    try:
        import_module("torchvision")
    finally:
        _give_way()


def _later(part: str, name: str) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        return getattr(_itself(part), name)(*args, **kwargs)

    return call


def _itself(part: str) -> ModuleType:
    _give_way()
    return import_module(part)


def _give_way() -> None:
    for part in _PARTS:
        if isinstance(sys.modules.get(part), _StandIn):
            del sys.modules[part]
