"""Workers of a private Ray as copies of one process that has imported what they need.

A worker that starts as Ray (2.60) starts it imports torch (2.15) and what Ray and Tune stand on, 2 s of processor time
(measured), before it can train. Here one process imports that while the driver prepares, and forks itself whenever the
raylet wants a worker; workers share the memory of what was imported. Ray itself they import.

The raylet starts `forked_worker.py` in place of Python. That program hands its command, environment and open files to
this process, and ends; where nobody answers, it becomes the worker that Ray would have started.
"""

import array
import gc
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from secrets import token_hex
from typing import ClassVar, NamedTuple

from tlsweep.allocation import keep_freed_memory, keeping, rare_collections

_LAUNCHER = Path(__file__).with_name("forked_worker.py")
_WORKERS = "--python_worker_command="
_IN_EACH = ("tlsweep.sweep.trainable",)
"""What a trial needs and no fork may have from another."""
_BACKLOG = 1000
"""Workers that may wait while this process imports."""


class ForkServer:
    """The process that forks, as the driver sees it. It ends with the driver, as its standard input does."""

    sessions: ClassVar[set[int]] = set()
    """Those that run, with their workers in a session each, by the numbers of their processes."""

    def __init__(self, modules: Sequence[str], threads: int) -> None:
        """Start it; it imports `modules`.

        Args:
            modules: Their names, in order. None may import Ray.
            threads: CPU threads of a trial: torch reads what OpenMP may use when it is imported, in a worker that Ray
                starts by itself after Ray has set it (_private/utils.py, `set_omp_num_threads_if_unset`).
        """
        # In Linux's abstract namespace, so that no file is left behind. Who may connect is checked.
        self._address = f"tlsweep-{token_hex(16)}"
        # Not by -m: what stands in the folder that a program is started in is found as the driver finds it.
        code = (
            "import json, sys; sys.path[:] = json.loads(sys.argv[1])\n"
            "from tlsweep.cluster.fork_server import main; main()"
        )
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(f"\0{self._address}")
            listener.listen(_BACKLOG)
            self.process = subprocess.Popen(
                [sys.executable, "-c", code, json.dumps(sys.path), str(listener.fileno()), *modules],
                env=keeping({"OMP_NUM_THREADS": str(threads)} | os.environ),
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[listener.fileno()],
                start_new_session=True,  # out of reach of signals that are meant for the driver, as Ray is
            )
        self.sessions.add(self.process.pid)

    def raylet_command(self, command: Sequence[str]) -> list[str]:
        """Change the command of a raylet so that its workers come from here."""
        launch = subprocess.list2cmdline([sys.executable, "-I", "-S", str(_LAUNCHER), self._address])
        return [
            part.replace(_WORKERS, f"{_WORKERS}{launch} ", 1) if part.startswith(_WORKERS) else part for part in command
        ]

    def close(self) -> None:
        """End it, whatever it imports, if it is there; workers that are there stay."""
        assert self.process.stdin is not None
        self.process.kill()
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait()
        self.sessions.discard(self.process.pid)


class Request(NamedTuple):
    """What a worker is to be."""

    command: list[str]
    environment: dict[str, str]
    folder: str
    niceness: int
    oom_score: str


def main() -> None:
    """Import modules, then fork for each that asks, until standard input ends. A fork becomes what was asked for."""
    listener = socket.socket(fileno=int(sys.argv[2]))
    keep_freed_memory()  # settled with this process for its forks, whose environment does not say what glibc was told
    with rare_collections():
        _import(sys.argv[3:])
    # All forks would draw the same identifiers: Ray's generator of them (Abseil's) is seeded once Ray is imported.
    if "ray" in sys.modules:
        return
    gc.collect()
    gc.freeze()  # else a collection in a worker would write to pages that it shares
    for connection in _connections(listener):
        with connection:
            if (asked := _receive(connection)) is None:
                continue
            request, files = asked
            if _fork() == 0:
                break
            with suppress(OSError):  # it was killed while it waited
                connection.send(b"f")
            for file in files:
                os.close(file)
    else:
        return
    listener.close()
    _become(request, files)


def _import(modules: Iterable[str]) -> None:
    for name in modules:
        with suppress(Exception):  # a worker that needs it will tell
            import_module(name)


def _fork() -> int:
    with warnings.catch_warnings():
        # Python 3.12 and later warn of threads, which a fork does not have. Here there is jemalloc's (Arrow), and with
        # OMP_NUM_THREADS above 1 OpenBLAS's: both know of forks.
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def _connections(listener: socket.socket) -> Iterator[socket.socket]:
    """Wait for who asks, until standard input ends. Nobody waits for workers: they are Ray's."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        ready, _, _ = select.select([0, listener.fileno()], [], [])
        if 0 in ready:
            return
        yield listener.accept()[0]


def _receive(connection: socket.socket) -> tuple[Request, list[int]] | None:
    """Read a request and the three open files that come with it; None of another user."""
    _, user, _ = array.array("i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    if user not in (os.geteuid(), 0):
        return None
    with suppress(OSError, ValueError, TypeError):
        connection.settimeout(5)
        content, files, _, _ = socket.recv_fds(connection, 1 << 16, 3)
        content += b"".join(iter(lambda: connection.recv(1 << 16), b""))
        return Request(*json.loads(content)), files
    return None


def _become(request: Request, files: Sequence[int]) -> None:
    """Be the worker."""
    # As Ray's own are: where a worker ends, the raylet ends the rest of its process group (ray 2.60,
    # `process_group_cleanup_enabled`), which must not be this process and all other workers.
    os.setpgid(0, 0)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.chdir(request.folder)
    os.environ.clear()
    os.environ.update(request.environment)
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, request.niceness)
        Path("/proc/self/oom_score_adj").write_text(request.oom_score, encoding="ascii")
    # With Ray in it from here on, while the driver is not ready for it either.
    with rare_collections():
        _import(_IN_EACH)
    if "numpy" in sys.modules:  # Python seeds its own generator anew in a fork, NumPy does not
        sys.modules["numpy"].random.seed()
    # Before it stands a program of Ray's that only sets up a runtime environment, and then starts Python again.
    script = next(place for place, part in enumerate(request.command) if part.endswith("default_worker.py"))
    sys.argv = [part for part in request.command[script:] if not part.startswith("--language=")]
    sys.path.insert(0, os.path.dirname(sys.argv[0]))
    runpy.run_path(sys.argv[0], run_name="__main__")
