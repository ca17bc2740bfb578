"""The presets on the screen."""

from collections.abc import Mapping
from itertools import takewhile

from rich.console import Console

from tlsweep.terminal.columns import named_lines


def print_presets(console: Console, presets: Mapping[str, str]) -> None:
    """The name of each, and the comment that it opens with: the command and the measured result."""
    shown = [(name, [*opening_comment(text).splitlines(), ""]) for name, text in presets.items()]
    console.print(named_lines([("" if at else name, text) for name, lines in shown for at, text in enumerate(lines)]))


def opening_comment(text: str) -> str:
    """The comment lines at the head of a YAML text, without their marks."""
    lines = takewhile(lambda line: line.startswith("#"), text.splitlines())
    return "\n".join(line.removeprefix("#").strip() for line in lines).strip()
