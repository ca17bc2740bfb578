"""Proposed bounds on the screen, and in a copy of the spec: what `tlsweep check --suggest` does beside checking."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from tlsweep.planning.suggested_spec import write_suggestion
from tlsweep.terminal.columns import Column, fit_table, named_lines
from tlsweep.terminal.console import line
from tlsweep.terminal.format import counted, duration, score, value

if TYPE_CHECKING:
    from tlsweep.planning.suggestion import RangeTest, Suggestion

_BLOCKS = "▁▂▃▄▅▆▇█"


def hand_over_suggestion(
    console: Console, suggestion: "Suggestion", spec: str, overrides: Iterable[str], path: Path
) -> None:
    """Write a copy of the spec with the proposed bounds, and show what they rest on."""
    write_suggestion(suggestion, spec, overrides, path)
    console.print()
    print_suggestion(console, suggestion, path)


def print_forecast(console: Console, images: tuple[int, int], seconds_per_image: float) -> None:
    """How long measuring will take, before it begins."""
    least, most = (duration(count * seconds_per_image) for count in images)
    span = f"{least} to {most}" if least != most else f"about {least}"
    console.print()
    console.print(line(f"Measuring where to search takes {span}, longer on a busy machine."))


def print_suggestion(console: Console, suggestion: "Suggestion", path: Path) -> None:
    """The loss against the learning rate, the noise scale, and the bounds that follow."""
    if suggestion.range_tests:
        _print_range_tests(console, suggestion.range_tests)
        console.print()
    before, after = map(_scale, suggestion.noise_scales)
    low, high = suggestion.batch_sizes
    lr, per = suggestion.lr, suggestion.per
    at = f" at batches of {per.at}, times (batch size / {per.at}) ** {per.power:g}" if per else ""
    lines = [
        ("noise scale", f"{before} at first, {after} after 100 steps of {suggestion.noise_batch_size}; "
                        f"{counted(suggestion.train_images, 'training image')}"),
        ("lr", f"{value(lr[0])} to {value(lr[1])}{at}" if lr else "as it is: the optimizer finds it"),
        ("batch size", f"{low} to {high}"),
        *_apart(suggestion),
        ("written to", f"{path}; 'tlsweep launch {path}' searches there"),
    ]  # fmt: skip
    console.print(named_lines(lines))


def _print_range_tests(console: Console, tests: Sequence["RangeTest"]) -> None:
    """The numbers, and below them the curves: they are wide, and a table leaves out what has no room."""
    columns: list[Column[RangeTest]] = [
        Column("lr range test", _name, right=False),
        Column("loss", lambda test: score(test.smoothed[0])),
        Column("from lr", lambda test: value(test.lower)),
        Column("until lr", lambda test: value(test.upper)),
        Column("lowest loss", lambda test: score(min(test.smoothed))),
    ]
    console.print(fit_table(columns, tests, console.width))
    console.print()
    curves = [(_name(test), f"{test.lrs[0]:.0e} {sparkline(test.smoothed)} {test.lrs[-1]:.0e}") for test in tests]
    console.print(line("the loss, while lr grows with each step", "bold"))
    console.print(named_lines(curves))


def _name(test: "RangeTest") -> str:
    return f"{test.optimizer}, batches of {test.batch_size}"


def _apart(suggestion: "Suggestion") -> list[tuple[str, str]]:
    """What to write where small and large batches want other learning rates."""
    from tlsweep.planning.suggestion import lr_per_batch_size

    per = lr_per_batch_size(suggestion)
    if per is None:
        return []
    small, large = suggestion.batch_sizes
    ends = " and ".join(f"{value(test.upper)} ({_name(test)})" for test in suggestion.range_tests)
    low, high = per.extremes
    return [
        ("look at", f"useful lr end at {ends}: many of the lr above are too high for batches of {small}, or too "
                    f"low for those of {large}. To search each batch size within its own range, write under train:"),
        ("", f"lr: {{per: batch_size, power: {per.power:g}, loguniform: [{value(low)}, {value(high)}]}}"),
    ]  # fmt: skip


def _scale(scale: float) -> str:
    if math.isnan(scale):
        return "beyond measure (the gradient drowns in its noise)"
    return f"{scale:.3g}"


def sparkline(values: Sequence[float], width: int = 25) -> str:
    """Values from left to right as blocks; what is above the first one is cut off."""
    shown = [values[at * (len(values) - 1) // (width - 1)] for at in range(width)]
    low, high = min(shown), shown[0]
    # Just below 8, so that the highest value has the last block and not one beyond it.
    return "".join(_BLOCKS[min(7, int(7.999 * (number - low) / ((high - low) or 1)))] for number in shown)
