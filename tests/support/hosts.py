"""Hosts on one machine: namespaces with addresses, names, processes and temporary folders of their own, on a switch.

What a host is, ends with its first process, and that ends with the pipe that this process holds: nothing is left behind
even if the tests are killed. Needs root and iproute2.
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import pytest
from command_line import PATIENCE

REPOSITORY = Path(__file__).parents[2]
INIT = "import signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN); print(flush=True); sys.stdin.read()"
"""A host's first process: reaps orphans, as daemons are, and ends with its standard input; all others end with it."""

SETUP = """set -e
hostname "$1"; ip link set lo up
mount --bind "$2" /etc/hosts
[ ! -e /etc/resolv.conf ] || mount --bind /dev/null /etc/resolv.conf
mount --rbind /tmp /mnt; mount -t tmpfs tmpfs /tmp; mount -t tmpfs tmpfs /dev/shm
init="$3"; shift 3
for path in "$@"; do
  mkdir -p "$path"; mount --rbind "/mnt/${path#/tmp/}" "$path"
done
umount -l /mnt
exec "$0" -c "$init" """
"""Makes a host of fresh namespaces, as `sh -c SETUP python name hosts-file init folder...`; the folders stay shared."""


class Entered(subprocess.Popen[str]):
    """A command on a host; signals reach the command itself, not `nsenter`, which waits for it and ends alike."""

    def send_signal(self, sig: int) -> None:
        if self.poll() is None:
            os.kill(first_child(self.pid) or self.pid, sig)


class Host:
    """One of them. `/tmp` and `/dev/shm` are its own, the rest of the file system is this machine's."""

    def __init__(self, name: str, address: str, anchor: "subprocess.Popen[str]", network: "Network") -> None:
        self.name, self.address = name, address
        self._anchor, self._network, self._port = anchor, network, f"port-{name}"
        self._init = first_child(anchor.pid)

    def popen(
        self, command: Sequence[str], *, env: Mapping[str, str] | None = None, cwd: Path = Path("/"), **pipes: Any
    ) -> Entered:
        """Start a command on this host; `env` beside the variables of this process, of which Ray's are left out."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        enter = ["nsenter", f"--target={self._init}", "--net", "--uts", "--mount", "--pid", f"--wdns={cwd}", "--"]
        return Entered([*enter, *command], env=inherited | dict(env or {}), text=True, **pipes)

    def run(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path = Path("/"),
        timeout: float = PATIENCE,
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command on this host to its end, with what it said; daemons that it started may go on.

        Raises:
            TimeoutExpired: it took too long, and was killed.
        """
        # Files, as daemons keep pipes open.
        with TemporaryFile("w+") as out, TemporaryFile("w+") as err:
            with self.popen(command, env=env, cwd=cwd, stdout=out, stderr=err) as process:
                try:
                    process.wait(timeout)
                except BaseException:
                    process.kill()
                    raise
            said = [file.read() for file in (out, err) if file.seek(0) == 0]
        return subprocess.CompletedProcess(command, process.returncode, *said)

    def processes(self) -> list[int]:
        """Their numbers as this process sees them, without the host's first."""
        space = os.readlink(f"/proc/{self._init}/ns/pid")
        found = [int(folder.name) for folder in Path("/proc").glob("[0-9]*") if _pid_namespace(folder) == space]
        return [number for number in found if number != self._init]

    def cut_off(self) -> None:
        """Pull the cable: processes run on, and nothing goes in or out."""
        self._network.switch("link", "set", self._port, "down")

    def reconnect(self) -> None:
        """Put the cable back."""
        self._network.switch("link", "set", self._port, "up")

    def kill_processes(self) -> None:
        """SIGKILL all at once; the host is still there, and its kernel closes their connections."""
        self.run(["sh", "-c", "kill -9 -1"])

    def power_off(self) -> None:
        """Pull the plug: everything is gone at once, and nobody is told."""
        os.kill(self._init, signal.SIGKILL)
        self._anchor.wait()


