"""Signals that ask for an end are heard once, however often they are sent at once."""

import os
import signal
import subprocess
import sys

import pytest

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
PROGRAM = """
import signal, sys
from tlsweep.sweep.interrupts import Interrupts
times, number, ignored = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "ignored"
if ignored:
    signal.signal(number, signal.SIG_IGN)
heard = []
with Interrupts() as interrupts, interrupts.handled_by(lambda: heard.append(1)):
    for _ in range(times):
        signal.raise_signal(number)
    if times > 2:
        interrupts._seen -= 60  # a minute later
        signal.raise_signal(number)
print(len(heard))
"""


def run(times: int, number: signal.Signals, ignored: str = "heard") -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", PROGRAM, str(times), str(int(number)), ignored]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_that_arrives_twice_at_once_is_one(number: signal.Signals) -> None:
    """As `timeout` sends it: to its command, and to the group."""
    ended = run(2, number)
    assert (ended.returncode, ended.stdout) == (0, "1\n"), ended.stderr


@pytest.mark.parametrize("number", SIGNALS)
def test_a_later_one_ends_at_once_with_the_exit_code_of_an_interrupt(number: signal.Signals) -> None:
    assert run(3, number).returncode == 130


THIRD = """
import signal
from tlsweep.sweep import interrupts
def kill_private_ray():
    signal.raise_signal(signal.SIGINT)  # by somebody who is impatient
    raise RuntimeError("a process of Ray is gone already")
interrupts.kill_private_ray = kill_private_ray
with interrupts.Interrupts() as heard, heard.handled_by(lambda: None):
    signal.raise_signal(signal.SIGINT)
    heard._seen -= 60
    signal.raise_signal(signal.SIGINT)
"""


def test_a_third_one_does_not_change_how_the_second_ends() -> None:
    ended = subprocess.run([sys.executable, "-c", THIRD], capture_output=True, text=True, timeout=120)
    assert ended.returncode == 130
    assert "Traceback" not in ended.stderr


def test_under_nohup_a_terminal_may_close() -> None:
    ended = run(2, signal.SIGHUP, "ignored")
    assert (ended.returncode, ended.stdout) == (0, "0\n"), ended.stderr


@pytest.mark.parametrize("number", SIGNALS)
def test_before_trials_run_a_signal_is_ctrl_c(number: signal.Signals) -> None:
    from tlsweep.sweep.interrupts import Interrupts

    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt), Interrupts():
        os.kill(os.getpid(), number)
    assert signal.getsignal(number) == before


LEAVING = """
import os, signal, sys, threading, time
import tlsweep.__main__ as program
sys.modules["pyarrow"] = sys
def functions(frame):
    while frame is not None:
        yield frame.f_code.co_name
        frame = frame.f_back
def signal_once_waited_for():
    while "_shutdown" not in functions(sys._current_frames()[threading.main_thread().ident]):
        pass
    while True:  # Python misses a signal that comes right before it begins to wait for a lock
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)
def main():
    threading.Thread(target=signal_once_waited_for).start()
    raise SystemExit(int(sys.argv[1]))
program.main = main
program.run()
"""


@pytest.mark.parametrize("code", [0, 2, 130])
def test_ctrl_c_while_the_program_waits_for_what_it_started_ends_it_without_a_traceback(code: int) -> None:
    ended = subprocess.run([sys.executable, "-c", LEAVING, str(code)], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stderr) == (130, "")


HANGING = """
import subprocess, sys, threading, time
import ray
import tlsweep.__main__ as program
program.PATIENCE = 0.5
def main():
    threading.Thread(target=subprocess.run, args=[["sleep", "600"]]).start()
    threading.Thread(target=time.sleep, args=[600]).start()
    raise SystemExit(int(sys.argv[1]))
program.main = main
program.run()
"""


@pytest.mark.parametrize("code", [0, 130])
def test_what_never_ends_is_ended_with_all_that_it_started(code: int) -> None:
    """As a Ray that hangs while it starts. Who reads the output of what it started would wait as long."""
    ended = subprocess.run([sys.executable, "-c", HANGING, str(code)], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stderr) == (code, "")
