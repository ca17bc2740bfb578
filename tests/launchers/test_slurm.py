"""cluster/slurm.sbatch under a real Slurm with two nodes."""

import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import own_code
import pytest
from command_line import PATIENCE, wait_until
from hosts import REPOSITORY, hosts
from slurm_cluster import Slurm, slurm

from tlsweep.store import Results, SweepFolder

SCRIPT = str(REPOSITORY / "cluster" / "slurm.sbatch")
SPEC = """\
name: tiny
data: {source: digits, labels_per_class: 5}
model: {name: own_code:gated, args: {free: 15, gate: GATE}}
train: {epochs: 4, lr: {loguniform: [1e-4, 1e-2]}, batch_size: 5}
search: {strategy: random, trials: 4}
resources: {gpus: 0}
"""
"""Trials wait in their second epoch until the gate is there."""


@pytest.fixture
def cluster() -> Iterator[tuple[Slurm, Path]]:
    with (
        tempfile.TemporaryDirectory(prefix="sl-", dir="/tmp", ignore_cleanup_errors=True) as name,
        hosts(2, Path(name)) as network,
        slurm(network, Path(name)) as running,
    ):
        yield running, Path(name)


@pytest.mark.slow
def test_sweep_on_two_nodes_is_stopped_in_order_and_resumed(cluster: tuple[Slurm, Path]) -> None:
    slurm, folder = cluster
    settings = {"VENV": sys.prefix}
    gate = folder / "gate"
    (folder / "spec.yaml").write_text(SPEC.replace("GATE", str(gate)))
    shutil.copy(own_code.__file__, folder)
    journal = folder / "results" / "tiny" / "journal.jsonl"

    job = slurm.submit("--nodes=2", SCRIPT, "spec.yaml", **settings)
    wait_until(lambda: job.poll() is not None or len(nodes(journal)) == 2)
    assert job.poll() is None, logs(folder)
    (job_folder,) = folder.glob(".tlsweep-*")
    assert (job_folder / "token").stat().st_mode & 0o777 == 0o600
    # What Slurm does by itself two minutes before the time limit.
    slurm.run("scancel", "--batch", "--signal=TERM", job_folder.name.removeprefix(".tlsweep-"))
    assert job.wait(PATIENCE) == 130, logs(folder)
    assert not job_folder.exists()

    gate.touch()
    job = slurm.submit("--nodes=1", SCRIPT, "--resume", "tiny", **settings)
    assert job.wait(PATIENCE) == 0, logs(folder)
    results = Results(SweepFolder(folder / "results" / "tiny"))
    reports = results.to_pandas("reports")
    assert not reports.duplicated(["trial", "generation", "epoch"]).any()
    assert len(reports) == 4 * 4
    assert reports.node.nunique() == 3  # two in the first job, one in the second


def nodes(journal: Path) -> set[str]:
    """Those that have reported so far."""
    lines = journal.read_text().splitlines() if journal.exists() else []
    return set(re.findall(r'"node":"(\w+)"', "".join(line for line in lines if '"type":"report"' in line)))


def logs(folder: Path) -> str:
    """What all jobs said."""
    return "\n".join(file.read_text() for file in folder.glob("tlsweep-*.log"))
