"""The presets on the screen."""

from collections.abc import Mapping
from itertools import takewhile

from rich.console import Console

from tlsweep.terminal.columns import named_lines

_COMMAND = "tlsweep "


def print_presets(console: Console, presets: Mapping[str, str]) -> None:
    """The name of each, and the comment that it opens with: the command and the measured result."""
    shown = [(name, [*_paragraphs(opening_comment(text)), ""]) for name, text in presets.items()]
    lines = [("" if at else name, text) for name, paragraphs in shown for at, text in enumerate(paragraphs)]
    console.print(named_lines(lines[:-1]))


def _paragraphs(text: str) -> list[str]:
    """The lines of a comment joined again, to be broken where the terminal ends; commands stay lines of their own."""
    found: list[str] = []
    for line in text.splitlines():
        if found and line and found[-1] and not any(part.startswith(_COMMAND) for part in (found[-1], line)):
            found[-1] += f" {line}"
        else:
            found.append(line)
    return found


def opening_comment(text: str) -> str:
    """The comment lines at the head of a YAML text, without their marks."""
    lines = takewhile(lambda line: line.startswith("#"), text.splitlines())
    return "\n".join(line.removeprefix("#").strip() for line in lines).strip()
