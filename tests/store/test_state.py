"""The state is a fold: it says what the records say, and the tables say the same."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from builders import SweepBuilder

from tlsweep.errors import ResultsError
from tlsweep.spec import Hyperparameters
from tlsweep.store import Status, StoredCheckpoint, SweepState
from tlsweep.store.tables import TableWriter, arrow_schema, read_table

VALUES = Hyperparameters().model_dump()


def event(kind: str, trial: str, *, epoch: int = 0, generation: int = 0, **details: Any) -> dict[str, Any]:
    if kind == "created":
        details = {"number": int(trial[1:]), "hyperparameters": VALUES} | details
    return {
        "type": "event", "stage": "pbt", "arm": "main", "trial": trial, "generation": generation, "kind": kind,
        "epoch": epoch, "details": details, "time": 1.5, "elapsed": 0.25,
    }  # fmt: skip


def report(trial: str, epoch: int, accuracy: float, *, loss: float = 1.0, generation: int = 0) -> dict[str, Any]:
    return {
        "type": "report", "stage": "pbt", "arm": "main", "trial": trial, "generation": generation,
        "parent_trial": None, "epoch": epoch, "samples": 10 * epoch, "step": epoch, **VALUES, "scheduled_lr": 0.1,
        "micro_batch": 1, "train_loss": loss, "train_accuracy": 0.5, "val_loss": loss, "val_accuracy": accuracy,
        "val_precision": 0.5, "val_recall": 0.5, "val_f1": 0.5, "train_seconds": 2.0, "eval_seconds": 1.0,
        "wait_seconds": 0.0, "samples_per_second": 5.0, "device_memory": 0, "device": "cpu", "node": "n",
        "checkpoint": f"{trial}/{generation}-{epoch}", "digest": f"{trial}{generation}{epoch}", "time": 2.25,
        "elapsed": 0.75,
    }  # fmt: skip


def fold(*records: dict[str, Any], metric: str = "val_accuracy", sign: int = 1) -> SweepState:
    return SweepState(metric, sign).replay(records)


def test_a_trial_goes_through_its_life() -> None:
    state = fold(event("created", "t0"), event("started", "t0"), report("t0", 1, 0.5), report("t0", 2, 0.4))
    trial = state.trials["t0"]
    assert (trial.status, trial.epoch, trial.device_seconds) == (Status.RUNNING, 2, 6.0)
    assert trial.best is not None
    assert trial.best["epoch"] == 1
    assert trial.trail == (StoredCheckpoint("t0/0-1", "t001", 1), StoredCheckpoint("t0/0-2", "t002", 2))
    state.apply(event("stopped", "t0", reason="why"))
    assert trial.status.final
    assert trial.reason == "why"


def test_an_exploit_changes_generation_progress_and_configuration_but_not_the_past() -> None:
    new = VALUES | {"lr": 0.5}
    exploit = event(
        "exploited", "t1", generation=1, donor="t0", donor_generation=0, donor_epoch=1, checkpoint="t0/0-1",
        digest="t001", hyperparameters=new,
    )  # fmt: skip
    state = fold(event("created", "t1"), report("t1", 2, 0.9), exploit)
    trial = state.trials["t1"]
    assert (trial.generation, trial.parent_trial, trial.epoch) == (1, "t0", 1)
    assert (trial.hyperparameters["lr"], trial.start["lr"]) == (0.5, VALUES["lr"])
    assert trial.trail == (
        StoredCheckpoint("t1/0-2", "t102", 2),
        StoredCheckpoint("t0/0-1", "t001", 1),
    )  # its own, if need be
    assert trial.best is not None
    assert trial.best["generation"] == 0


def test_of_its_checkpoints_a_trial_remembers_two() -> None:
    state = fold(event("created", "t0"), *(report("t0", epoch, 0.5) for epoch in (1, 2, 3)))
    assert [one.path for one in state.trials["t0"].trail] == ["t0/0-2", "t0/0-3"]
    state.apply(report("t0", 4, 0.5) | {"checkpoint": None, "digest": None})
    assert [one.epoch for one in state.trials["t0"].trail] == [2, 3]


def test_an_epoch_that_is_trained_again_has_one_report_and_a_new_checkpoint() -> None:
    state = fold(event("created", "t0"), report("t0", 1, 0.5), report("t0", 2, 0.9))
    trial = state.trials["t0"]
    state.apply(
        event("restored", "t0", epoch=1, passed_over=["t0/0-2"]) | {"details": {"passed_over": ["t0/0-2"], "epoch": 1}}
    )
    assert (trial.epoch, [one.path for one in trial.trail]) == (2, ["t0/0-1"])
    state.apply(event("repeated", "t0", epoch=2, checkpoint="t0/again", digest="new"))
    assert [one.path for one in trial.trail] == ["t0/0-1", "t0/again"]
    assert trial.best is not None
    assert (trial.best["val_accuracy"], trial.best["checkpoint"], trial.best["digest"]) == (0.9, "t0/again", "new")
    assert state.reports == 2


def test_a_generation_without_reports_begins_where_its_weights_do() -> None:
    """The donor's checkpoint was damaged: its own, one epoch older, is all there is."""
    exploit = event(
        "exploited", "t1", generation=1, donor="t0", donor_generation=0, donor_epoch=3, checkpoint="t0/0-3",
        digest="t003", hyperparameters=VALUES,
    )  # fmt: skip
    state = fold(event("created", "t1"), report("t1", 2, 0.1), exploit)
    assert state.trials["t1"].epoch == 3
    restored = event("restored", "t1", generation=1) | {"details": {"passed_over": ["t0/0-3"], "epoch": 2}}
    assert state.replay([restored]).trials["t1"].epoch == 2


