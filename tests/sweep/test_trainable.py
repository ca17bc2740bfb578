"""What a trial's function reports and raises comes through Tune as it was, without a Ray that runs."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray import tune
from ray._private.dict import flatten_dict
from ray.exceptions import RayTaskError
from ray.train._internal.session import shutdown_session
from ray.train._internal.storage import StorageContext
from ray.tune.result import RESULT_DUPLICATE
from ray.tune.trainable import wrap_function

from tlsweep.errors import ModelError
from tlsweep.sweep import trainable
from tlsweep.sweep.assignment import Assignment, Message, from_result, to_config, to_result
from tlsweep.sweep.faults import TrialFailed
from tlsweep.sweep.handover import Answer, hand_over, look_for_following
from tlsweep.sweep.subjects.own_function import SharedFunction
from tlsweep.sweep.trainable import make_trainable

ASSIGNMENT = Assignment("t0007", "main", 0, None, 5, {"lr": 0.1, "batch_size": 8})
SENT = Message(
    "t0007", 1, "here", {"val_loss": 0.5, "noise_scale": 2.0}, "checkpoints/t0007/g0-e0001.pt", "0" * 64,
    folds=[{"fold": 0}], passed_over=[{"path": "p", "reason": "r"}],
)  # fmt: skip


@contextmanager
def in_tune(folder: Path, monkeypatch: pytest.MonkeyPatch, runs: Any) -> Iterator[Any]:
    """Tune's actor around our function, in this process; `runs` stands for the training."""
    monkeypatch.chdir(folder)  # Tune changes the working directory
    monkeypatch.setattr(trainable, "run_assignment", runs)
    shared: Any = SharedFunction(None, folder, 0.0, "tests")  # type: ignore[arg-type]
    # Where Tune's own files go it asks the Ray that it is connected to.
    monkeypatch.setattr(StorageContext, "_get_session_path", lambda storage: str(folder / "session"))
    storage = StorageContext(storage_path=str(folder), experiment_dir_name="it", trial_dir_name="t")
    actor = wrap_function(make_trainable(shared))(config=to_config([ASSIGNMENT]), storage=storage)
    try:
        yield actor
    finally:
        shutdown_session()  # one at a time in a process


def test_a_message_comes_through_tune_as_it_was_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = []

    def reports(assignment: Assignment, shared: SharedFunction) -> None:
        given.append(assignment)
        tune.report(to_result([SENT]))

    with in_tune(tmp_path, monkeypatch, reports) as actor:
        result = actor.train()
    assert given == [ASSIGNMENT]
    assert from_result(flatten_dict(result)) == [SENT]  # flattened, as Tune's scheduler is given it


def test_a_worker_trains_what_it_is_handed_until_there_is_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver's part is played as Ray carries it out: a call to the actor, and then the next one to train."""
    given: list[str] = []

    def reports(assignment: Assignment, shared: SharedFunction) -> None:
        given.append(assignment.trial)
        try:
            tune.report(to_result([replace(SENT, trial=assignment.trial)]))
            look_for_following()
        except Exception:
            given.append("would go on")

    with in_tune(tmp_path, monkeypatch, reports) as actor:
        worker = SimpleNamespace(execute=SimpleNamespace(remote=actor.execute))
        for trial in ("t0008", "t0009"):
            assert from_result(flatten_dict(actor.train()))[0].trial == given[-1]
            hand_over(worker, Answer(leave=(given[-1],), join=(replace(ASSIGNMENT, trial=trial),)))
        assert from_result(flatten_dict(actor.train()))[0].trial == "t0009"
        assert RESULT_DUPLICATE in actor.train()  # nothing was handed over: it has ended
    assert given == ["t0007", "t0008", "t0009"]


def test_a_failure_comes_through_tune_with_its_fault_and_its_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def raises(assignment: Assignment, shared: SharedFunction) -> None:
        raise ModelError("weights do not fit")

    with in_tune(tmp_path, monkeypatch, raises) as actor, pytest.raises(TrialFailed) as caught:
        actor.train()
    told: Any = RayTaskError("train", "Traceback …", caught.value).as_instanceof_cause()
    assert told.cause.fault == "mistake"
    assert told.cause.error.startswith("Traceback (most recent call last):\n")
    assert told.cause.error.endswith("tlsweep.errors.ModelError: weights do not fit\n")
