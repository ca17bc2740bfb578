"""tlsweep: find learning rate and batch size, and how both should change, when a pretrained network is fine-tuned.

The Python API: `load_spec`, `launch`, `resume`, `open_results`, `Trial`. Each is imported when it is first used, so
that `import tlsweep` costs nothing. `tlsweep.figures` draws a sweep. In a notebook `launch` and `resume` show what they
do.
"""

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tlsweep.functions import Trial
    from tlsweep.report import figures
    from tlsweep.spec import load_spec
    from tlsweep.store import open_results
    from tlsweep.sweep import launch, resume

__all__ = ["Trial", "figures", "launch", "load_spec", "open_results", "resume"]

_HOMES = {
    "Trial": "tlsweep.functions",
    "launch": "tlsweep.sweep",
    "load_spec": "tlsweep.spec",
    "open_results": "tlsweep.store",
    "resume": "tlsweep.sweep",
}


def __getattr__(name: str) -> Any:
    if name == "figures":
        return import_module("tlsweep.report.figures")
    if name in _HOMES:
        found = getattr(import_module(_HOMES[name]), name)
        # Only there, where the kernel has imported more than this module already.
        if name in ("launch", "resume") and "ipykernel" in sys.modules:
            from tlsweep.terminal import notebook

            return notebook.shown(found) if notebook.in_notebook() else found
        return found
    raise AttributeError(f"module 'tlsweep' has no attribute '{name}'")
