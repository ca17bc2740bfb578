"""Runs many trials on Ray: gives them slots, asks the rules, writes down, goes on after failures."""

from tlsweep.sweep.debugging import debug_trial
from tlsweep.sweep.driver import launch, resume

__all__ = ["debug_trial", "launch", "resume"]
