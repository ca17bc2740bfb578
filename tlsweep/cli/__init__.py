"""The verbs. Nothing is decided here, and nothing heavy is imported before a verb needs it."""

# In the order of --help.
from tlsweep.cli import launching, planning, reading, jobs  # isort: skip
from tlsweep.cli.program import app, main

__all__ = ["app", "jobs", "launching", "main", "planning", "reading"]
