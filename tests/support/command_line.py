"""tlsweep as its user meets it: a process in a working directory, and the Ray that it starts."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

PATIENCE = 400.0
"""Seconds that a whole sweep may take on a machine that others use too."""
MODULE = (sys.executable, "-m", "tlsweep")
SCRIPT = (str(Path(sys.executable).with_name("tlsweep")),)
_CHANGES = [
    "search.trials=2",
    "search.min_epochs=1",
    "train.epochs=2",
    "model.name=mlp",
    "model.weights=none",
    "controls=[]",
]
SMALL = [word for change in _CHANGES for word in ("-o", change)]
"""What makes the preset `digits` two trials of a moment."""


@dataclass(frozen=True)
class Ended:
    """What a command left behind."""

    code: int
    out: str
    err: str


class Running:
    """A command in the background. Its output goes to files: a pipe that nobody reads would block it."""

    def __init__(self, process: "subprocess.Popen[bytes]", out: Path, err: Path) -> None:
        self.process, self._out, self._err = process, out, err

    @property
    def out(self) -> str:
        return self._out.read_text()

    @property
    def err(self) -> str:
        return self._err.read_text()

    def wait(self, timeout: float = PATIENCE) -> Ended:
        """Wait until it ends by itself."""
        return Ended(self.process.wait(timeout), self.out, self.err)

    def until(self, condition: Callable[[], object]) -> None:
        """Wait until `condition` is true.

        Raises:
            AssertionError: the command ended before.
        """

        def met_or_ended() -> object:
            return condition() or self.process.poll() is not None

        wait_until(met_or_ended)
        assert self.process.poll() is None, self.wait()

    def interrupt(self, number: signal.Signals = signal.SIGINT, timeout: float = PATIENCE) -> Ended:
        """Send a signal, and wait until it ends."""
        self.process.send_signal(number)
        return self.wait(timeout)


class CommandLine:
    """Runs tlsweep in `cwd`; each Ray that it starts keeps its files below `temp`, by which its processes are known."""

    def __init__(self, cwd: Path, temp: Path) -> None:
        self.cwd, self.temp = cwd, temp
        self.environment: dict[str, str] = {}
        """Variables beside those of this process."""
        self._count = 0

    def run(
        self, *arguments: str, program: tuple[str, ...] = MODULE, stdin: str = "", timeout: float = PATIENCE
    ) -> Ended:
        """`tlsweep ...`, to its end."""
        with self.start(*arguments, program=program, stdin=stdin) as running:
            return running.wait(timeout)

    @contextmanager
    def start(self, *arguments: str, program: tuple[str, ...] = MODULE, stdin: str = "") -> Iterator[Running]:
        """`tlsweep ...` in the background; it is killed if it still runs when the block ends."""
        self._count += 1
        paths = [self.temp / f"{self._count}.{name}" for name in ("in", "out", "err")]
        paths[0].write_text(stdin)
        with paths[0].open() as given, paths[1].open("w") as out, paths[2].open("w") as err:
            process = subprocess.Popen(
                [*program, *arguments],
                cwd=self.cwd,
                env=self._environment(),
                stdin=given,
                stdout=out,
                stderr=err,
                process_group=0,  # as a shell gives a command its own
            )
        with process:
            try:
                yield Running(process, paths[1], paths[2])
            finally:
                process.kill()

    def _environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if name not in ("RAY_ADDRESS", "FORCE_COLOR")}
        return inherited | {"RAY_TMPDIR": str(self.temp), "TLSWEEP_CACHE": str(self.temp / "cache")} | self.environment

    @property
    def results(self) -> Path:
        """The folder that sweeps go to by default."""
        return self.cwd / "results"

    def ray_was_started(self) -> bool:
        """Whether a Ray has left its traces."""
        return (self.temp / "ray").exists()

    def ray_processes(self) -> dict[int, str]:
        """Number and command of every process that runs from `temp` or writes there: workers rename themselves."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                command = (folder / "cmdline").read_bytes().decode(errors="replace")
                names = [command, *(os.readlink(file) for file in (folder / "fd").iterdir())]
            except OSError:  # ended meanwhile, or somebody else's
                continue
            if int(folder.name) != os.getpid() and any(f"{self.temp}/" in name for name in names):
                found[int(folder.name)] = re.sub(r"\0+", " ", command).strip()
        return found

    def kill_ray(self) -> None:
        """Whatever a test left running."""
        for number in self.ray_processes():
            with suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)


def wait_until(condition: Callable[[], object], timeout: float = PATIENCE) -> None:
    """Ask ten times a second.

    Raises:
        TimeoutError: it did not become true.
    """
    end = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {timeout:g} s")
        time.sleep(0.1)


@contextmanager
def command_line(cwd: Path) -> Iterator[CommandLine]:
    """With a short temporary folder for Ray, whose sockets must not have long paths; whatever still runs is killed."""
    temp = Path(tempfile.mkdtemp(prefix="te-", dir="/tmp"))
    tlsweep = CommandLine(cwd, temp)
    try:
        yield tlsweep
    finally:
        tlsweep.kill_ray()
        shutil.rmtree(temp, ignore_errors=True)


def assert_one_message(ended: Ended, told: list[str]) -> None:
    """Exit code 2, nothing but phases on standard output, and one message that tells everything in `told`."""
    assert ended.code == 2
    assert re.fullmatch(r"((reading|building|starting) [^\n]+\n)*", ended.out)
    assert ended.err.startswith("error: ")
    assert ended.err.count("error: ") == 1
    assert "Traceback" not in ended.err
    assert [fragment for fragment in told if fragment not in ended.err] == []
