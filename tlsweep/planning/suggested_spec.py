"""The copy of a spec that has the proposed bounds."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from tlsweep.errors import SpecError
from tlsweep.spec.rewriting import rewrite_spec

if TYPE_CHECKING:
    from tlsweep.planning.suggestion import Suggestion


def suggested_path(spec: str, file: Path | None, *, wanted: bool = True) -> Path | None:
    """Find where the copy goes: `file`, or beside the spec (of a preset: here) with `-suggested` added to its name;
    None where none is wanted.

    Raises:
        SpecError: something is there already, or no folder for it; or a file, but no suggestion.
    """
    if not wanted:
        if file is not None:
            raise SpecError(f"check takes one spec; '{file}' is where --suggest would write: add it, or leave that out")
        return None
    source = Path(os.path.expanduser(spec))
    beside = source.parent if source.is_file() else Path()
    path = Path(os.path.expanduser(file)) if file else beside / f"{source.stem}-suggested.yaml"
    if path.exists():
        raise SpecError(f"'{path}' exists already; remove it, or name another file: check {spec} --suggest FILE")
    if not path.parent.is_dir():
        raise SpecError(f"there is no folder '{path.parent}'; make it, or name another: check {spec} --suggest FILE")
    return path


def rehearse_suggestion(spec: str, overrides: Iterable[str]) -> None:
    """Find out whether a copy of the spec can have other bounds, before minutes of measuring them.

    Raises:
        SpecError: it cannot.
    """
    some = {"lr": {"loguniform": [1e-4, 1e-1]}, "batch_size": {"powers_of_two": [8, 16]}}
    rewrite_spec(spec, overrides, some, "")


def write_suggestion(suggestion: "Suggestion", spec: str, overrides: Iterable[str], path: Path) -> None:
    """Write a copy of the spec with the proposed bounds, where that is a spec; comments stay.

    Raises:
        SpecError: the file cannot be written, or the bounds break a rule of the spec.
    """
    text = rewrite_spec(spec, overrides, suggestion.changes, f"{spec} with bounds measured by tlsweep check --suggest.")
    if "# Measured " in text:  # a preset, or what was made of one, says what it has reached
        text = f"# What is said here of results was reached within other bounds.\n{text}"
    try:
        # It was not there minutes ago, before the measurements; what has come since is not written over.
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise SpecError(f"cannot write '{path}' ({error.strerror}); name another file: --suggest FILE") from None
