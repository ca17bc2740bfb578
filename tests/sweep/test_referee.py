"""Reports are written down and judged once; budgets, ends, failures and interrupts are what the log says they are."""

import json
import math
import os
import time
from pathlib import Path

import pytest
from referee_harness import Stage
from simulated_sweep import message, report_row

from tlsweep.errors import ResultsError
from tlsweep.store import Status, SweepState, read_journal
from tlsweep.store.tables import read_table
from tlsweep.sweep.referee import INTERRUPTED
from tlsweep.sweep.trainable import write_checkpoint

ERROR = "Traceback:\n  line\nValueError: boom\n\n"


def test_a_trial_is_finished_after_its_last_epoch(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "train.epochs=2", "search.trials=1")
    (trial,) = stage.start()
    assert stage.train(trial, 0.5)
    assert not stage.train(trial, 0.6)
    stage.referee.returned(trial)  # Tune says so too
    stage.referee.failed(trial, "and the worker died on its way out")
    assert stage.state.trials[trial].status is Status.FINISHED
    kinds = [record["kind"] for record in read_journal(stage.folder.journal) if record["type"] == "event"]
    assert kinds == ["launched", "created", "started", "finished"]


def test_the_journal_alone_gives_the_same_state(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "search.strategy=pbt", "search.population=3", "search.quantile=0.5", "train.epochs=6")
    trials = stage.start()
    for epoch in range(4):
        for at, trial in enumerate(trials):
            stage.train(trial, (at + epoch) / 10)
    stage.referee.failed(trials[0], ERROR)
    assert any(one.generation for one in stage.state.trials.values())
    stage.referee.ending.halt(INTERRUPTED, resumable=True)
    stage.referee.close()
    assert SweepState("val_accuracy", 1).replay(read_journal(stage.folder.journal)) == stage.state


@pytest.mark.parametrize("column", ["val_accuracy", "val_loss", "train_loss"])
def test_a_loss_that_is_not_finite_ends_a_trial_and_reaches_no_target(tmp_path: Path, column: str) -> None:
    stage = Stage(tmp_path, "budget.target=0.8")
    trial, *_ = stage.start()
    assert not stage.train(trial, 0.9, row={column: math.nan})
    one = stage.state.trials[trial]
    assert one.status is Status.STOPPED
    assert "diverged" in str(one.reason)
    assert stage.referee.ending.halted is None


def test_a_trial_that_diverged_in_its_last_epoch_is_not_finished(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "train.epochs=1")
    trial, *_ = stage.start()
    stage.train(trial, 0.9, row={"val_loss": math.inf})
    assert stage.state.trials[trial].status is Status.STOPPED


def test_an_exploit_is_in_force_from_the_next_report(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "search.strategy=pbt", "search.population=2", "search.quantile=0.5")
    good, bad = stage.start()
    assert stage.train(good, 0.9)
    assert not stage.train(bad, 0.1)
    (exploit,) = stage.events("exploited")
    donor = stage.state.trials[good].last
    assert donor is not None
    assert exploit["details"]["digest"] == donor["digest"]
    stage.start()
    told = stage.placed[bad]
    assert (told.generation, told.parent_trial, told.trail[-1].path) == (1, good, donor["checkpoint"])
    assert told.hyperparameters == exploit["details"]["hyperparameters"]
    assert stage.state.trials[bad].epoch == 1
    stage.train(bad, 0.95)
    last = stage.state.trials[bad].last
    assert last is not None
    assert (last["generation"], last["parent_trial"], last["lr"]) == (1, good, told.hyperparameters["lr"])


def test_each_arm_has_the_whole_budget_and_reports_beyond_it_do_not_count(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "controls=[scratch]", "model.weights=DEFAULT", "budget.epochs=3")
    stage.start()
    main, control = ([one for one in stage.placed if one.endswith("scratch") == scratch] for scratch in (False, True))
    for trial in main[:3]:
        stage.train(trial, 0.5)
    assert not stage.train(main[3], 0.9)
    assert stage.state.reports == 3
    assert stage.state.trials[main[3]].reason == "the budget of epochs is used up"
    assert stage.referee.ending.halted is None
    for trial in control[:3]:
        stage.train(trial, 0.5)
    assert stage.referee.ending.halted == "the budget of epochs is used up"


