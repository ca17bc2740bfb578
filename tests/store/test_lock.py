"""One process at a time runs a sweep, and a dead one runs none."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tlsweep.errors import ResultsError
from tlsweep.store import FolderLock, SweepFolder

HOLD = """
import sys, time
from pathlib import Path
from tlsweep.store import FolderLock, SweepFolder
with FolderLock(SweepFolder(Path(sys.argv[1]))):
    print("has it", flush=True)
    time.sleep(60)
"""


def test_the_second_process_is_refused_until_the_first_one_is_dead(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path)
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "has it\n"
        with pytest.raises(
            ResultsError, match=rf"sweep '{folder.name}' is being run by process {other.pid} on \S+; wait"
        ):
            FolderLock(folder)
        os.kill(other.pid, signal.SIGKILL)
        other.wait()
        with FolderLock(folder):
            assert f"process {os.getpid()} on" in folder.lock.read_text()


def test_it_is_free_again_after_the_block_and_two_in_one_process_are_two(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path)
    for _ in range(2):
        with FolderLock(folder), pytest.raises(ResultsError, match="is being run by"):
            FolderLock(folder)


def test_after_an_error_it_is_free(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path)
    with pytest.raises(ZeroDivisionError), FolderLock(folder):
        raise ZeroDivisionError
    with FolderLock(folder):
        pass


@pytest.mark.parametrize(
    ("call", "number", "told"),
    [
        (os.open, errno.EACCES, "cannot write to sweep '{0.name}' in '{0}': Permission denied; run it as the user"),
        (os.open, errno.EROFS, "cannot write to sweep '{0.name}' in '{0}': Read-only file system; run it as the user"),
        (os.open, errno.ESTALE, "cannot write to sweep '{0.name}' in '{0}': Stale file handle; run it as the user"),
        (fcntl.flock, errno.ENOLCK, "the file system of '{0}' gives no locks (No locks available), so nothing would"),
        (fcntl.flock, errno.EOPNOTSUPP, "the file system of '{0}' gives no locks (Operation not supported), so"),
        (fcntl.flock, errno.ENOSYS, "the file system of '{0}' gives no locks (Function not implemented), so nothing"),
    ],
)
def test_a_folder_that_cannot_be_locked_says_why_and_blames_no_other_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Callable[..., Any], number: int, told: str
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(sys.modules[call.__module__.replace("posix", "os")], call.__name__, refuse)
    with pytest.raises(ResultsError) as refused:
        FolderLock(SweepFolder(tmp_path))
    assert str(refused.value).startswith(told.format(tmp_path))
    assert "--results" in str(refused.value)
