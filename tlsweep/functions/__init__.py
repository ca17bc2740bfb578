"""Runs a fine-tuning function of the user's own, without Ray: what it is given, what it reports, its states."""

from tlsweep.functions.finding import find_function
from tlsweep.functions.running import FunctionReport, run_function
from tlsweep.functions.trial import Trial

__all__ = ["FunctionReport", "Trial", "find_function", "run_function"]
