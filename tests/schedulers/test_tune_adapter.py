"""The adapter carries out decisions on Tune, and tells the referee what Tune does by itself."""

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler

from tlsweep.schedulers import Continue, Decision, Exploit, Stop, Yield
from tlsweep.schedulers.tune_adapter import TuneAdapter, error_text

EXPLOIT = Exploit("t1", 0, 2, "checkpoint", {}, {})


class FakeReferee:
    """Decides as it is told, and remembers what it was told."""

    def __init__(self, decision: Decision | None = None, epochs: Mapping[str, int] | None = None) -> None:
        self.decision, self.epochs = decision or Continue(), epochs or {}
        self.told: list[str] = []

    def observe(self, row: Mapping[str, Any]) -> Decision:
        return self.decision

    def paused(self, trial: str) -> None:
        self.told.append("paused")

    def failed(self, trial: str, error: str) -> None:
        self.told.append(f"failed: {error}")

    def returned(self, trial: str) -> None:
        self.told.append("returned")

    def assignment(self, trial: str) -> dict[str, Any]:
        return {"assigned": trial}

    def epoch(self, trial: str) -> int:
        return self.epochs.get(trial, 0)


class FakeTrial(SimpleNamespace):
    def set_config(self, config: dict[str, Any]) -> None:
        self.config = config


def trial(name: str = "t0", status: str = Trial.RUNNING, *, recovers: bool = False) -> Any:
    return FakeTrial(
        trial_id=name, status=status, config={}, error_file="/nowhere/error.txt", should_recover=lambda: recovers
    )


class FakeController:
    """What the adapter asks of Tune's controller."""

    def __init__(self, *trials: Any) -> None:
        self.trials, self.paused = trials, list[str]()

    def get_live_trials(self) -> tuple[Any, ...]:
        return self.trials

    def pause_trial(self, trial: Any, should_checkpoint: bool) -> None:
        assert not should_checkpoint
        self.paused.append(trial.trial_id)


@pytest.mark.parametrize(
    ("decision", "answer"),
    [(Continue(), TrialScheduler.CONTINUE), (Stop("why"), TrialScheduler.STOP), (EXPLOIT, TrialScheduler.NOOP)],
)
def test_each_decision_has_its_answer(decision: Decision, answer: str) -> None:
    one = trial()
    controller = FakeController(one)
    assert TuneAdapter(FakeReferee(decision)).on_trial_result(controller, one, {}) == answer
    restarts = isinstance(decision, Exploit)
    assert controller.paused == (["t0"] if restarts else [])
    assert one.config == ({"assigned": "t0"} if restarts else {})


@pytest.mark.parametrize(("behind", "yields"), [(1, True), (2, False), (3, False)])
def test_a_member_gives_up_its_place_only_for_one_that_is_behind(behind: int, yields: bool) -> None:
    referee, one = FakeReferee(Yield(), {"t0": 2, "t1": behind}), trial()
    answer = TuneAdapter(referee).on_trial_result(FakeController(one, trial("t1", Trial.PAUSED)), one, {})
    assert answer == (TrialScheduler.NOOP if yields else TrialScheduler.CONTINUE)
    assert referee.told == (["paused"] if yields else [])


def test_the_waiting_trial_with_the_least_progress_runs_next() -> None:
    waiting = [trial("t2", Trial.PAUSED), trial("t1", Trial.PENDING), trial("t0", Trial.PAUSED)]
    controller = FakeController(*waiting, trial("t3"), trial("t4", Trial.TERMINATED))
    adapter = TuneAdapter(FakeReferee(epochs={"t0": 5, "t1": 3, "t2": 3}))
    assert adapter.choose_trial_to_run(controller) is waiting[1]
    assert adapter.choose_trial_to_run(FakeController(trial("t3"))) is None


@pytest.mark.parametrize("status", [Trial.RUNNING, Trial.PENDING])
def test_no_more_trials_have_places_than_may(status: str) -> None:
    waiting = trial("t1", Trial.PAUSED)
    controller = FakeController(trial("t0", status), waiting)
    assert TuneAdapter(FakeReferee(), concurrent=1).choose_trial_to_run(controller) is None
    assert TuneAdapter(FakeReferee(epochs={"t0": 1}), concurrent=2).choose_trial_to_run(controller) is waiting


def test_an_error_is_a_failure_unless_tune_runs_the_trial_again() -> None:
    referee, broken, preempted = FakeReferee(), trial(), trial(status=Trial.ERROR, recovers=True)
    TuneAdapter(referee).on_trial_error(None, broken)
    assert referee.told == ["failed: the worker died without a traceback"]
    TuneAdapter(referee).on_trial_error(None, preempted)
    assert referee.told[1:] == ["paused"]
    assert preempted.config == {"assigned": "t0"}  # it goes on from its last checkpoint, not from where it began


def test_the_error_is_what_python_would_have_printed(tmp_path: Path) -> None:
    file = tmp_path / "error.txt"
    head = "\x1b[36mray::ImplicitFunc.train()\x1b[39m (pid=7, ip=192.0.2.2, actor_id=ab, repr=tlsweep_trial)"
    frames = '  File "own.py", line 3, in net\n    raise ValueError("no # 1")\nValueError: no # 1\n'
    file.write_text(f"Failure # 1 (occurred at 2026-01-01_00-00-00)\n{head}\n{frames}")
    failed: Any = SimpleNamespace(error_file=str(file))
    assert error_text(failed) == f"Traceback (most recent call last):\n{frames}"
    nothing: Any = SimpleNamespace(error_file=None)
    assert error_text(nothing) == "the worker died without a traceback"
