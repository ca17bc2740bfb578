"""A real S3 server on loopback: moto's, a process of its own, which can be frozen as if the network were gone."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from command_line import wait_until
from pyarrow import fs

PROGRAM = Path(sys.executable).with_name("moto_server")
KEY, SECRET = "testing-key-id", "testing-secret-that-nobody-may-see"


class S3Server:
    """The server, and what a process needs to know to use it."""

    def __init__(self, process: "subprocess.Popen[bytes]", port: int) -> None:
        self.process, self.port = process, port
        self.environment = {
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        }
        self.files = fs.S3FileSystem(
            access_key=KEY,
            secret_key=SECRET,
            region="us-east-1",
            endpoint_override=self.environment["AWS_ENDPOINT_URL"],
            allow_bucket_creation=True,
        )

    def make_bucket(self, name: str) -> None:
        self.files.create_dir(name)

    def objects(self, prefix: str) -> dict[str, bytes]:
        """Every object below `bucket/prefix`, by its path relative to that."""
        infos = self.files.get_file_info(fs.FileSelector(prefix, recursive=True, allow_not_found=True))
        paths = [info.path for info in infos if info.is_file]
        found = {}
        for path in paths:
            with suppress(FileNotFoundError), self.files.open_input_stream(path) as stream:  # removed meanwhile
                found[path.removeprefix(f"{prefix}/")] = stream.readall()
        return found

    def freeze(self) -> None:
        """Who asks gets no answer."""
        os.kill(self.process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.process.pid, signal.SIGCONT)


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """A server of its own, empty, until the block ends."""
    if not PROGRAM.exists() and shutil.which("moto_server") is None:
        pytest.skip("needs the package moto[server]")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(PROGRAM), "-H", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: _listens(port) or process.poll() is not None, 60)
            assert process.poll() is None
            yield S3Server(process, port)
        finally:
            process.kill()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
