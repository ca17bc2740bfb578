"""A Slurm of Debian's packages: the controller on the first host, and a slurmd on each."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from command_line import wait_until
from hosts import Entered, Host, Network

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scancel", "sinfo")

CONFIGURATION = """\
ClusterName=tlsweep
SlurmctldHost={head.name}({head.address})
SlurmUser=root
AuthInfo=socket={folder}/munge.socket
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
ReturnToService=2
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
PartitionName=all Nodes=ALL Default=YES State=UP
"""
"""No cgroups: they belong to the machine, not to hosts on it."""


class Slurm:
    """It runs jobs on the hosts of a network, one CPU on each."""

    def __init__(self, network: Network, folder: Path) -> None:
        self._head, self._folder = network.hosts[0], folder
        self._environment = {"SLURM_CONF": str(folder / "slurm.conf")}
        (folder / "state").mkdir()
        nodes = [f"NodeName={host.name} NodeAddr={host.address} CPUs=1 RealMemory=1000" for host in network.hosts]
        configuration = CONFIGURATION.format(head=self._head, folder=folder) + "\n".join(nodes) + "\n"
        (folder / "slurm.conf").write_text(configuration)
        (folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")

    def munged(self) -> "subprocess.Popen[str]":
        """Start the daemon that signs and checks messages; all hosts share it, through its socket."""
        key = self._folder / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(os.urandom(64))
        paths = [f"--{name}-file={self._folder}/munge.{name}" for name in ("key", "pid", "log", "seed")]
        return self._head.popen(["munged", "--foreground", "--force", f"--socket={self._folder}/munge.socket", *paths])

    def daemon(self, host: Host, name: str) -> "subprocess.Popen[str]":
        """Start slurmctld or slurmd."""
        return host.popen([name, "-D"], env=self._environment, stderr=subprocess.DEVNULL)

    def run(self, *command: str, **environment: str) -> str:
        """Run one of Slurm's commands on the first host, from the folder; what it says."""
        ended = self._head.run(command, env=self._environment | environment, cwd=self._folder)
        assert ended.returncode == 0, ended
        return ended.stdout

    def submit(self, *arguments: str, **environment: str) -> Entered:
        """Start `sbatch --wait ...` from the folder; it ends with the job, and with the job's exit code."""
        command = ["sbatch", "--wait", *arguments]
        return self._head.popen(command, env=self._environment | environment, cwd=self._folder)


@contextmanager
def slurm(network: Network, folder: Path) -> Iterator[Slurm]:
    """All nodes are idle when the block begins; `folder` is shared by the hosts, and jobs are submitted from there."""
    if missing := [program for program in PROGRAMS if not shutil.which(program)]:
        pytest.skip(f"needs {', '.join(missing)} of the Debian package slurm-wlm")
    cluster = Slurm(network, folder)
    with ExitStack() as stack:
        start(stack, cluster.munged())
        wait_until((folder / "munge.socket").exists)
        start(stack, cluster.daemon(network.hosts[0], "slurmctld"))
        for host in network.hosts:
            start(stack, cluster.daemon(host, "slurmd"))
        idle = ["sinfo", "--noheader", "--states=idle", "--format=%D"]
        wait_until(lambda: cluster.run(*idle).strip() == str(len(network.hosts)))
        yield cluster


def start(stack: ExitStack, process: "subprocess.Popen[str]") -> None:
    """Keep a daemon until the stack ends."""
    stack.enter_context(process)
    stack.callback(process.terminate)
