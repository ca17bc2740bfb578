"""Finds the function that a spec names."""

import inspect
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from tlsweep.errors import FunctionError
from tlsweep.own_code import import_function, refuse_main

if TYPE_CHECKING:
    from tlsweep.functions.trial import Trial

FineTuning: TypeAlias = "Callable[[Trial], object]"
"""A fine-tuning function; what it returns is not used."""


def find_function(path: str, field: str = "trial") -> FineTuning:
    """Import `package.module:function`, which a field of the spec names; what the module raises itself passes through
    untouched.

    Raises:
        FunctionError: there is no such module or function, or it cannot be called with a trial alone.
    """
    refuse_main(path, f"{field} = {path}", FunctionError)
    function = import_function(path, f"{field} = {path}", FunctionError)
    try:
        inspect.signature(function).bind(None)
    except ValueError:  # of some callables that are not written in Python nobody knows
        pass
    except TypeError as error:
        raise FunctionError(
            f"{field} = {path}: it is called with a tlsweep.Trial and nothing else, and cannot be ({error}); write "
            f"def {path.partition(':')[2]}(trial: tlsweep.Trial) -> None"
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