def test_only_what_a_resume_can_mend_is_resumable() -> None:
    ends: dict[str, tuple[str, dict[str, Any]]] = {
        "t0": ("interrupted", {}), "t1": ("stopped", {"out_of_budget": True}), "t2": ("stopped", {}),
        "t3": ("finished", {}), "t4": ("failed", {"error": "e"}),
    }  # fmt: skip
    state = fold(*(event("created", trial) for trial in ends))
    for trial, (kind, details) in ends.items():
        state.apply(event(kind, trial, **details))
    assert [trial for trial, one in state.trials.items() if one.resumable] == ["t0", "t1"]
    resumed = event("resumed", "t0") | {"trial": None, "details": {"spec": {"seed": 1}, "reopened": ["t0", "t1"]}}
    state.apply(resumed)
    assert state.launched == resumed["details"]
    assert [one.status for one in state.trials.values()] == [
        Status.PAUSED, Status.PAUSED, Status.STOPPED, Status.FINISHED, Status.FAILED,
    ]  # fmt: skip
    assert not any(one.resumable for one in state.trials.values())


def test_who_lost_its_place_without_a_decision_is_known_and_failures_are_counted() -> None:
    state = fold(event("created", "t0"), event("started", "t0"))
    trial = state.trials["t0"]
    for counted in (1, 0, 1):
        state.apply(event("retried", "t0", counted=counted))
    assert (trial.status, trial.placed, trial.failures) == (Status.PAUSED, True, 2)
    state.apply(event("paused", "t0"))
    assert not trial.placed


def test_the_smallest_micro_batch_of_each_device_is_remembered() -> None:
    rows = [report("t0", at, 0.5) | {"batch_size": 32, "micro_batch": size, "device": device}
            for at, (size, device) in enumerate([(32, "a"), (16, "a"), (8, "b"), (16, "b"), (32, "a")], 1)]  # fmt: skip
    assert fold(event("created", "t0"), *rows).micro_batches == {"a": 16, "b": 8}


def test_the_winner_has_the_best_report_then_the_lower_loss_then_the_lower_number() -> None:
    created = [event("created", f"t{number}") for number in range(4)]
    rows = [report("t0", 1, 0.8), report("t1", 1, 0.9, loss=2.0), report("t2", 1, 0.9), report("t3", 1, 0.9)]
    state = fold(*created, *rows)
    assert [one.trial for one in state.leaders("main", 9)] == ["t2", "t3", "t1", "t0"]
    assert [one.trial for one in state.leaders("main", 2)] == ["t2", "t3"]
    winner = state.winner("main")
    assert winner is not None
    assert winner.trial == "t2"
    assert state.winner("scratch") is None


def test_a_loss_is_better_when_lower() -> None:
    created = [event("created", "t0"), event("created", "t1")]
    rows = [report("t0", 1, 0.1, loss=0.5), report("t1", 1, 0.9)]
    winner = fold(*created, *rows, metric="val_loss", sign=-1).winner("main")
    assert winner is not None
    assert winner.trial == "t0"


@pytest.mark.parametrize("column", ["val_accuracy", "val_loss", "train_loss"])
@pytest.mark.parametrize("bad", [math.nan, math.inf, None])
def test_what_diverged_never_wins_whatever_accuracy_it_has(column: str, bad: float | None) -> None:
    """A network of NaN still gets all samples of one class right."""
    wrong = report("t0", 1, 0.9) | {column: bad}
    state = fold(event("created", "t0"), wrong)
    assert state.winner("main") is None
    assert state.trials["t0"].score("val_accuracy", 1) is None
    state.apply(report("t0", 2, 0.1))
    best = state.trials["t0"].best
    assert best is not None
    assert best["epoch"] == 2


