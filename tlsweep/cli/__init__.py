"""Reads the command line. Nothing is decided here, and nothing heavy is imported before a verb needs it."""

# In the order of --help.
from tlsweep.cli import (  # isort: skip
    launching,
    planning,
    reading,
    inference,
    jobs,
    references,
)
from tlsweep.cli.program import app, main

__all__ = ["app", "inference", "jobs", "launching", "main", "planning", "reading", "references"]
