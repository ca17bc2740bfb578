"""cluster/onprem.yaml: Ray takes it, and `ray up` makes a cluster of hosts that are reached by ssh."""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import own_code
import pytest
import yaml
from command_line import MODULE, PATIENCE, wait_until
from hosts import REPOSITORY, hosts
from manifests import filled
from outcomes import records_of
from ray.autoscaler._private.util import prepare_config, validate_config
from ssh_hosts import USER, ssh_hosts

from tlsweep.store import Results, SweepFolder

RAY = str(Path(sys.executable).with_name("ray"))
SPEC = """\
name: tiny
data: {source: digits, labels_per_class: 5}
model: {name: own_code:gated, args: {free: 15, gate: GATE}}
train: {epochs: 4, lr: {loguniform: [1e-4, 1e-2]}, batch_size: 5}
search: {strategy: random, trials: 4}
resources: {gpus: 0}
"""
"""Trials wait in their second epoch until the gate is there."""


def config(head: str = "10.0.0.1", workers: str = "10.0.0.2, 10.0.0.3", key: str = "~/.ssh/tlsweep") -> dict[str, Any]:
    (found,) = filled("onprem.yaml", YOUR_USER=USER, YOUR_KEY=key, YOUR_HEAD=head, YOUR_WORKERS=workers)
    return found


def test_ray_takes_the_file() -> None:
    prepared = prepare_config(config())
    validate_config(prepared)
    assert prepared["max_workers"] == 2


def test_every_node_asks_for_the_token_and_the_dashboard_stays_on_loopback() -> None:
    found = config()
    (head,), (worker,) = found["head_start_ray_commands"], found["worker_start_ray_commands"]
    assert "RAY_AUTH_MODE=token" in head
    assert "RAY_AUTH_MODE=token" in worker
    assert "--dashboard-host=127.0.0.1" in head


@pytest.mark.slow
def test_ray_up_launch_ray_down() -> None:
    with (
        tempfile.TemporaryDirectory(prefix="op-", dir="/tmp", ignore_cleanup_errors=True) as name,
        hosts(2, Path(name)) as network,
        ssh_hosts(network, Path(name)) as key,
    ):
        folder = Path(name)
        head, worker = network.hosts
        file = folder / "cluster.yaml"
        file.write_text(yaml.safe_dump(config(head.address, worker.address, str(key))))
        gate, journal = folder / "gate", folder / "results" / "tiny" / "journal.jsonl"
        (folder / "spec.yaml").write_text(SPEC.replace("GATE", str(gate)))
        shutil.copy(own_code.__file__, folder)
        for host in network.hosts:
            (folder / f"home-{host.name}" / "venv").symlink_to(sys.prefix)
        operator = Operator(folder)
        operator.run(RAY, "get-auth-token", "--generate")
        operator.token.chmod(0o600)

        operator.run(RAY, "up", "--yes", str(file))
        with operator.tunnel(file) as url:
            assert operator.answer(f"{url}/nodes?view=summary", token=False) == 401
            try:
                wait_until(lambda: operator.nodes(url) == {"host1", "host2"}, timeout=PATIENCE)
            except TimeoutError:
                pytest.fail(operator.run(RAY, "exec", str(file), "tail -n 50 /tmp/ray/session_latest/logs/monitor.*"))
            with ThreadPoolExecutor() as pool:
                submitted = pool.submit(
                    operator.run, *MODULE, "submit", "spec.yaml", url, "--results", str(folder / "results")
                )
                wait_until(lambda: submitted.done() or len({one["node"] for one in records_of(journal, "report")}) == 2)
                gate.touch()
                submitted.result()
        assert "Total Usage" in operator.run(RAY, "exec", str(file), "ray status")
        operator.run(RAY, "down", "--yes", str(file))

        reports = Results(SweepFolder(folder / "results" / "tiny")).to_pandas("reports")
        assert len(reports) == 4 * 4
        assert reports.node.nunique() == 2
        assert (folder / "home-host2" / ".ray" / "auth_token").stat().st_mode & 0o777 == 0o600
        assert "gcs_server" not in head.run(["ps", "-eo", "comm"]).stdout


class Operator:
    """Somebody at this machine, with a home of their own, beside the hosts."""

    def __init__(self, folder: Path) -> None:
        self._folder, home = folder, folder / "operator"
        home.mkdir()
        self.token = home / ".ray" / "auth_token"
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        self._environment = inherited | {"HOME": str(home), "RAY_TMPDIR": str(home)}

    def run(self, *command: str) -> str:
        """Run a command to its end; what it says. `ray` runs in the repository, as cluster/README.md has it."""
        where = REPOSITORY if command[0] == RAY else self._folder
        ended = subprocess.run(
            command, cwd=where, env=self._environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=180,
        )  # fmt: skip
        assert ended.returncode == 0, ended.stdout
        return ended.stdout

    @contextmanager
    def tunnel(self, file: Path) -> Iterator[str]:
        """`ray dashboard`: the dashboard's address at this machine."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = [RAY, "dashboard", str(file), f"--port={port}"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "stdin": subprocess.DEVNULL}
        with subprocess.Popen(command, env=self._environment, **quiet) as process:
            try:
                wait_until(lambda: self.answer(f"http://127.0.0.1:{port}/nodes?view=summary") == 200)
                yield f"http://127.0.0.1:{port}"
            finally:
                process.terminate()

    def answer(self, url: str, *, token: bool = True) -> int:
        """HTTP's status; 0: nobody is there."""
        try:
            with self._open(url, token):
                return 200
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    def nodes(self, url: str) -> set[str]:
        """Names of the hosts whose nodes live."""
        with self._open(f"{url}/nodes?view=summary", True) as answer:
            summary = json.load(answer)["data"]["summary"]
        return {node.get("hostname", "") for node in summary if node["raylet"].get("state") == "ALIVE"}  # known later

    def _open(self, url: str, token: bool) -> Any:
        headers = {"Authorization": f"Bearer {self.token.read_text().strip()}"} if token else {}
        return urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10)
