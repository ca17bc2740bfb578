"""A spec before its fields are known: nothing but None, booleans, numbers, text, lists and mappings by name."""

import math
import re
from collections.abc import Mapping
from typing import Any

from tlsweep.errors import SpecError
from tlsweep.spec.yaml_text import MAX_DEPTH
from tlsweep.text import shortened

MAX_INTEGER = 2**64
"""More than any seed that is drawn somewhere. Beyond it no table can hold a number, and from 10^309 on no float."""

_UNUSABLE = re.compile("[\0\ud800-\udfff]")
"""No path can have the one; the others are what Python makes of a path's bytes that are no text (PEP 383)."""


def check_plain(value: Any, path: tuple[str, ...] = ()) -> None:
    """Look through a tree for what no field can have, whichever it is. Other objects are left to the fields' own rules.

    Raises:
        SpecError: a name that is no text, a number too large or not finite, text that no file holds, too many levels.
    """
    if len(path) > MAX_DEPTH:
        raise SpecError(f"{_shown(path[:3])}…: lies more than {MAX_DEPTH} levels deep")
    if isinstance(value, Mapping):
        for name, below in value.items():
            if not isinstance(name, str):
                raise SpecError(f"{_shown(path)}: {type(name).__name__} where a field's name belongs, which is text")
            if mistake := _mistake(name):
                raise SpecError(f"{_shown(path)}: the name{mistake}")
            check_plain(below, (*path, name))
    elif isinstance(value, list | tuple):
        for at, below in enumerate(value):
            check_plain(below, (*path, str(at)))
    elif mistake := _mistake(value):
        raise SpecError(f"{_shown(path)}{mistake}")


def _mistake(value: Any) -> str | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int) and abs(value) > MAX_INTEGER:
        return ": must be a number below 2^64"
    if isinstance(value, float) and not math.isfinite(value):
        return f" = {value}: must be a finite number"
    if isinstance(value, str) and _UNUSABLE.search(value):
        return f" = '{shortened(value)}': holds a NUL character, or bytes that are no UTF-8; rename it"
    return None


def _shown(path: tuple[str, ...]) -> str:
    return shortened(".".join(shortened(name) for name in path), 120) or "the spec"
