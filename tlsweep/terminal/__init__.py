"""Shows on a terminal what a sweep does and found."""

from tlsweep.terminal.best import print_best
from tlsweep.terminal.console import make_console
from tlsweep.terminal.outcome import draw_outcome, print_outcome
from tlsweep.terminal.plan import print_plan
from tlsweep.terminal.ranking import print_ranking
from tlsweep.terminal.report import print_report
from tlsweep.terminal.views import View, make_view

__all__ = [
    "View", "draw_outcome", "make_console", "make_view", "print_best", "print_outcome", "print_plan", "print_ranking",
    "print_report",
]  # fmt: skip
