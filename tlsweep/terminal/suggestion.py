"""Proposed bounds on the screen, and in a copy of the spec: what `tlsweep check --suggest` does beside checking."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from tlsweep.errors import SpecError
from tlsweep.spec.rewriting import rewrite_spec
from tlsweep.terminal.columns import Column, fit_table, named_lines
from tlsweep.terminal.format import counted, score, value

if TYPE_CHECKING:
    from tlsweep.sweep.suggestion import RangeTest, Suggestion

_BLOCKS = "▁▂▃▄▅▆▇█"


def suggested_path(spec: str, file: Path | None, *, wanted: bool = True) -> Path | None:
    """Where the copy goes: `file`, or beside the spec (of a preset: here) with `-suggested` added to its name; None
    where none is wanted.

    Raises:
        SpecError: something is there already, or no folder for it; or a file, but no suggestion.
    """
    if not wanted:
        if file is not None:
            raise SpecError(f"check takes one spec; '{file}' is where --suggest would write: add it, or leave that out")
        return None
    source = Path(spec).expanduser()
    path = file or (source.parent if source.is_file() else Path()) / f"{source.stem}-suggested.yaml"
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


def hand_over_suggestion(
    console: Console, suggestion: "Suggestion", spec: str, overrides: Iterable[str], path: Path
) -> None:
    """Write a copy of the spec with the proposed bounds, and show what they rest on."""
    write_suggestion(suggestion, spec, overrides, path)
    console.print()
    print_suggestion(console, suggestion, path)


def write_suggestion(suggestion: "Suggestion", spec: str, overrides: Iterable[str], path: Path) -> None:
    """Write a copy of the spec with the proposed bounds, where that is a spec; comments stay.

    Raises:
        SpecError: the file cannot be written, or the bounds break a rule of the spec.
    """
    text = rewrite_spec(spec, overrides, suggestion.changes, f"{spec} with bounds measured by tlsweep check --suggest.")
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise SpecError(f"cannot write '{path}' ({error.strerror}); name another file: --suggest FILE") from None


def print_suggestion(console: Console, suggestion: "Suggestion", path: Path) -> None:
    """The loss against the learning rate, the noise scale, and the bounds that follow."""
    if suggestion.range_tests:
        columns: list[Column[RangeTest]] = [
            Column("lr range test", lambda one: f"{one.optimizer}, batches of {one.batch_size}", right=False),
            Column("loss at first", lambda one: score(one.smoothed[0])),
            Column("falls from lr", lambda one: value(one.lower)),
            Column("lowest", lambda one: score(min(one.smoothed))),
            Column("at lr", lambda one: value(one.upper)),
            Column("lr", lambda one: f"{one.lrs[0]:.0e} {sparkline(one.smoothed)} {one.lrs[-1]:.0e}", optional=1),
        ]
        console.print(fit_table(columns, suggestion.range_tests, console.width))
        console.print()
    before, after = map(_scale, suggestion.noise_scales)
    low, high = suggestion.batch_sizes
    lr = suggestion.lr
    lines = [
        ("noise scale", f"{before} at first, {after} after 100 steps of {suggestion.noise_batch_size}; "
                        f"{counted(suggestion.train_images, 'training image')}"),
        ("lr", f"{value(lr[0])} to {value(lr[1])}" if lr else "as it is: the optimizer finds it"),
        ("batch size", f"{low} to {high}"),
        ("written to", f"{path}; 'tlsweep launch {path}' searches there"),
    ]  # fmt: skip
    console.print(named_lines(lines))


def _scale(scale: float) -> str:
    return "beyond measure (the gradient drowns in its noise)" if math.isnan(scale) else f"{scale:.3g}"


def sparkline(values: Sequence[float], width: int = 25) -> str:
    """Values from left to right as blocks; what is above the first one is cut off."""
    shown = [values[at * (len(values) - 1) // (width - 1)] for at in range(width)]
    low, high = min(shown), shown[0]
    return "".join(_BLOCKS[min(7, int(7.999 * (one - low) / ((high - low) or 1)))] for one in shown)
