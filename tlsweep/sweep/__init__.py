"""Many trials on Ray."""

from tlsweep.sweep.driver import launch, resume
from tlsweep.sweep.observer import Several
from tlsweep.sweep.plan import Plan, debug_trial, make_plan

__all__ = ["Plan", "Several", "debug_trial", "launch", "make_plan", "resume"]