def test_tables_hold_every_row_and_every_reader_reads_them(tmp_path: Path) -> None:
    import duckdb
    import pandas as pd
    import polars as pl

    end = event("finished", "t0", epoch=2, reason="r")
    records = [event("created", "t0"), report("t0", 1, 0.5), report("t0", 2, 0.75), end]
    state, writer = fold(*records), TableWriter(tmp_path, "mine")
    writer.add(records[:2])
    writer.write(state)
    writer.add(records[2:])
    writer.write(state)
    for table, rows in (("reports", 2), ("events", 2), ("trials", 1), ("schedule", 1)):
        path = str(tmp_path / f"{table}.parquet")
        assert len(pd.read_parquet(path)) == rows
        assert len(pl.read_parquet(path)) == rows
        assert duckdb.sql(f"select count(*) from '{path}'").fetchall() == [(rows,)]
        assert read_table(tmp_path, table).schema == arrow_schema(table)
    row = pd.read_parquet(tmp_path / "trials.parquet").iloc[0]
    assert (row.sweep, row.status, row.best_epoch) == ("mine", "finished", 2)
    assert (row.best_val_accuracy, row.start_lr) == (0.75, 1e-3)
    assert pd.isna(row.checkpoint)  # the file was not kept
    times = pd.read_parquet(tmp_path / "reports.parquet").time
    assert times.iloc[0] == pd.Timestamp(2.25, unit="s", tz="UTC")


def test_what_there_is_none_of_is_null_and_details_are_json_for_everybody(tmp_path: Path) -> None:
    import duckdb

    rows = [report("t0", 1, 0.5), report("t1", 1, math.nan, loss=math.nan)]
    stop = event("stopped", "t1", score=math.nan, scores={"t0": 0.5, "t1": -math.inf}, factors=[math.inf, 1])
    records = [*(event("created", f"t{number}") for number in range(3)), *rows, stop]
    writer = TableWriter(tmp_path, "mine")
    writer.add(records)
    writer.write(fold(*records))
    best = f"select max(best_val_accuracy), count(last_val_loss) from '{tmp_path}/trials.parquet'"
    assert duckdb.sql(best).fetchall() == [(0.5, 2)]  # t1 reported NaN, t2 nothing
    (details,) = [row["details"] for row in read_table(tmp_path, "events").to_pylist() if row["kind"] == "stopped"]
    assert json.loads(details, parse_constant=pytest.fail) == {
        "score": None, "scores": {"t0": 0.5, "t1": None}, "factors": [None, 1],
    }  # fmt: skip


def test_empty_tables_are_whole_files(tmp_path: Path) -> None:
    TableWriter(tmp_path, "mine").write(SweepState("val_accuracy", 1))
    for table in ("reports", "events", "trials", "schedule"):
        assert read_table(tmp_path, table).num_rows == 0
        assert read_table(tmp_path, table).schema.metadata[b"tlsweep_schema"] == b"1"


@pytest.mark.parametrize("table", ["reports", "events", "trials", "schedule"])
def test_the_schema_only_grows(table: str) -> None:
    """Columns that were published once; extend this list, never shorten it."""
    published = {
        "reports": "sweep stage arm trial generation parent_trial epoch samples step lr batch_size optimizer momentum "
        "nesterov weight_decay label_smoothing lr_schedule lr_gamma lr_step_epochs warmup_epochs freeze "
        "head_lr_multiplier layer_decay scheduled_lr micro_batch train_loss train_accuracy val_loss val_accuracy "
        "val_precision val_recall val_f1 train_seconds eval_seconds wait_seconds samples_per_second device_memory "
        "device node time elapsed",
        "events": "sweep stage arm trial generation kind epoch details time elapsed",
        "trials": "sweep stage arm trial number status reason generation parent_trial epoch lr start_lr batch_size "
        "start_batch_size best_epoch best_generation best_val_accuracy best_val_loss last_val_accuracy checkpoint "
        "checkpoint_digest device_seconds failures error",
        "schedule": "sweep stage arm trial generation began parent_trial parent_generation from_epoch to_epoch lr "
        "batch_size parent_lr parent_batch_size metric start_value end_value gain time elapsed",
    }
    assert set(published[table].split()) <= set(arrow_schema(table).names)


@pytest.mark.parametrize("record", [report("t7", 1, 0.5), event("started", "t7"), event("stopped", "t7", reason="why")])
def test_a_trial_that_nobody_created_tells_that_a_line_was_lost(record: dict[str, Any]) -> None:
    with pytest.raises(ResultsError, match="it tells of trial 't7' without a line that created it"):
        SweepState("val_accuracy", 1).replay([event("created", "t0"), record])


@pytest.mark.parametrize("ended", [(), ("interrupted",), ("interrupted", "resumed"), ("interrupted", "resumed") * 2])
@pytest.mark.parametrize("trial", [None, "t0000"])
def test_the_tables_say_like_the_journal_whether_the_sweep_was_interrupted(
    tmp_path: Path, ended: tuple[str, ...], trial: str | None
) -> None:
    builder = SweepBuilder(tmp_path)
    builder.create("t0000", 0)
    builder.event("launched", spec={})
    for kind in ended:
        builder.event(kind, spec={}, reopened=[])
    builder.event("interrupted", trial)  # of a trial alone, it says nothing of the sweep
    results = builder.finish()
    assert results.interrupted == results.state().interrupted == (trial is None or ended[-1:] == ("interrupted",))
