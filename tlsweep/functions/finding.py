"""Finds the function that a spec names."""

import importlib
import inspect
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from tlsweep.errors import FunctionError

if TYPE_CHECKING:
    from tlsweep.functions.trial import Trial

FineTuning: TypeAlias = "Callable[[Trial], object]"
"""A fine-tuning function; what it returns is not used."""


def find_function(path: str) -> FineTuning:
    """Import `package.module:function`; what the module raises itself passes through untouched.

    Raises:
        FunctionError: there is no such module or function, or it cannot be called with a trial alone.
    """
    module_name, _, name = path.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not (module_name + ".").startswith(error.name + "."):
            raise  # found, but something that it imports is missing
        raise FunctionError(
            f"trial = {path}: there is no module '{error.name}'; start tlsweep in the folder that holds it, or add "
            f"that to PYTHONPATH (searched: {', '.join(sys.path[:3])}, …)"
        ) from error
    function = getattr(module, name, None)
    if not callable(function):
        raise FunctionError(f"trial = {path}: the module has no function '{name}' ({module.__file__})")
    try:
        inspect.signature(function).bind(None)
    except ValueError:  # of some callables that are not written in Python nobody knows
        pass
    except TypeError as error:
        raise FunctionError(
            f"trial = {path}: it is called with a tlsweep.Trial and nothing else, and cannot be ({error}); write "
            f"def {name}(trial: tlsweep.Trial) -> None"
        ) from None
    found: FineTuning = function
    return found


def fingerprint(path: str) -> str:
    """SHA-256 of the file that holds the function; what it imports is not in it."""
    function = inspect.unwrap(find_function(path))
    module = sys.modules[path.partition(":")[0]]
    try:
        file = inspect.getsourcefile(function)
    except TypeError:  # an object that is called, such as a functools.partial, has none
        file = module.__file__
    return sha256(Path(file).read_bytes() if file else path.encode()).hexdigest()
