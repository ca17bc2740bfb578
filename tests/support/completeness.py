"""What every sweep must leave, whatever happened to it."""

import json

import pandas as pd

from tlsweep.store import Results, Status


def assert_complete(results: Results) -> pd.DataFrame:
    """No (trial, generation, epoch) missing or doubled, every trial in a final state; returns the reports."""
    reports = results.to_pandas("reports")
    assert not reports.duplicated(["trial", "generation", "epoch"]).any()
    exploits = results.to_pandas("events").query("kind == 'exploited'")
    begins = {(row.trial, row.generation): json.loads(row.details)["donor_epoch"] for row in exploits.itertuples()}
    for key, rows in reports.groupby(["trial", "generation"]):
        first = begins.get(key, 0) + 1
        assert rows.epoch.tolist() == list(range(first, first + len(rows)))
    trials = results.to_pandas("trials")
    schedule = results.to_pandas("schedule").set_index(["trial", "generation"])
    assert schedule.index.is_unique
    ends = reports.groupby(["trial", "generation"]).last()
    assert (
        schedule.loc[ends.index, ["to_epoch", "lr", "batch_size"]].values == ends[["epoch", "lr", "batch_size"]]
    ).all(axis=None)
    assert set(schedule.index.get_level_values("trial")) == set(trials.trial)
    assert all(Status(status).final for status in trials.status)
    assert set(reports.trial) <= set(trials.trial)
    return reports
