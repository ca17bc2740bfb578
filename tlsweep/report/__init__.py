"""Tables of a sweep, from its Parquet files alone."""

from tlsweep.report.arms import ArmResult, arm_results, gain
from tlsweep.report.best import Best, find_best
from tlsweep.report.describe import describe_model, describe_search
from tlsweep.report.landscape import Cell, Landscape, landscape
from tlsweep.report.lineage import Segment, lineage
from tlsweep.report.recipe import recipe, write_recipe
from tlsweep.report.tables import Failure, Leader, SweepTables, failures, leaders, load_tables
from tlsweep.report.totals import Totals, totals

__all__ = [
    "ArmResult", "Best", "Cell", "Failure", "Landscape", "Leader", "Segment", "SweepTables", "Totals", "arm_results",
    "describe_model", "describe_search", "failures", "find_best", "gain", "landscape", "leaders", "lineage",
    "load_tables", "recipe", "totals", "write_recipe",
]  # fmt: skip
