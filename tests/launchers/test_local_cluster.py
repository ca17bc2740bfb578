"""cluster/local.sh: several nodes on this machine come up, run a sweep by the line that is printed, and go."""

import os
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hosts import REPOSITORY

from tlsweep.store import Results, SweepFolder

CLUSTER = REPOSITORY / "cluster"
SCRIPT = str(CLUSTER / "local.sh")
TINY = ["-o", "controls=[]", "-o", "model.weights=none", "-o", "search.trials=4", "-o", "train.epochs=4"]


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A home without a token, free ports, and a short folder for sockets."""
    folder = tempfile.mkdtemp(prefix="lc-", dir="/tmp")
    with socket.socket() as gcs, socket.socket() as dashboard, socket.socket() as client:
        ports = {"GCS_PORT": gcs, "DASHBOARD_PORT": dashboard, "CLIENT_PORT": client}
        for free in ports.values():
            free.bind(("127.0.0.1", 0))
        numbers = {name: str(free.getsockname()[1]) for name, free in ports.items()}
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    here = {"HOME": str(tmp_path), "NODES_FOLDER": folder, "VENV": sys.prefix, "RESULTS": str(tmp_path / "results")}
    yield inherited | here | numbers | {"NODES": "2", "CPUS": "2"}
    run([SCRIPT, "down"], inherited | here)
    shutil.rmtree(folder, ignore_errors=True)


def run(command: list[str], environment: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("script", ["local.sh", "slurm.sbatch", "aws-setup.sh", "gcp-setup.sh", "kuberay-bucket.sh"])
def test_script_is_clean(script: str) -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("needs the Debian package shellcheck")
    checked = run(["shellcheck", "--shell=bash", str(CLUSTER / script)], dict(os.environ))
    assert checked.returncode == 0, checked.stdout


def test_down_spares_what_up_did_not_start(environment: dict[str, str]) -> None:
    with subprocess.Popen(["sleep", "60"]) as somebody:
        (Path(environment["NODES_FOLDER"]) / "node0.pid").write_text(f"{somebody.pid}\n")
        ended = run([SCRIPT, "down"], environment)
        assert somebody.poll() is None
        somebody.kill()
    assert (ended.returncode, ended.stdout) == (0, "ended 0 nodes\n")


def test_no_verb_is_one_line(environment: dict[str, str]) -> None:
    ended = run([SCRIPT], environment)
    assert ended.returncode == 2
    assert ended.stderr == f"error: say what to do: {SCRIPT} up | down | status\n"


@pytest.mark.slow
def test_up_launch_down(environment: dict[str, str], tmp_path: Path) -> None:
    up = run([SCRIPT, "up"], environment)
    assert up.returncode == 0, up.stderr
    assert (tmp_path / ".ray" / "auth_token").stat().st_mode & 0o777 == 0o600
    assert run([SCRIPT, "status"], environment).stdout.startswith("2 nodes run\n")

    (line,) = [line for line in up.stdout.splitlines() if line.startswith("launch:")]
    program, *arguments = shlex.split(line.removeprefix("launch:"))
    launched = run([f"{sys.prefix}/bin/{program}", *arguments, *TINY], environment)
    assert launched.returncode == 0, launched.stdout + launched.stderr
    reports = Results(SweepFolder(tmp_path / "results" / "digits")).to_pandas("reports")
    assert not reports.duplicated(["trial", "generation", "epoch"]).any()

    assert run([SCRIPT, "down"], environment).stdout == "ended 2 nodes\n"
    assert environment["NODES_FOLDER"] not in run(["ps", "-eo", "args"], environment).stdout
