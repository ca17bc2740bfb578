"""How a sweep and its trials look where Python shows them: a line, and in a notebook a small table."""

from collections.abc import Iterable
from html import escape

from tlsweep.text import one_line


def html_table(title: str, rows: Iterable[tuple[str, str]]) -> str:
    """A table of names and texts, which may be of others: markup in them is text, and controls are seen."""
    cells = "".join(
        f"<tr><th style='text-align: left'>{_text(name)}</th><td>{_text(text)}</td></tr>" for name, text in rows
    )
    return f"<table><caption>{_text(title)}</caption>{cells}</table>"


def figure(value: object) -> str:
    """A number with as many digits as people compare; a text as it is."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _text(text: str) -> str:
    return escape(one_line(text))
