"""Storage that refuses is no fault of a trial; a file that the user's own code opens is."""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from ray.exceptions import RayTaskError
from ray.train._internal.storage import StorageContext
from referee_harness import Stage

from tlsweep.errors import ModelError, ResultsError
from tlsweep.files import StorageError, write_whole
from tlsweep.store import SweepFolder
from tlsweep.sweep.driver import _storage_errors_explained
from tlsweep.sweep.faults import TrialFailed, whose_fault
from tlsweep.sweep.trainable import last_sound, write_checkpoint
from tlsweep.sweep.tune_adapter import Stay, failure_of

REFUSALS = [
    errno.EIO, errno.ESTALE, errno.EACCES, errno.EPERM, errno.EROFS, errno.ETIMEDOUT, errno.EMFILE, errno.ENFILE,
    errno.ENOSPC, errno.EDQUOT, errno.ENOTCONN, errno.EREMOTEIO, errno.ENXIO, errno.EFBIG,
]  # fmt: skip
WRITING = ["open", "replace", "mkdir"]


@contextmanager
def refusing(call: str, number: int, below: Path) -> Iterator[None]:
    """Let a system call fail for every path that lies below a folder."""
    allowed = getattr(os, call)

    def refuse(path: Any, *arguments: Any, **options: Any) -> Any:
        if str(path).startswith(str(below)):
            raise OSError(number, os.strerror(number))  # as a write to an open file: without a name
        return allowed(path, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, call, refuse)
        yield


@pytest.mark.parametrize("number", REFUSALS, ids=errno.errorcode.get)
@pytest.mark.parametrize("call", WRITING)
def test_a_checkpoint_that_cannot_be_written_is_a_fault_of_the_storage(tmp_path: Path, call: str, number: int) -> None:
    stage = Stage(tmp_path, "search.trials=1")
    (trial,) = stage.start()
    with (
        refusing(call, number, tmp_path / "checkpoints"),
        pytest.raises(StorageError, match=rf"checkpoints/{trial}/g0-e0001-\w+\.pt': {os.strerror(number)}") as caught,
    ):
        write_checkpoint(stage.folder, stage.placed[trial], 1, b"weights")
    assert whose_fault(caught.value) == "storage"


@pytest.mark.parametrize("number", REFUSALS, ids=errno.errorcode.get)
def test_a_checkpoint_that_cannot_be_read_is_not_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    stage = Stage(tmp_path, "search.trials=1")
    (trial,) = stage.start()
    stage.train(trial, 0.5)

    def refuse(path: Path) -> bytes:
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(StorageError, match=os.strerror(number)):
        last_sound(stage.folder, stage.state.trials[trial].trail)


def _user_opens_what_is_not_there() -> None:
    Path("/nowhere/labels.csv").read_text()


def _user_may_not_read() -> None:
    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), "/home/me/labels.csv")


def _users_disk_is_full() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _user_raises() -> None:
    raise ValueError("tlsweep.files.StorageError: 'x': this is only text")


def _weights_do_not_fit() -> None:
    raise ModelError("the weights do not fit")


def _storage_refuses() -> None:
    write_whole(Path("/nowhere/at/all"), b"x")


@pytest.mark.parametrize(
    ("raises", "fault"),
    [
        (_user_opens_what_is_not_there, "user"),
        (_user_may_not_read, "user"),
        (_users_disk_is_full, "user"),
        (_user_raises, "user"),
        (_weights_do_not_fit, "mistake"),
        (_storage_refuses, "storage"),
    ],
)
def test_whose_fault_it_is_travels_with_the_exception(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raises: Callable[[], None], fault: str
) -> None:
    with pytest.raises((OSError, ValueError, ModelError)) as caught:
        raises()
    error = RayTaskError("train", "Traceback …", TrialFailed.of(caught.value))
    monkeypatch.setattr(StorageContext, "_get_session_path", lambda storage: str(tmp_path / "here"))
    storage = StorageContext(storage_path=str(tmp_path / "there"), experiment_dir_name="it", trial_dir_name="t")
    trial = Stay("none", stub=True, storage=storage)
    trial.init_local_path()
    assert failure_of(trial).fault == "user"  # its process died, without an exception
    trial.handle_error(error)
    assert failure_of(trial).fault == fault


@pytest.mark.parametrize("file", ["checkpoints/t0000/x.pt", "best/model.json", "reports.parquet", "spec.yaml"])
@pytest.mark.parametrize("number", [errno.EIO, errno.EROFS, errno.ESTALE])
def test_a_file_of_the_sweep_that_cannot_be_kept_is_one_line_that_names_it_and_goes_on(
    tmp_path: Path, file: str, number: int
) -> None:
    folder = SweepFolder(tmp_path / "it")
    with pytest.raises(ResultsError) as caught, _storage_errors_explained(folder):
        raise OSError(number, os.strerror(number), str(folder.path / file))  # type: ignore[operator]
    message = str(caught.value)
    assert message.startswith(f"cannot write '{tmp_path}/it/{file}': {os.strerror(number)}; put that right")
    assert f"go on with 'tlsweep resume it --results {tmp_path}'" in message
    assert "\n" not in message


def test_a_file_of_the_users_own_code_is_not_explained_as_storage(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), _storage_errors_explained(SweepFolder(tmp_path / "it")):
        Path("/nowhere/labels.csv").read_text()


def test_storage_that_refuses_to_give_up_a_checkpoint_does_not_end_the_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Stage(tmp_path, "search.trials=1", "train.epochs=6")
    (trial,) = stage.start()

    def refuse(path: Path, missing_ok: bool = False) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    monkeypatch.setattr(Path, "unlink", refuse)
    for _ in range(5):
        assert stage.train(trial, 0.5)
    stage.referee.close()
    assert stage.state.trials[trial].epoch == 5
