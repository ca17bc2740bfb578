"""Many trials on Ray."""

from tlsweep.sweep.driver import launch, resume
from tlsweep.sweep.observer import Several
from tlsweep.sweep.plan import Plan, debug_trial, make_plan
from tlsweep.sweep.ranking import Ranking, make_ranking

__all__ = ["Plan", "Ranking", "Several", "debug_trial", "launch", "make_plan", "make_ranking", "resume"]
