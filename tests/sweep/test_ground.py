"""A sweep whose folder or Ray is taken away notices it, stops, and neither removes nor writes what is not its own."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
from referee_harness import Stage

from tlsweep.cluster.private_ray import PrivateRay
from tlsweep.errors import RayLost, ResultsError, SweepFailed
from tlsweep.observer import Silence
from tlsweep.spec import dump_spec, load_spec
from tlsweep.store import Status, create_sweep_folder, read_journal
from tlsweep.store.files import write_text
from tlsweep.store.tables import read_table
from tlsweep.sweep import driver, ground
from tlsweep.sweep.ground import Ground
from tlsweep.sweep.interrupts import Interrupts
from tlsweep.sweep.subjects import images


def rename(folder: Path) -> Path | None:
    return folder.rename(folder.with_name("renamed"))


def rename_and_put_a_copy_there(folder: Path) -> Path | None:
    now = folder.rename(folder.with_name("renamed"))
    shutil.copytree(now, folder)
    return now


def rename_what_holds_it(folder: Path) -> Path | None:
    return folder.parent.rename(folder.parent.with_name("elsewhere")) / folder.name


def remove(folder: Path) -> Path | None:
    shutil.rmtree(folder)
    return None


def remove_and_make_another(folder: Path) -> Path | None:
    shutil.rmtree(folder)
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    return None


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def standing_on(stage: Stage, ground: Ground) -> None:
    ground.journal_is(stage.folder.journal)
    stage.referee.ending._ground = ground.loss


@pytest.mark.parametrize("noticed", ["at a look", "when tables are due"])
@pytest.mark.parametrize(
    "taken_away", [rename, rename_and_put_a_copy_there, rename_what_holds_it, remove, remove_and_make_another]
)
def test_a_folder_that_is_taken_away_ends_the_sweep_and_nothing_is_written_or_removed_at_its_place(
    tmp_path: Path, taken_away: Callable[[Path], Path | None], noticed: str
) -> None:
    path = tmp_path / "results" / "it"
    stage = Stage(path, "search.trials=3")
    with Ground(path) as ground:
        standing_on(stage, ground)
        one, two, _ = stage.start()
        stage.train(one, 0.5)
        assert not stage.referee.ending.tick(now=True)
        checkpoints = stage.files()
        now = taken_away(path)
        before = everything(path)
        if noticed == "when tables are due":
            stage.ledger._tables._due = 0.0
            stage.referee.tend()
        assert stage.referee.ending.tick(now=True)
        stage.referee.failed(two, "Traceback:\nOSError: no such file\n")  # which is no fault of the trial's
        stage.referee.close()
        message = str(ground.loss() and ground.loss().explained())  # type: ignore[union-attr]
    assert everything(path) == before
    assert stage.state.trials[two].failures == 0
    if now is None:
        assert f"'{path}' was removed while the sweep ran" in message
        return
    assert f"'{path}' was moved to '{now}' while the sweep ran" in message
    assert f"tlsweep resume {now.name}" in message
    assert checkpoints <= {f"{name}" for name in everything(now)}
    assert {trial.status for trial in stage.state.trials.values()} == {Status.INTERRUPTED}
    assert [one["kind"] for one in read_journal(now / "journal.jsonl") if one["type"] == "event"][-1] == "interrupted"
    assert set(read_table(now, "trials")["status"].to_pylist()) == {"interrupted"}
    again = Stage(now, "search.trials=3")
    assert one in again.start()
    assert again.train(one, 0.6)


@pytest.mark.parametrize(
    "taken_away", [rename, rename_and_put_a_copy_there, rename_what_holds_it, remove, remove_and_make_another]
)
def test_a_folder_that_is_taken_away_while_a_resume_reads_images_is_told_as_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taken_away: Callable[[Path], Path | None]
) -> None:
    folder: Any = create_sweep_folder(tmp_path / "results", "it", exact=True)
    write_text(folder.spec, dump_spec(load_spec("digits")))

    def read(*given: Any, **options: Any) -> MagicMock:
        taken_away(folder.path)
        return MagicMock(remarks=[])

    monkeypatch.setattr(images, "read_images", read)
    monkeypatch.setattr(driver, "_conduct", pytest.fail)
    with pytest.raises(ResultsError, match=r"results/it' was (moved to '.*'|removed) while the sweep ran"):
        driver.resume("it", results=tmp_path / "results")


@pytest.mark.parametrize("taken_away", [rename, rename_and_put_a_copy_there, rename_what_holds_it])
def test_a_folder_that_is_somewhere_is_not_called_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taken_away: Callable[[Path], Path | None]
) -> None:
    """As with a disk that is unmounted under the sweep: no path leads there, and nothing is lost."""
    folder = create_sweep_folder(tmp_path / "results", "it", exact=True)
    monkeypatch.setattr(ground.Held, "now_at", lambda held: None)
    with Ground(folder.path) as stood_on:
        taken_away(folder.path)  # type: ignore[arg-type]
        with pytest.raises(
            ResultsError, match="unmounted, or moved away, .* goes on .* with tlsweep resume once it is back"
        ):
            stood_on.check()


@pytest.mark.parametrize("what", ["removed", "moved"])
def test_a_journal_that_is_taken_away_is_put_back_or_named(tmp_path: Path, what: str) -> None:
    path = tmp_path / "it"
    stage = Stage(path, "search.trials=1")
    with Ground(path) as ground:
        standing_on(stage, ground)
        (trial,) = stage.start()
        stage.train(trial, 0.5)
        if what == "removed":
            stage.folder.journal.unlink()  # type: ignore[union-attr]
        else:
            os.rename(stage.folder.journal, tmp_path / "journal.txt")  # type: ignore[arg-type]
        assert stage.referee.ending.tick(now=True)
        stage.referee.close()
        ground.put_back_journal()
        with pytest.raises(ResultsError, match=f"journal.jsonl' was {what} .*put|journal.jsonl' was {what} .*move it"):
            ground.check()
    if what == "moved":
        os.rename(tmp_path / "journal.txt", stage.folder.journal)  # type: ignore[arg-type]
    assert Stage(path, "search.trials=1").state.trials[trial].epoch == 1


@pytest.mark.parametrize("kind", ["gcs_server", "raylet"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_private_ray_of_which_something_ended_is_told_of_and_counts_against_no_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, number: signal.Signals
) -> None:
    from ray._private import worker

    sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
    processes = {name: subprocess.Popen(sleep) for name in ("gcs_server", "raylet", "dashboard")}
    started = {name: [SimpleNamespace(process=process)] for name, process in processes.items()}
    listener = socket.create_server(("127.0.0.1", 0))
    address = f"127.0.0.1:{listener.getsockname()[1]}"
    monkeypatch.setattr(worker, "_global_node", SimpleNamespace(all_processes=started, gcs_address=address))
    ray = PrivateRay()
    stage = Stage(tmp_path, "search.trials=2", "faults.max_failures=0")
    one, _ = stage.start()
    try:
        stage.referee.ending._ground = ground_loss = Ground(tmp_path).loss
        ground_loss.__self__._ray = ray  # type: ignore[attr-defined]
        assert not stage.referee.ending.tick(now=True)
        processes["dashboard"].kill()  # without it a sweep goes on
        processes["dashboard"].wait()
        assert not stage.referee.ending.tick(now=True)
        processes[kind].send_signal(number)
        processes[kind].wait()
        stage.referee.failed(one, "Traceback:\nActorDiedError: its node has died\n")
        assert stage.state.trials[one].status is Status.INTERRUPTED
        stage.referee.close()
        with pytest.raises(
            RayLost, match=rf"Ray's {kind} \(process \d+\) ended .*killed by signal {number}.*tlsweep resume"
        ):
            ground_loss.__self__.check()  # type: ignore[attr-defined]
    finally:
        listener.close()
        for process in processes.values():
            process.kill()
            process.wait()
    assert {trial.failures for trial in stage.state.trials.values()} == {0}
    assert not stage.events("retried", "failed")


def test_a_gcs_that_no_longer_listens_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Told to end in order, its process stays for a while."""
    from ray._private import worker

    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        monkeypatch.setattr(worker, "_global_node", SimpleNamespace(all_processes={}, gcs_address=address))
        ray = PrivateRay()
        assert ray.ended() is None
    ray._ask_due = 0.0
    assert ray.ended() == "Ray's gcs_server ended under the sweep (it no longer listens)"


