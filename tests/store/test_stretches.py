"""schedule.parquet: how lr and batch size changed, and what it brought."""

import math
from pathlib import Path
from typing import Any

import duckdb
import pytest
from builders import SweepBuilder, make_ended_sweep, make_spec

from tlsweep.errors import ResultsError
from tlsweep.report import repair
from tlsweep.store import Results, SweepFolder
from tlsweep.store.stretches import stretches_of


@pytest.fixture
def builder(tmp_path: Path) -> SweepBuilder:
    """Two members, an epoch of each."""
    builder = SweepBuilder(tmp_path)
    for number, (lr, accuracy) in enumerate([(0.01, 0.7), (0.1, 0.5)]):
        builder.create(f"t{number:04d}", number, lr=lr, batch_size=32)
        builder.report(f"t{number:04d}", accuracy)
    return builder


def rows(builder: SweepBuilder, metric: str = "val_accuracy", sign: int = 1) -> dict[tuple[str, int], dict[str, Any]]:
    found = stretches_of(builder.records).rows(metric, sign)
    return {(row["trial"], row["generation"]): row for row in found}


def test_a_trial_begins_with_what_was_sampled_from_nothing(builder: SweepBuilder) -> None:
    row = rows(builder)["t0000", 0]
    assert (row["began"], row["from_epoch"], row["to_epoch"], row["lr"], row["batch_size"]) == (
        "sampled",
        0,
        1,
        0.01,
        32,
    )
    assert (row["parent_trial"], row["parent_lr"], row["start_value"], row["gain"]) == (None, None, None, None)
    assert row["end_value"] == 0.7


def test_a_copy_begins_where_its_parent_stood_and_tells_what_it_gained(builder: SweepBuilder) -> None:
    builder.exploit("t0001", "t0000", 1, lr=0.0125)
    builder.event("perturbed", "t0001", lr={"from": 0.01, "to": 0.0125})
    assert rows(builder)["t0001", 1]["gain"] is None  # it has not been trained yet
    builder.report("t0001", 0.8)
    row = rows(builder)["t0001", 1]
    assert (row["began"], row["parent_trial"], row["parent_generation"]) == ("perturbed", "t0000", 0)
    assert (row["parent_lr"], row["lr"], row["from_epoch"], row["to_epoch"]) == (0.01, 0.0125, 1, 2)
    assert (row["start_value"], row["end_value"], row["gain"]) == (0.7, 0.8, pytest.approx(0.1))
    assert rows(builder)["t0001", 0]["end_value"] == 0.5  # what it was before stays


def test_a_copy_with_its_parents_values_was_exploited_alone(builder: SweepBuilder) -> None:
    builder.exploit("t0001", "t0000", 1)
    builder.event("perturbed", "t0001")
    assert rows(builder)["t0001", 1]["began"] == "exploited"


def test_a_change_of_any_other_value_is_a_perturbation_too(builder: SweepBuilder) -> None:
    builder.exploit("t0001", "t0000", 1, weight_decay=0.5)
    builder.event("perturbed", "t0001", weight_decay={"from": 0.0, "to": 0.5})
    assert rows(builder)["t0001", 1]["began"] == "perturbed"


def test_of_a_loss_the_gain_is_how_much_it_fell(tmp_path: Path) -> None:
    builder = SweepBuilder(tmp_path, make_spec(search={"strategy": "pbt", "population": 2, "metric": "val_loss"}))
    for number, loss in enumerate((0.5, 0.9)):
        builder.create(f"t{number:04d}", number)
        builder.report(f"t{number:04d}", 0.5, loss=loss)
    builder.exploit("t0001", "t0000", 1)
    builder.report("t0001", 0.5, loss=0.3)
    row = rows(builder, "val_loss", -1)["t0001", 1]
    assert (row["start_value"], row["end_value"], row["gain"]) == (0.5, 0.3, pytest.approx(0.2))


def test_a_step_of_a_recipe_begins_where_the_one_before_it_ended(builder: SweepBuilder) -> None:
    details = {"donor": "t0000", "donor_generation": 0, "donor_epoch": 1, "checkpoint": "checkpoints/t0000/a.pt",
               "digest": "0" * 64, "recipe": "to epoch 2"}  # fmt: skip
    values = dict(builder.state.trials["t0000"].hyperparameters) | {"lr": 0.001}
    builder.event("exploited", "t0000", generation=1, hyperparameters=values, **details)
    builder.event("perturbed", "t0000", lr={"from": 0.01, "to": 0.001})
    builder.report("t0000", 0.75)
    row = rows(builder)["t0000", 1]
    assert (row["began"], row["start_value"], row["gain"]) == ("recipe", 0.7, pytest.approx(0.05))


def test_what_diverged_has_no_value(builder: SweepBuilder) -> None:
    builder.report("t0000", math.nan, loss=math.nan)
    row = rows(builder)["t0000", 0]
    assert (row["to_epoch"], row["end_value"]) == (2, None)


def test_where_the_copied_checkpoint_was_damaged_it_began_with_the_older_one(builder: SweepBuilder) -> None:
    builder.report("t0000", 0.75)
    builder.exploit("t0001", "t0000", 2)
    event = builder.event("restored", "t0001", passed_over=["a.pt"], epoch=1, reason="damaged")
    event["epoch"] = 1
    row = rows(builder)["t0001", 1]
    assert (row["from_epoch"], row["start_value"]) == (1, None)


def test_events_of_a_journal_that_somebody_forged_raise_nothing(builder: SweepBuilder) -> None:
    copied = builder.exploit("t0001", "t0000", 1)
    copied["details"] |= {"donor": "nobody", "donor_score": "much"}
    builder.event("perturbed", "t0001", generation=7, lr={})
    row = rows(builder)["t0001", 1]
    assert (row["parent_trial"], row["parent_lr"], row["start_value"]) == ("nobody", None, None)


def test_when_lr_changed_and_what_it_brought_is_one_plain_query_also_after_a_repair(tmp_path: Path) -> None:
    folder = make_ended_sweep(tmp_path)
    file = folder / "schedule.parquet"
    gained = (
        f"select trial, from_epoch, parent_lr, lr, round(gain, 2) from '{file}' where began = 'perturbed' order by 1"
    )
    expected = [("t0001", 2, 0.0125, 0.01, 0.13), ("t0002", 1, 0.01, 0.0125, 0.12)]
    assert duckdb.sql(gained).fetchall() == expected
    file.unlink()
    results = Results(SweepFolder(folder))
    assert results.schedule is None  # as an earlier version left it
    with pytest.raises(ResultsError, match=r"schedule.parquet' is missing; 'tlsweep repair demo.*' makes it again"):
        results.to_pandas("schedule")
    repair(results.folder)
    assert results.schedule is not None
    assert duckdb.sql(gained).fetchall() == expected
