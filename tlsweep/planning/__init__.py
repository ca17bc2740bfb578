"""Looks ahead before a sweep: what it will take (`check`), where to search (`--suggest`), which backbone (`rank`)."""

from tlsweep.planning.plan import Plan, make_plan
from tlsweep.planning.ranking import Ranking, make_ranking

__all__ = ["Plan", "Ranking", "make_plan", "make_ranking"]
