"""Reports are written down and judged once; budgets, ends and interrupts are what the log says they are."""

import json
import math
import os
import time
from pathlib import Path

import pytest
from referee_harness import Stage

from tlsweep.errors import ResultsError
from tlsweep.schedulers import Continue, Exploit, Stop
from tlsweep.store import Status, SweepState, read_journal
from tlsweep.store.tables import read_table
from tlsweep.sweep.referee import INTERRUPTED


def test_a_trial_is_finished_after_its_last_epoch(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "train.epochs=2")
    trial, *_ = stage.create()
    assert stage.train(trial, 0.5) == Continue()
    assert isinstance(stage.train(trial, 0.6), Stop)
    stage.referee.returned(trial)  # Tune says so too
    stage.referee.failed(trial, "and the worker died on its way out")
    assert stage.state.trials[trial].status is Status.FINISHED
    assert [record["kind"] for record in read_journal(stage.folder.journal) if record["type"] == "event"][4:] == [
        "started", "finished",
    ]  # fmt: skip


def test_the_journal_alone_gives_the_same_state(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "search.strategy=pbt", "search.population=3", "search.quantile=0.5", "train.epochs=6")
    trials = stage.create()
    for epoch in range(4):
        for at, trial in enumerate(trials):
            stage.train(trial, (at + epoch) / 10, yields=at == 1)
    assert any(one.generation for one in stage.state.trials.values())
    stage.referee.close(interrupted=True)
    assert SweepState("val_accuracy", 1).replay(read_journal(stage.folder.journal)) == stage.state


@pytest.mark.parametrize("column", ["val_accuracy", "val_loss", "train_loss"])
def test_a_loss_that_is_not_finite_ends_a_trial_and_reaches_no_target(tmp_path: Path, column: str) -> None:
    stage = Stage(tmp_path, "budget.target=0.8")
    trial, *_ = stage.create()
    decision = stage.train(trial, 0.9, row={column: math.nan})
    assert isinstance(decision, Stop)
    assert "diverged" in decision.reason
    assert stage.referee.halted is None
    assert stage.state.trials[trial].status is Status.STOPPED


def test_a_trial_that_diverged_in_its_last_epoch_is_not_finished(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "train.epochs=1")
    trial, *_ = stage.create()
    stage.train(trial, 0.9, row={"val_loss": math.inf})
    assert stage.state.trials[trial].status is Status.STOPPED


def test_an_exploit_is_in_force_from_the_next_report(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "search.strategy=pbt", "search.population=2", "search.quantile=0.5")
    good, bad = stage.create()
    stage.train(good, 0.9)
    decision = stage.train(bad, 0.1)
    assert isinstance(decision, Exploit)
    told = stage.referee.assignment(bad)
    assert (told["generation"], told["parent_trial"], told["checkpoint"]) == (1, good, "checkpoints/t0000/g0-e0001.pt")
    assert told["hyperparameters"] == decision.hyperparameters
    assert stage.referee.epoch(bad) == 1
    stage.train(bad, 0.95)
    last = stage.state.trials[bad].last
    assert last is not None
    assert (last["generation"], last["parent_trial"], last["lr"]) == (1, good, decision.hyperparameters["lr"])


def test_each_arm_has_the_whole_budget_and_reports_beyond_it_do_not_count(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "controls=[scratch]", "model.weights=DEFAULT", "budget.epochs=3")
    main, control = stage.create("main"), stage.create("scratch")
    for trial in main[:3]:
        stage.train(trial, 0.5)
    assert stage.referee.exhausted("main")
    assert not stage.referee.exhausted("scratch")
    assert isinstance(stage.train(main[3], 0.9), Stop)
    assert stage.state.reports == 3
    assert stage.referee.halted is None
    for trial in control[:3]:
        stage.train(trial, 0.5)
    assert stage.referee.halted == "the budget of epochs is used up"


def test_the_target_is_the_main_arms(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "controls=[scratch]", "model.weights=DEFAULT", "budget.target=0.8")
    stage.train(stage.create("scratch")[0], 0.9)
    assert not stage.referee.tick()
    stage.train(stage.create("main")[0], 0.8)
    assert stage.referee.tick()
    assert stage.referee.halted == "t0000 reached the target: val_accuracy 0.8"


def test_wall_time_begins_with_the_first_trial_that_a_worker_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    stage = Stage(tmp_path, "budget.wall_time=1m")
    one, two, *_ = stage.create()
    now += 500
    assert not stage.referee.tick()
    stage.referee.started(one)
    now += 59
    assert not stage.referee.tick()
    stage.referee.started(two)
    now += 1
    assert stage.referee.tick()
    assert stage.referee.halted == "the wall time of 60 s is used up"


def test_after_an_interrupt_every_open_trial_is_interrupted_also_one_that_still_reports(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    one, two, *_ = stage.create()
    stage.train(one, 0.5)
    stage.train(two, 0.6)
    stage.referee.failed(two, "Traceback:\n  line\nValueError: boom\n\n")
    stage.referee.halt(INTERRUPTED)
    stage.referee.halt("the first reason counts")
    stage.train(one, 0.7)
    stage.referee.close(interrupted=True)
    statuses = {name: trial.status for name, trial in stage.state.trials.items()}
    assert statuses.pop(two) is Status.FAILED
    assert set(statuses.values()) == {Status.INTERRUPTED}
    assert stage.state.trials[two].reason == "ValueError: boom"
    assert read_table(stage.folder.path, "reports").num_rows == 2


def test_what_was_decided_is_on_disk_when_the_caller_hears_of_it(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "train.epochs=1")
    trial, *_ = stage.create()
    stage.train(trial, 0.5)
    lines = [json.loads(line[9:]) for line in stage.folder.journal.read_bytes().splitlines()]
    assert [(line["type"], line.get("kind")) for line in lines[-2:]] == [("report", None), ("event", "finished")]


def test_a_report_that_cannot_be_written_down_has_no_effect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(tmp_path)
    trial, *_ = stage.create()
    stage.train(trial, 0.5)

    def refuse(file: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fdatasync", refuse)
    with pytest.raises(ResultsError, match="No space left on device"):
        stage.train(trial, 0.6)
    assert stage.state.reports == 1
    monkeypatch.undo()
    assert sum(record["type"] == "report" for record in read_journal(stage.folder.journal)) == 1


def test_a_report_costs_no_more_with_many_trials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted, not timed: a scan of all trials would look at each of them."""
    monkeypatch.setattr(os, "fdatasync", lambda file: None)
    stage = Stage(tmp_path, "search.strategy=asha", "search.trials=2000")
    trials = stage.create()
    stage.referee.write_tables()  # the next writing is not due for a while
    looked_at: list[str] = []

    class Watched(dict):  # type: ignore[type-arg]
        def values(self):  # type: ignore[no-untyped-def]
            looked_at.extend(self)
            return super().values()

    stage.state.trials = Watched(stage.state.trials)
    for trial in trials[:5]:
        stage.train(trial, 0.5)
        stage.referee.failed(trial, "gone")
    assert looked_at == []
