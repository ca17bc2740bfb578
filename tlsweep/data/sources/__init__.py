"""The sources of labelled images, one file each."""

from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType
from typing import Final

from tlsweep.data.items import Found
from tlsweep.spec import DataSpec

FINDERS: Final[Mapping[str, str]] = MappingProxyType({
    "digits": "digits:find_digits",
    "folder": "folder:find_folder",
    "table": "table:find_table",
    "torchvision": "torchvision_sets:find_torchvision",
    "python": "python_function:find_python",
})  # fmt: skip
"""Module and function of each `data.source`, imported when needed, since torchvision takes seconds."""


def find_images(data: DataSpec) -> Found:
    """Find the images of a spec's `data:` section, and decode none that is a file.

    Raises:
        DataError: they are not there, or are not what the source takes.
    """
    module, function = FINDERS[data.source].split(":")
    found: Found = getattr(import_module(f"{__name__}.{module}"), function)(data)
    return found
