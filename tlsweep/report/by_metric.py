"""The tables of a sweep, ranked by another metric than the one that it was searched by."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import get_args

import numpy as np

from tlsweep.errors import ResultsError
from tlsweep.report.arms import winner
from tlsweep.report.rows import ReportRows, Row
from tlsweep.report.tables import SweepTables, check, load_tables
from tlsweep.spec import MAIN_ARM, ImageSpec
from tlsweep.spec.metrics import Metric, metric_sign
from tlsweep.spec.search.study import SOUP_ARM
from tlsweep.store import Results
from tlsweep.store.schema import ERRORS, METRICS
from tlsweep.text import one_line, shortened


def tables_by(results: Results, metric: str | None, more: Sequence[str] = ()) -> SweepTables:
    """The tables of a sweep as if it had been searched by `metric`: each trial stands at its best epoch by that.

    What met the test split is left out for an arm whose winner by `metric` is another one.

    Args:
        results: The sweep.
        metric: A column of reports.parquet; None: the sweep's own.
        more: Further columns of reports.parquet, as of `load_tables`.

    Raises:
        ResultsError: there is no such metric, or no report of the sweep has it.
    """
    search = results.spec.search
    if metric is None or metric == search.metric:
        return load_tables(results, more)
    if not isinstance(results.spec, ImageSpec):
        raise ResultsError(
            f"--metric {shortened(one_line(metric))}: what a function of yours reports is ranked by search.metric "
            f"alone, which is {search.metric} here"
        )
    tables = load_tables(results, (*METRICS, *ERRORS, *more))
    _check_metric(tables, metric)
    search = search.model_copy(update={"metric": metric})
    rows = _best_rows(tables, metric)
    ranked = replace(
        tables,
        spec=tables.spec.model_copy(update={"search": search}),
        trials=[{**row, **_reached(rows.get(row["trial"], {}))} for row in tables.trials],
        searched_by=tables.spec.search.metric,
    )
    check(ranked, results)
    untested = _without_tests(ranked, tables.spec.arms)
    others = [arm for arm in tables.spec.arms if not _same_winner(tables, untested, arm)]
    if MAIN_ARM in others:  # against whose winner the average was set
        others.append(SOUP_ARM)
    return _without_tests(ranked, others)


def _check_metric(tables: SweepTables, metric: str) -> None:
    """Raises:
    ResultsError: see `tables_by`.
    """
    known = get_args(Metric)
    name, by = one_line(tables.name), tables.spec.search.metric
    if metric not in known:
        near = difflib.get_close_matches(metric[:60], known, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ResultsError(f"--metric {shortened(one_line(metric))}: must be one of {', '.join(known)}{hint}")
    if tables.reports and not _has(tables.reports, metric):
        there = ", ".join(name for name in known if _has(tables.reports, name))
        raise ResultsError(
            f"--metric {metric}: no report of '{name}' has it, as it is not defined there or the version that ran the "
            f"sweep did not know it; it was searched by {by}, and has {there or 'no finite metric'}"
        )


def _has(reports: ReportRows, metric: str) -> bool:
    return bool(np.isfinite(reports.numbers(metric)).any())


def _best_rows(tables: SweepTables, metric: str) -> Mapping[str, Row]:
    """The best report of each trial that has one, as the sweep itself would have found it (`SweepState`)."""
    reports = tables.reports
    trials, names = reports.codes("trial")
    values, losses = metric_sign(metric) * reports.numbers(metric), reports.numbers("val_loss")
    sound = np.flatnonzero(np.isfinite(values) & np.isfinite(losses))
    # As `rank` has it, the best of each trial last; of equals that is the first.
    order = sound[np.lexsort((-sound, -losses[sound], values[sound], trials[sound]))]
    last = np.flatnonzero(np.diff(trials[order], append=-1))
    return {names[trials[at]]: row for at, row in zip(order[last], reports.at(order[last]), strict=True)}


def _reached(best: Row) -> Row:
    """The columns of a trial that are of its best epoch; null without one. Its checkpoint was kept of another."""
    figures = {f"best_{name}": best.get(name) for name in (*METRICS, *ERRORS)}
    moment = {"best_epoch": best.get("epoch"), "best_generation": best.get("generation")}
    return figures | moment | {"checkpoint": None, "checkpoint_digest": None}


def _same_winner(before: SweepTables, after: SweepTables, arm: str) -> bool:
    """Whether the network that met the test split is the best by the other metric too."""
    if arm == SOUP_ARM:
        return True
    tested, best = winner(before, arm), winner(after, arm)
    if tested is None or best is None:
        return False
    return (tested.trial, tested.generation, tested.best_epoch) == (best.trial, best.generation, best.best_epoch)


def _without_tests(tables: SweepTables, arms: Sequence[str]) -> SweepTables:
    return replace(
        tables,
        events=[
            event for event in tables.events if event["kind"] not in ("evaluated", "souped") or event["arm"] not in arms
        ],
        predictions=[row for row in tables.predictions if row["arm"] not in arms],
    )