def test_of_what_is_sent_at_once_all_counts_so_that_the_best_epoch_has_its_checkpoint(tmp_path: Path) -> None:
    """Its worker keeps no other than those of the best and of the last epoch."""
    stage = Stage(tmp_path, "budget.target=0.7")
    trial = stage.start()[0]
    before, best = (
        message(report_row(stage.placed[trial], epoch, accuracy)) for epoch, accuracy in ((1, 0.7), (2, 0.8))
    )
    best = best.at(**write_checkpoint(stage.folder, stage.placed[trial], 2, b"the state after epoch 2"))
    stage.referee.observe({trial: [before, best]})
    assert stage.referee.ending.halted == f"{trial} reached the target: val_accuracy 0.7"
    stage.referee.close()
    reached = stage.state.trials[trial].best
    assert reached is not None
    assert (reached["epoch"], reached["checkpoint"]) == (2, best.checkpoint)
    assert stage.files() == {best.checkpoint}


def test_the_target_is_the_main_arms(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "controls=[scratch]", "model.weights=DEFAULT", "budget.target=0.8")
    stage.start()
    stage.train("t0000-scratch", 0.9)
    assert not stage.referee.ending.tick()
    stage.train("t0000", 0.8)
    assert stage.referee.ending.tick()
    assert stage.referee.ending.halted == "t0000 reached the target: val_accuracy 0.8"


def test_a_target_that_trials_begin_at_ends_the_sweep_with_its_first_report(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "controls=[scratch]", "model.weights=DEFAULT", "budget.target=0.8")
    figures = {"val_accuracy": 0.85, "val_loss": 0.3}
    known = {**(stage.state.launched or {}), "environment": {"start": {"main": {"DEFAULT": figures}}}}
    stage.state.launched = known
    stage.start()
    stage.train("t0000-scratch", 0.9)
    assert stage.referee.ending.halted is None
    stage.train("t0000", 0.5)
    assert stage.referee.ending.halted == "what trials begin with reached the target: val_accuracy 0.85"


def test_wall_time_begins_with_the_first_worker_and_goes_on_after_a_kill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    stage = Stage(tmp_path, "budget.wall_time=1m")
    assignment = stage.referee.assign()
    now += 500
    assert not stage.referee.ending.tick()
    assert assignment is not None
    stage.referee.started(assignment.trial)
    now += 40
    stage.placed[assignment.trial] = assignment
    stage.train(assignment.trial, 0.5)
    now = 7.0  # another process, perhaps another machine
    stage = Stage(tmp_path, "budget.wall_time=1m")
    now += 500
    assert not stage.referee.ending.tick()
    stage.start()
    now += 19
    assert not stage.referee.ending.tick()
    now += 1
    assert stage.referee.ending.tick()
    assert stage.referee.ending.halted == "the wall time of 60 s is used up"
    stage.referee.close()
    assert all(one.out_of_budget for one in stage.state.trials.values())


def test_a_trial_is_retried_from_its_checkpoint_and_then_has_failed(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "search.trials=1", "faults.max_failures=2")
    (trial,) = stage.start()
    stage.train(trial, 0.5)
    one = stage.state.trials[trial]
    for failures in (1, 2):
        stage.referee.failed(trial, ERROR)
        assert (one.status, one.failures, one.epoch) == (Status.PAUSED, failures, 1)
        assert stage.start() == [trial]
        assert stage.placed[trial].trail == one.trail
    stage.referee.failed(trial, ERROR)
    assert (one.status, one.reason) == (Status.FAILED, "ValueError: boom")
    assert one.error == ERROR
    assert stage.referee.assign() is None