class Network:
    """A switch, the hosts on it, and this process, which has an address there as well."""

    def __init__(self, stack: ExitStack, shared: Sequence[Path]) -> None:
        self.hosts: list[Host] = []
        self._stack = stack
        self._folders = [path.resolve() for path in (*shared, REPOSITORY, Path(sys.prefix), Path(sys.base_prefix))]
        self._names = self._folders[0] / "etc-hosts"
        self._names.write_text("127.0.0.1 localhost\n")
        self._switch = first_child(self._anchor("unshare", "--net", sys.executable, "-c", INIT).pid)
        self.switch("link", "add", "bridge", "type", "bridge")
        self.switch("link", "set", "bridge", "up")
        self._number = self._plug_in_this_process()
        self.address = self._address(254)
        """This process's own."""

    def add(self) -> Host:
        """One more host."""
        count = len(self.hosts) + 1
        name, address = f"host{count}", self._address(count)
        with self._names.open("a") as names:
            names.write(f"{address} {name}\n")
        shared = [str(path) for path in self._folders if path.is_relative_to("/tmp")]
        anchor = self._anchor(
            "unshare", "--net", "--uts", "--mount", "--pid", "--mount-proc",
            "sh", "-c", SETUP, sys.executable, name, str(self._names), INIT, *shared,
        )  # fmt: skip
        host = Host(name, address, anchor, self)
        init = first_child(anchor.pid)
        self.switch("link", "add", f"port-{name}", "type", "veth", "peer", "name", "eth0", "netns", str(init))
        self.switch("link", "set", f"port-{name}", "master", "bridge", "up")
        _ip("address", "add", f"{address}/24", "dev", "eth0", inside=init)
        _ip("link", "set", "eth0", "up", inside=init)
        # Programs take the address of the default route for their own; there is nothing behind it.
        _ip("route", "add", "default", "dev", "eth0", inside=init)
        self.hosts.append(host)
        return host

    def switch(self, *arguments: str) -> None:
        """`ip ...` at the switch."""
        _ip(*arguments, inside=self._switch)

    def _anchor(self, unshare: str, *arguments: str) -> "subprocess.Popen[str]":
        """A process in namespaces of its own, which the end of this one ends, however it ends."""
        process = subprocess.Popen(
            [unshare, "--fork", "--kill-child", *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._stack.enter_context(process)
        self._stack.callback(process.kill)
        assert process.stdout is not None
        if not process.stdout.readline():
            pytest.fail(f"no namespaces: {process.communicate()[1]}")
        return process

    def _plug_in_this_process(self) -> int:
        """Connect the namespace of this process; a network number that nobody else has: the name is taken with it."""
        for number in range(256):
            peer = ["peer", "name", "port-tests", "netns", str(self._switch)]
            if _ip("link", "add", f"tlsweep{number}", "type", "veth", *peer, check=False):
                self._stack.callback(_ip, "link", "delete", f"tlsweep{number}")
                _ip("address", "add", f"10.217.{number}.254/24", "dev", f"tlsweep{number}")
                _ip("link", "set", f"tlsweep{number}", "up")
                self.switch("link", "set", "port-tests", "master", "bridge", "up")
                return number
        pytest.fail("256 networks of tests are in use")

    def _address(self, host: int) -> str:
        return f"10.217.{self._number}.{host}"


@contextmanager
def hosts(count: int, *shared: Path) -> Iterator[Network]:
    """A network of hosts, which is gone when the block ends.

    Args:
        count: How many to begin with.
        shared: Folders below /tmp that all hosts see at the same path; the first holds their `/etc/hosts`.
    """
    need_hosts()
    with ExitStack() as stack:
        network = Network(stack, shared)
        for _ in range(count):
            network.add()
        yield network


def need_hosts() -> None:
    """Skip the test where there can be none."""
    possible = os.geteuid() == 0 and all(map(shutil.which, ("ip", "unshare", "nsenter")))
    if not possible or subprocess.run(["unshare", "--net", "--mount", "true"], capture_output=True).returncode:
        pytest.skip("needs root, and the Debian packages iproute2 and util-linux, to make hosts of network namespaces")


def first_child(parent: int) -> int:
    """The number of a process's first child; 0: it has none."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return int(children[0]) if children else 0


def _pid_namespace(process: Path) -> str:
    try:
        return os.readlink(process / "ns" / "pid")
    except OSError:  # ended meanwhile
        return ""


def _ip(*arguments: str, inside: int | None = None, check: bool = True) -> bool:
    """`ip ...`, in the network namespace of a process; whether it worked."""
    enter = [] if inside is None else ["nsenter", f"--target={inside}", "--net", "--"]
    return subprocess.run([*enter, "ip", *arguments], check=check, capture_output=True).returncode == 0