class LeavingRay:
    """A start of a private Ray, whose processes end when it is left, as those of `ray.shutdown` do."""

    def __init__(self) -> None:
        self.reason: str | None = None
        self.private = SimpleNamespace(ended=lambda: self.reason)

    def __enter__(self) -> "LeavingRay":
        return self

    def __exit__(self, *error: object) -> None:
        self.reason = "Ray's raylet ended"
        for thread in threading.enumerate():
            if thread.name == "watch-ray":
                thread.join()

    def cluster(self) -> None: ...

    def log_to(self, path: Path) -> None: ...


def succeeds(ray: LeavingRay) -> None: ...


def every_trial_fails(ray: LeavingRay) -> None:
    raise SweepFailed("all 2 trials failed")


def storage_refuses(ray: LeavingRay) -> None:
    raise ResultsError("a file cannot be kept")


def a_defect(ray: LeavingRay) -> None:
    raise ZeroDivisionError


def ctrl_c(ray: LeavingRay) -> None:
    raise KeyboardInterrupt


def the_raylet_ends(ray: LeavingRay) -> None:
    ray.reason = "Ray's raylet ended"
    raise ValueError("a call to Ray failed")


@pytest.mark.parametrize(
    ("act", "raised"),
    [
        (succeeds, None),
        (every_trial_fails, SweepFailed),
        (storage_refuses, ResultsError),
        (a_defect, ZeroDivisionError),
        (ctrl_c, KeyboardInterrupt),
        (the_raylet_ends, RayLost),
    ],
)
def test_only_a_private_ray_that_ended_by_itself_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, act: Callable[[LeavingRay], None], raised: type[BaseException]
) -> None:
    ended: list[str] = []
    monkeypatch.setattr(ground, "LOOK_SECONDS", 0.001)
    monkeypatch.setattr(ground, "GRACE_SECONDS", 0.001)
    monkeypatch.setattr(Ground, "_end_for_good", lambda ground: ended.append("at once"))
    monkeypatch.setattr(driver, "RayStart", lambda *given, **options: ray)
    monkeypatch.setattr(driver, "Preflight", MagicMock())
    monkeypatch.setattr(driver, "_run", lambda *given: act(ray))
    ray, spec, folder = LeavingRay(), load_spec("digits"), create_sweep_folder(tmp_path, "it", exact=True)
    with ExitStack() as stack:
        if raised is not None:
            stack.enter_context(pytest.raises(raised))
        stood_on = stack.enter_context(Ground(folder.path))
        work = driver._Work(folder, None, stood_on, Interrupts(), Silence())
        driver._conduct(spec, work, MagicMock(settled=lambda spec: spec), driver.History([], {}, {}), driver.Where())
    assert not ended or act is the_raylet_ends


def test_a_folder_that_is_taken_away_while_tables_are_written_ends_the_sweep_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "it"
    stage = Stage(path, "search.trials=3")
    with Ground(path) as ground:
        standing_on(stage, ground)
        (one, *_) = stage.start()
        stage.train(one, 0.5)
        stage.ledger._tables._due = 0.0
        remove_unclaimed = stage.referee._retention.remove_unclaimed
        with monkeypatch.context() as patch:
            patch.setattr(stage.referee._retention, "remove_unclaimed", lambda: (rename(path), remove_unclaimed()))
            stage.referee.tend()
        assert stage.referee.ending.halted
        stage.referee.close()
    assert not path.exists()
    assert set(read_table(tmp_path / "renamed", "trials")["status"].to_pylist()) == {"interrupted"}
    # What cannot be written for another reason is told.
    other = Stage(tmp_path / "other", "search.trials=3")
    monkeypatch.setattr(other.ledger, "write_tables", MagicMock(side_effect=ResultsError("the disk is full")))
    with pytest.raises(ResultsError, match="the disk is full"):
        other.referee.tend()
