"""Workers that are copies of one process: what they are given, and what happens where there can be no copy."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from page_faults import STEPS

from tlsweep.cluster import fork_server
from tlsweep.cluster.fork_server import ForkServer
from tlsweep.cluster.where import WORKERS_IMPORT

WORKER = (
    STEPS
    + """
import json, os, sys
print(json.dumps({
    "parent": os.getppid(), "arguments": sys.argv[1:], "own": os.environ.get("OWN"), "folder": os.getcwd(),
    "imported": "decimal" in sys.modules, "beside": sys.path[0], "niceness": os.getpriority(os.PRIO_PROCESS, 0),
    "keeps": count() < 100, "told": os.environ.get("GLIBC_TUNABLES"),
}), flush=True)
"""
)


@pytest.fixture(scope="module")
def server() -> Iterator[ForkServer]:
    started = ForkServer(["decimal", "no_such_module"], threads=1)
    yield started
    started.close()


def ask(server: ForkServer, folder: Path, *arguments: str) -> dict[str, Any]:
    """Start a worker as a raylet does; what it says of itself."""
    worker = folder / "default_worker.py"
    worker.write_text(WORKER)
    given = [sys.executable, str(worker), "--node-id=1", "--language=PYTHON", *arguments]
    (command,) = server.raylet_command([f"--python_worker_command={subprocess.list2cmdline(given)}"])
    with (folder / "out").open("w") as out:
        program = subprocess.Popen(
            command.removeprefix("--python_worker_command=").split(),
            stdout=out, cwd=folder, env=os.environ | {"OWN": "yes"},
        )  # fmt: skip
        assert program.wait() == 0
    while not (said := (folder / "out").read_text()).endswith("\n"):  # the program ends before the worker
        os.sched_yield()
    found: dict[str, Any] = json.loads(said)
    return found | {"forked": found["parent"] == server.process.pid}


def test_a_worker_is_a_fork_with_all_that_the_raylet_gave_it(server: ForkServer, tmp_path: Path) -> None:
    assert ask(server, tmp_path) == {
        "parent": server.process.pid, "forked": True, "imported": True, "own": "yes", "arguments": ["--node-id=1"],
        "folder": str(tmp_path), "beside": str(tmp_path), "niceness": os.getpriority(os.PRIO_PROCESS, 0),
        "keeps": True, "told": os.environ.get("GLIBC_TUNABLES"),  # as tests/test_allocation.py has it
    }  # fmt: skip


def test_a_worker_that_wants_another_environment_is_started_as_ever(server: ForkServer, tmp_path: Path) -> None:
    found = ask(server, tmp_path, "--serialized-runtime-env-context={}")
    assert (found["forked"], found["arguments"][1:]) == (
        False, ["--language=PYTHON", "--serialized-runtime-env-context={}"],
    )  # fmt: skip


def test_nothing_that_workers_import_beforehand_brings_ray() -> None:
    """Workers that had it from one process would draw the same identifiers (Abseil's generator): one would crash."""
    code = "import sys; [__import__(name) for name in sys.argv[1:]]; assert 'ray' not in sys.modules"
    subprocess.run([sys.executable, "-c", code, *WORKERS_IMPORT], check=True)


def test_another_user_gets_no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = fork_server.socket.socketpair()
    with ours, theirs:
        monkeypatch.setattr(os, "geteuid", lambda: 12345)
        monkeypatch.setattr(fork_server.array, "array", lambda *_: (1, 54321, 1))
        assert fork_server._receive(ours) is None


def test_it_ends_with_the_driver_and_workers_are_then_started_as_ever(tmp_path: Path) -> None:
    ended = ForkServer([], threads=1)
    assert ended.process.stdin is not None
    ended.process.stdin.close()  # as the kernel does, whatever has killed a driver
    assert ended.process.wait(60) == 0
    assert ask(ended, tmp_path)["forked"] is False
    assert ended.process.pid in ForkServer.sessions
    ended.close()
    assert ended.process.pid not in ForkServer.sessions


def test_what_stands_for_an_agent_writes_down_its_ports_and_ends_with_the_raylet(tmp_path: Path) -> None:
    program = str(Path(fork_server.__file__).with_name("no_agent.py"))
    raylet = (
        "import subprocess, sys, pathlib\n"
        "agent = subprocess.Popen([sys.executable, '-I', '-S', *sys.argv[1:]], stdout=subprocess.PIPE)\n"
        "while not pathlib.Path('b_node').exists(): pass\n"
    )
    begun = [sys.executable, "-c", raylet, program, str(tmp_path), "node", "a=-1", "b=1"]
    subprocess.run(begun, cwd=tmp_path, check=True, timeout=60)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a_node": "-1", "b_node": "1"}
