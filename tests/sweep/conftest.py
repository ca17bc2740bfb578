"""A Ray cluster of one node for the tests of this folder, started as a user would, in a temp dir of its own."""

import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def ray_address() -> Iterator[str]:
    """Address of a running cluster with two CPUs. Tests join it, so that only one Ray has to start."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with ExitStack() as stack:
        temp = stack.enter_context(tempfile.TemporaryDirectory(prefix="tr-", dir="/tmp", ignore_cleanup_errors=True))
        process = subprocess.Popen(
            [
                str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", "--num-cpus=2",
                "--num-gpus=0", f"--port={port}", "--include-dashboard=false", f"--temp-dir={temp}",
                "--disable-usage-stats",
            ],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        started = stack.enter_context(process)
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
        yield f"127.0.0.1:{port}"
        started.terminate()
