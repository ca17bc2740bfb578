"""`submit`, `status`, `attach` and `stop` against a real Ray head, whose dashboard asks for a token."""

import fcntl
import json
import os
import pty
import re
import shutil
import socket
import struct
import subprocess
import tempfile
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import own_code
import pytest
from command_line import MODULE, SMALL, CommandLine, command_line, wait_until
from completeness import assert_complete
from flaky_line import flaky_line
from in_process import Run
from ray_nodes import ray_node

from tlsweep.errors import ConnectionLost
from tlsweep.jobs.dashboard import ADDRESS
from tlsweep.jobs.following import follow
from tlsweep.jobs.server import JobServer
from tlsweep.jobs.stream import job_log_name
from tlsweep.store import open_results

PACED = [*SMALL, "-o", "model.name=own_code:paced", "-o", "model.args={seconds: 0.05}", "-o", "train.epochs=20"]


@dataclass(frozen=True)
class Head:
    port: int
    address: str

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    """With its dashboard it costs 15 s of a core: tests of it are slow ones, so that it starts once in CI."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    port, dashboard, agent = (one.getsockname()[1] for one in sockets)
    for one in sockets:
        one.close()
    with (
        tempfile.TemporaryDirectory(prefix="tj-", dir="/tmp", ignore_cleanup_errors=True) as temp,
        ray_node(
            "--head", "--num-cpus=2", f"--port={port}", f"--temp-dir={temp}", "--dashboard-host=127.0.0.1",
            f"--dashboard-port={dashboard}", f"--dashboard-agent-listen-port={agent}",
        ),
    ):  # fmt: skip
        yield Head(dashboard, f"127.0.0.1:{port}")


@pytest.fixture
def tlsweep(tmp_path: Path) -> Iterator[CommandLine]:
    with command_line(tmp_path) as commands:
        shutil.copy(own_code.__file__, tmp_path)
        yield commands


@pytest.mark.slow
def test_a_job_is_a_launch_somewhere_else(tlsweep: CommandLine, head: Head, tmp_path: Path) -> None:
    """Own code is shipped, the log comes line by line across a lost connection, the results lie on the cluster."""
    log = tmp_path / "log"
    where = ["--results", str(tmp_path / "shared"), "--name", "mine"]
    with flaky_line(head.port) as line:
        url = f"http://127.0.0.1:{line.port}"
        submit = ["submit", "digits", url, *PACED, "-o", "train.epochs=8", *where]
        with tlsweep.start(*submit) as running:
            running.until(lambda: "sweep mine, asha" in running.out)
            line.cut()
            running.until(lambda: "no Ray dashboard answers" in running.err)
            line.mend()
            ended = running.wait()
    assert ended.code == 0
    assert "answers again" in ended.err
    (job,) = json.loads(tlsweep.run("status", "--json", "--on", head.url).out)
    log.write_bytes(JobServer(head.url).read(JobServer(head.url).job(job["job"]), job_log_name(job["job"])))
    assert ended.out == log.read_text()
    assert ended.out.count("best of main") == 1
    results = open_results("mine", tmp_path / "shared")
    assert len(assert_complete(results)) == job["epochs"]
    assert re.fullmatch(r"tlsweep-mine-\d{8}-\d{6}-[0-9a-f]{4}", job["job"])
    assert (job["sweep"], job["state"], job["exit_code"]) == ("mine", "succeeded", 0)
    assert job["best"]["main"]["val_accuracy"] == pytest.approx(results.winner().best["val_accuracy"])
    details = JobServer(head.url).client.get_job_info(job["job"])
    token = Path.home().joinpath(".ray/auth_token").read_text().strip()
    assert token not in json.dumps([details.runtime_env, details.metadata, details.entrypoint])


@pytest.mark.slow
def test_what_only_the_cluster_can_find_wrong_is_one_message_too(tlsweep: CommandLine, head: Head) -> None:
    ended = tlsweep.run("resume", "absent", "--on", head.url, "--results", f"{tlsweep.cwd}/shared")
    assert ended.code == 2
    assert f"error: there is no sweep yet in '{tlsweep.cwd}/shared'" in ended.out or "no sweep 'absent'" in ended.out
    assert ended.out.count("error: ") == 1
    assert "Traceback" not in ended.out + ended.err


@pytest.mark.slow
def test_a_job_is_left_alone_watched_stopped_and_gone_on_with(tlsweep: CommandLine, head: Head) -> None:
    shared, gate = str(tlsweep.cwd / "shared"), tlsweep.cwd / "gate"
    submit = ["submit", "digits", head.url, "--results", shared]
    # On a busy machine the log of a job arrives late: its trials wait in the fourth epoch, and train fast once resumed.
    gated = ["-o", "model.name=own_code:gated", "-o", f"model.args={{free: 30, gate: {gate}}}"]
    with tlsweep.start(*submit, *SMALL, *gated, "-o", "train.epochs=8", "-o", "train.batch_size=10") as running:
        running.until(lambda: "sweep digits" in running.out)
        left = running.interrupt()
    assert left.code == 130
    hint = re.fullmatch(
        r"the job goes on; 'tlsweep (attach (\S+) .+)' shows it, 'tlsweep (stop .+)' ends it\n", left.err
    )
    assert hint is not None
    attach, job, stop = hint.groups()
    with terminal(tlsweep, "attach", "--on", head.url) as screen:
        screen.until("progress")
        screen.until("best so far")
        (now,) = json.loads(tlsweep.run("status", job, "--on", head.url, "--json").out)
        stopped = tlsweep.run(*stop.split())
        code = screen.wait()
    assert (now["state"], now["exit_code"], now["sweep"]) == ("running", None, "digits")
    assert code == 130
    assert "The sweep was interrupted" in screen.text
    assert stopped.code == 0
    assert f"tlsweep resume digits --results {shared} --on {head.url}" in stopped.out
    assert open_results("digits", shared).state().interrupted
    assert tlsweep.run(*attach.split()).code == 130
    assert "no job of tlsweep runs" in tlsweep.run("stop", "--on", head.url).err
    gate.touch()
    again = tlsweep.run(
        "resume", "digits", "--on", head.url, "--results", shared, "--code", str(tlsweep.cwd), "--detach"
    )
    assert (again.code, again.out.startswith("submitted tlsweep-digits-")) == (0, True)
    assert tlsweep.run("attach", "--on", head.url).code == 0
    assert_complete(open_results("digits", shared))


@pytest.mark.slow
def test_a_token_file_that_cannot_be_read_is_named(tlsweep: CommandLine, head: Head) -> None:
    tlsweep.environment = {"RAY_AUTH_TOKEN_PATH": "/nowhere/token"}
    ended = tlsweep.run("status", "--on", head.url)
    assert (ended.code, ended.err.startswith("error: RAY_AUTH_TOKEN_PATH = '/nowhere/token': cannot be read")) == (
        2,
        True,
    )


@pytest.mark.slow
def test_an_unknown_job_is_named(tlsweep: CommandLine, head: Head) -> None:
    ended = tlsweep.run("attach", "nonesuch", "--on", head.url)
    assert (ended.code, "there is no job 'nonesuch'" in ended.err) == (2, True)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://127.0.0.1:1", "no Ray dashboard answers at 'http://127.0.0.1:1' (connection refused)"),
        ("127.0.0.1:8265", "wanted is that of the dashboard, http://HOST:8265"),
        ("ray://head:10001", "wanted is that of the dashboard, http://HOST:8265"),
        ("http://head:6379", "wanted is that of the dashboard, http://HOST:8265"),
        ("http://user:secret@head:8265", "holds a password"),
    ],
)
def test_an_address_that_is_none_is_one_line(run: Run, url: str, told: str) -> None:
    code, _, err = run("status", "--on", url)
    assert code == 2
    assert len(err.splitlines()) == 1
    assert told in err
    assert "secret" not in err


@pytest.mark.slow
@pytest.mark.parametrize("named", [None, "http://10.0.0.1:8265"])
def test_who_asks_one_cluster_does_not_name_it_for_later_commands(
    head: Head, monkeypatch: pytest.MonkeyPatch, named: str | None
) -> None:
    """One process may run several commands, as these tests do."""
    monkeypatch.delenv(ADDRESS, raising=False)
    if named:
        monkeypatch.setenv(ADDRESS, named)
    assert JobServer(head.url).client.get_address() == head.url
    assert os.environ.get(ADDRESS) == named


@pytest.mark.slow
def test_results_that_would_vanish_with_the_job_are_refused(tlsweep: CommandLine, head: Head) -> None:
    ended = tlsweep.run("submit", "digits", head.url)
    assert ended.code == 2
    assert "--results results: a job has no working directory that stays" in ended.err


@pytest.mark.slow
def test_a_cluster_that_is_gone_for_good_is_given_up(head: Head) -> None:
    told: list[str] = []
    with flaky_line(head.port) as line:
        server = JobServer(f"http://127.0.0.1:{line.port}")
        line.cut()
        with pytest.raises(ConnectionLost, match="If only the connection is lost, the sweep goes on"):
            list(follow(server, "tlsweep-x", "x.log", told.append, patience=1.0))
    assert len(told) == 1


class Screen:
    """A command on a terminal, and what it has shown."""

    def __init__(self, process: "subprocess.Popen[bytes]", terminal: int) -> None:
        self.text = ""
        self._process, self._terminal = process, terminal

    def until(self, fragment: str) -> None:
        wait_until(lambda: fragment in self.text or self._process.poll() is not None)
        assert fragment in self.text

    def wait(self) -> int:
        return self._process.wait(60)

    def read(self) -> None:
        """Read until nobody holds the other side any more."""
        with suppress(OSError):
            while data := os.read(self._terminal, 65536):
                self.text += data.decode(errors="replace")


@contextmanager
def terminal(tlsweep: CommandLine, *arguments: str) -> Iterator[Screen]:
    """`tlsweep ...` on a terminal of 100 × 30 characters, until the block ends."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    environment = os.environ | tlsweep.environment | {"TERM": "xterm", "COLUMNS": "100", "LINES": "30"}
    process = subprocess.Popen(
        [*MODULE, *arguments], cwd=tlsweep.cwd, env=environment, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    screen = Screen(process, ours)
    reader = threading.Thread(target=screen.read)
    reader.start()
    with process:
        try:
            yield screen
        finally:
            process.kill()
            reader.join()
            os.close(ours)
