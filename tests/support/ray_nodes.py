"""Real nodes of a Ray cluster on this machine, started as a user would."""

import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

RAY = str(Path(sys.executable).with_name("ray"))
START = (RAY, "start")
LEAN_START = (sys.executable, str(Path(__file__).with_name("lean_node.py")))


@contextmanager
def ray_node(
    *arguments: str,
    below: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    start: Sequence[str] = START,
) -> Iterator["subprocess.Popen[str]"]:
    """`ray start ...` in the background, until the block ends; `below` a command that runs it, with more variables.

    Ray asks for this user's token wherever there is one; here always, so that all nodes agree.
    """
    if not (Path.home() / ".ray" / "auth_token").exists():  # else two seconds of a core
        subprocess.run([RAY, "get-auth-token", "--generate"], check=True, capture_output=True)
    with ExitStack() as stack:
        process = subprocess.Popen(
            [
                *below, *start, "--block", "--num-gpus=0", "--disable-usage-stats", "--include-log-monitor=false",
                *arguments,
            ],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env=os.environ | {"RAY_AUTH_MODE": "token"} | (environment or {}),
        )  # fmt: skip
        started = stack.enter_context(process)
        stack.callback(started.terminate)
        assert started.stdout is not None
        output = []
        for line in started.stdout:
            output.append(line)
            if "Ray runtime started" in line:
                break
        else:
            pytest.fail("ray start failed:\n" + "".join(output))
        # Ray says things while it runs: an unread pipe would fill up and block it.
        threading.Thread(target=started.stdout.read, daemon=True).start()
        yield started


@contextmanager
def ray_head(cpus: int) -> Iterator[str]:
    """The first node of a cluster, in a temp dir of its own, with workers from lean_node.py; its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with (
        tempfile.TemporaryDirectory(prefix="tr-", dir="/tmp", ignore_cleanup_errors=True) as temp,
        ray_node(
            "--head",
            f"--num-cpus={cpus}",
            f"--port={port}",
            "--include-dashboard=false",
            f"--temp-dir={temp}",
            start=LEAN_START if cpus else START,
        ),
    ):
        yield f"127.0.0.1:{port}"
