"""Draws what a launch left on the terminal, for the README: `python tests/bench/picture.py results/digits`.

The folder is that of `tlsweep launch digits --local`.
"""

import io
import re
import sys
from pathlib import Path

from tlsweep.store import open_results
from tlsweep.terminal import print_outcome
from tlsweep.terminal.console import SafeConsole

PICTURE = Path("results/reference/digits.svg")
WIDTH = 100
"""Characters of a line: what the tables of the digits need."""


def draw(results: Path) -> str:
    """The outcome of a sweep as SVG."""
    console = SafeConsole(io.StringIO(), width=WIDTH, record=True, force_terminal=True)
    print_outcome(console, open_results(results))
    svg = console.export_svg(title="tlsweep launch digits --local", unique_id="tlsweep")
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)  # fonts that are fetched, which no README may
    return "\n".join(line.rstrip() for line in svg.splitlines()) + "\n"


if __name__ == "__main__":
    PICTURE.write_text(draw(Path(sys.argv[1])), encoding="utf-8")
