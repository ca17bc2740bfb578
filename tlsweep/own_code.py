"""Finds a function of the user's own that a spec names."""

import importlib
import sys
from typing import Any

from tlsweep.errors import UserError


def refuse_main(path: str, said: str, wrong: type[UserError]) -> None:
    """Refuse what lies in the script or notebook that is run, where workers have to import it: they run another one.

    Raises:
        UserError: of the class `wrong`: it does.
    """
    if path.startswith("__main__:"):
        raise wrong(
            f"{said}: no worker can import from the script or notebook that is run; put the function into a file of "
            "its own, and write package.module:function"
        )


def import_function(path: str, said: str, wrong: type[UserError]) -> Any:
    """Import `package.module:function`; what the module raises itself passes through untouched.

    Args:
        path: its name.
        said: the field of the spec with what it says, for messages.
        wrong: the class of what is raised.

    Raises:
        UserError: of the class `wrong`: there is no such module or function, or `path` is no name of one.
    """
    module_name, _, name = path.partition(":")
    if module_name.endswith(".py"):
        dotted = module_name.removesuffix(".py").strip("/.").replace("/", ".")
        raise wrong(f"{said}: {module_name} is a file's name, and a module's is needed: write {dotted}:{name}")
    if not all(part.isidentifier() for part in (*module_name.split("."), name)):
        raise wrong(f"{said}: that is not of the form package.module:function")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not (module_name + ".").startswith(error.name + "."):
            raise  # found, but something that it imports is missing
        raise wrong(
            f"{said}: there is no module '{error.name}'; start tlsweep in the folder that holds it, or add that to "
            f"PYTHONPATH (searched: {', '.join(sys.path[:3])}, …)"
        ) from error
    if not hasattr(module, name):
        raise wrong(f"{said}: the module has no function '{name}' ({module.__file__})")
    function = getattr(module, name)
    if not callable(function):
        raise wrong(f"{said}: '{name}' is no function, but of type {type(function).__name__} ({module.__file__})")
    return function
