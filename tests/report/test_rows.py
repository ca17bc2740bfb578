"""Reports as columns are reports as rows."""

import math
from collections import Counter
from pathlib import Path

import numpy as np
from builders import make_sweep

from tlsweep.report import load_tables, totals
from tlsweep.report.rows import ReportRows
from tlsweep.store.schema import REPORTS


def test_columns_rows_and_the_table_say_the_same(tmp_path: Path) -> None:
    results = make_sweep(tmp_path)
    reports = ReportRows(results.read_reports([*REPORTS, "a column of a later version"]))
    rows, frame = list(reports), results.to_pandas("reports")
    assert (len(reports), [reports[-1]], list(reports[2:5])) == (len(frame), rows[-1:], rows[2:5])
    assert reports.at([3, 1]) == [rows[3], rows[1]]
    for column in ("epoch", "lr", "val_accuracy", "elapsed", "time"):
        wanted = [math.nan if row[column] is None else row[column] for row in rows]
        assert np.array_equal(reports.numbers(column), wanted, equal_nan=True)
    assert [time.timestamp() for time in frame.time] == reports.numbers("time").tolist()
    assert np.isnan(reports.numbers("a column of a later version")).all()
    codes, names = reports.codes("trial")
    assert [names[code] for code in codes] == [row["trial"] for row in rows] == frame.trial.tolist()
    for trial, count in Counter(frame.trial).items():
        assert [row["epoch"] for row in results.reports_of(trial)] == frame[frame.trial == trial].epoch.tolist()
        assert len(results.reports_of(trial)) == count
    assert results.reports_of("t9999") == []


def test_seconds_are_those_of_rows_and_events_also_without_the_clock(tmp_path: Path) -> None:
    tables = load_tables(make_sweep(tmp_path))
    for event in tables.events:
        event["elapsed"] = None  # as earlier versions wrote them
    times = [row["time"] for row in (*tables.reports, *tables.events)]
    assert totals(tables).seconds == max(times) - min(times)
