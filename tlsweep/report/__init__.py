"""Makes the tables of a sweep, from its Parquet files alone."""

from tlsweep.report.arms import ArmResult, arm_results, gain
from tlsweep.report.best import Best, find_best
from tlsweep.report.by_metric import tables_by
from tlsweep.report.classes import ClassResult, ClassResults, class_results
from tlsweep.report.confirmation import Confirmation, Contender, find_confirmation
from tlsweep.report.curve import CurvePoint, learning_curve
from tlsweep.report.describe import describe_model, describe_runs, describe_search, unplaced_heads
from tlsweep.report.intervals import Interval
from tlsweep.report.landscape import Cell, Landscape, landscape
from tlsweep.report.lineage import Segment, lineage
from tlsweep.report.recipe import recipe, write_recipe
from tlsweep.report.repair import faults, repair
from tlsweep.report.rungs import CutCost, cut_costs
from tlsweep.report.soup import Soup, find_soup
from tlsweep.report.tables import Failure, Leader, SweepTables, failures, leaders, load_tables
from tlsweep.report.totals import Totals, totals
from tlsweep.report.trial import TrialLife, trial_life

__all__ = [
    "ArmResult", "Best", "Cell", "ClassResult", "ClassResults", "Confirmation", "Contender", "CurvePoint", "CutCost",
    "Failure", "Interval", "Landscape", "Leader", "Segment", "Soup", "SweepTables", "Totals", "TrialLife",
    "arm_results", "class_results", "cut_costs", "describe_model", "describe_runs", "describe_search", "failures",
    "faults", "find_best", "find_confirmation", "find_soup", "gain", "landscape", "leaders", "learning_curve",
    "lineage", "load_tables", "recipe", "repair", "tables_by", "totals", "trial_life", "unplaced_heads", "write_recipe",
]  # fmt: skip