def test_what_the_trial_cannot_help_is_not_counted_as_long_as_it_gets_on(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "search.trials=1", "faults.max_failures=1")
    (trial,) = stage.start()
    one = stage.state.trials[trial]
    for accuracy in (0.5, 0.6):
        stage.train(trial, accuracy)
        stage.referee.failed(trial, "the node died", counted=False)
        assert (one.status, one.failures) == (Status.PAUSED, 0)
        stage.start()
    stage.referee.failed(trial, "the node died", counted=False)  # at the same epoch as the last time
    assert (one.status, one.failures) == (Status.PAUSED, 1)
    stage.start()
    stage.referee.failed(trial, "the node died", counted=False)
    assert one.status is Status.FAILED


def test_a_mistake_of_the_users_is_not_retried(tmp_path: Path) -> None:
    """It would be made again."""
    stage = Stage(tmp_path, "search.trials=1")
    (trial,) = stage.start()
    stage.referee.failed(trial, ERROR, fault="mistake")
    assert stage.state.trials[trial].status is Status.FAILED


def test_a_trial_whose_node_is_drained_keeps_its_place_and_goes_on_from_its_last_checkpoint(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    trial, *_ = stage.start()
    stage.train(trial, 0.5)
    stage.referee.failed(trial, "preempted", counted=False, keeps_slot=True)
    assert stage.referee.assign() is None
    assert [one.epoch for one in stage.referee.placing.assignment(trial).trail] == [1]
    stage.referee.started(trial)
    assert stage.train(trial, 0.6)


def test_a_trial_whose_node_leaves_gives_up_its_place_at_its_next_report_and_is_the_first_to_go_on(
    tmp_path: Path,
) -> None:
    stage = Stage(tmp_path, "search.trials=3")
    for _ in range(2):
        assignment = stage.referee.assign()
        assert assignment is not None
        stage.placed[assignment.trial] = assignment
        stage.referee.started(assignment.trial)
    assert not stage.train("t0001", 0.5, leaving=True)
    (moved,) = stage.events("moved")
    assert (moved["trial"], moved["epoch"]) == ("t0001", 1)
    assert stage.state.trials["t0001"].status is Status.PAUSED
    after = stage.referee.assign()
    assert after is not None
    assert (after.trial, [one.epoch for one in after.trail]) == ("t0001", [1])  # before t0002, which has not begun
    assert stage.state.trials["t0001"].failures == 0


def test_a_trial_that_ends_on_a_node_that_leaves_has_ended(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "search.trials=1", "train.epochs=1")
    (trial,) = stage.start()
    stage.train(trial, 0.5, leaving=True)
    assert stage.state.trials[trial].status is Status.FINISHED
    assert not stage.events("moved")


def test_a_trial_that_was_given_a_place_starts_when_a_worker_takes_it(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "search.trials=2")
    assert not stage.referee.watch.starting()
    assignment = stage.referee.assign()
    assert assignment is not None
    assert stage.referee.watch.starting()
    stage.referee.started(assignment.trial)
    assert not stage.referee.watch.starting()


def test_so_many_trials_could_use_a_place(tmp_path: Path) -> None:
    """What an autoscaler is asked for: those that run, those that wait, and those that have not begun."""
    stage = Stage(
        tmp_path, "search.trials=3", "train.epochs=2", "controls=[scratch]", "model.weights.data.source=digits"
    )
    assert stage.referee.placing.wanted() == 6
    assignment = stage.referee.assign()
    assert assignment is not None
    assert stage.referee.placing.wanted() == 6
    stage.placed[assignment.trial] = assignment
    stage.referee.started(assignment.trial)
    assert stage.referee.placing.wanted() == 6
    stage.train(assignment.trial, 0.5)
    stage.train(assignment.trial, 0.5)
    assert stage.referee.placing.wanted() == 5
    following = stage.referee.assign()
    assert following is not None
    stage.referee.failed(following.trial, "died")
    assert stage.referee.placing.wanted() == 5
    stage.referee.ending.halt("enough")
    assert stage.referee.placing.wanted() == 0


def test_one_that_is_not_heard_of_for_too_long_is_overdue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    path = tmp_path / "patient"
    assert Stage(path).referee.watch.overdue() == []
    stage = Stage(tmp_path / "sweep", "faults.report_timeout=10s", "search.trials=3")
    stage.referee.watch._now = time.monotonic
    one, two, three = stage.start()
    now = 9.0
    stage.train(one, 0.5)
    assert stage.referee.watch.overdue() == []
    now = 10.5
    assert stage.referee.watch.overdue() == [two, three]
    stage.referee.failed(two, "killed for that")
    assert stage.referee.watch.overdue() == [three]
    assignment = stage.referee.assign()  # its next worker has not begun: that may take longer
    now = 100.0
    assert assignment is not None
    assert two not in stage.referee.watch.overdue()


def test_a_function_that_returns_early_is_told_of(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "search.trials=2")
    trial, other = stage.start()
    stage.train(trial, 0.5)
    stage.referee.returned(trial)
    assert (stage.state.trials[trial].status, stage.state.trials[trial].reason) == (
        Status.STOPPED, "its function returned early",
    )  # fmt: skip
    assert stage.state.trials[other].status is Status.RUNNING


def test_after_an_interrupt_every_open_trial_is_interrupted_also_one_that_still_reports(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "faults.max_failures=0")
    one, two, *_ = stage.start()
    stage.train(one, 0.5)
    stage.train(two, 0.6)
    stage.referee.failed(two, ERROR)
    stage.referee.ending.halt(INTERRUPTED, resumable=True)
    stage.referee.ending.halt("the first reason counts")
    assert not stage.train(one, 0.7)
    stage.referee.close()
    statuses = {name: trial.status for name, trial in stage.state.trials.items()}
    assert statuses.pop(two) is Status.FAILED
    assert set(statuses.values()) == {Status.INTERRUPTED}
    assert read_table(stage.folder.path, "reports").num_rows == 2


def test_storage_that_refuses_halts_the_sweep_until_it_is_resumed(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "search.trials=1", "faults.max_failures=0")
    (trial,) = stage.start()
    stage.train(trial, 0.5)
    error = "Traceback:\n  line\ntlsweep.files.StorageError: '/x/t0.pt': Read-only file system\n"
    stage.referee.failed(trial, error, fault="storage")
    assert stage.referee.ending.tick()
    stage.referee.close()
    one, why = stage.state.trials[trial], "a file cannot be kept: '/x/t0.pt': Read-only file system"
    assert (one.status, one.epoch, one.reason, one.failures) == (Status.INTERRUPTED, 1, why, 0)
    again = Stage(tmp_path, "search.trials=1", "faults.max_failures=0")
    assert again.start() == [trial]
    assert again.train(trial, 0.6)
    assert [report["epoch"] for report in read_journal(again.folder.journal) if report["type"] == "report"] == [1, 2]


def test_what_was_decided_is_on_disk_when_the_caller_hears_of_it(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "train.epochs=1")
    trial, *_ = stage.start()
    stage.train(trial, 0.5)
    last = json.loads(stage.folder.journal.read_bytes().splitlines()[-1][9:])
    assert [(one["type"], one.get("kind")) for one in last] == [("report", None), ("event", "finished")]


def test_a_report_that_cannot_be_written_down_ends_the_sweep_and_never_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Stage(tmp_path)
    trial, *_ = stage.start()
    stage.train(trial, 0.5)

    def refuse(file: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", refuse)
        with pytest.raises(ResultsError, match="No space left on device"):
            stage.train(trial, 0.6)
    assert sum(record["type"] == "report" for record in read_journal(stage.folder.journal)) == 1
    again = Stage(tmp_path)
    assert again.state.trials[trial].epoch == 1
    again.start()
    again.train(trial, 0.6)
    assert again.state.reports == 2


def test_a_report_costs_no_more_with_many_trials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted, not timed: a scan of all trials would look at each of them."""
    monkeypatch.setattr(os, "fdatasync", lambda file: None)
    stage = Stage(tmp_path, "search.strategy=asha", "search.trials=2000")
    trials = stage.start()
    stage.ledger.write_tables()  # the next writing is not due for a while
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
