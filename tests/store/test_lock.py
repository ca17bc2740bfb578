"""One process at a time runs a sweep, and a dead one runs none."""

import os
import signal
import subprocess
import sys
from pathlib import Path

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
