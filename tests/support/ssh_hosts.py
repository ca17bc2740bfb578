"""Hosts that are reached by ssh: a real sshd on each, with keys and a user of its own."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from command_line import wait_until
from hosts import Host, Network

USER = "operator"
SSHD = "/usr/sbin/sshd"
CONFIGURATION = """\
HostKey {folder}/host-key
AuthorizedKeysFile {folder}/key.pub
PidFile none
PermitRootLogin yes
PasswordAuthentication no
StrictModes no
UsePAM no
"""
"""Root is what `USER` is called on the hosts, where this machine's Python can be read by root alone."""


@contextmanager
def ssh_hosts(network: Network, folder: Path) -> Iterator[Path]:
    """Let `USER` log in on all hosts, with a home of its own on each.

    Args:
        network: the hosts' network.
        folder: which the hosts share; homes are in it, as `home-host1`.

    Yields:
        the private key.
    """
    programs = {"ssh": "openssh-client", "rsync": "rsync", SSHD: "openssh-server"}
    if missing := [package for program, package in programs.items() if not shutil.which(program)]:
        pytest.skip(f"needs the Debian packages {', '.join(missing)}")
    for name in ("key", "host-key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    (folder / "sshd_config").write_text(CONFIGURATION.format(folder=folder))
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd insists
    with ExitStack() as stack:
        for host in network.hosts:
            make_home(host, folder)
            sshd = host.popen([SSHD, "-D", "-e", "-f", str(folder / "sshd_config")], stderr=subprocess.DEVNULL)
            stack.enter_context(sshd)
            stack.callback(sshd.terminate)
        for host in network.hosts:
            wait_until(lambda host=host: host.run(["bash", "-c", ": </dev/tcp/127.0.0.1/22"]).returncode == 0)
        yield folder / "key"


def make_home(host: Host, folder: Path) -> Path:
    """A home for `USER`, who is known on this host only."""
    home = folder / f"home-{host.name}"
    home.mkdir()
    (home / ".bashrc").touch()
    users = folder / f"passwd-{host.name}"
    # First of those with number 0, so that ssh takes this home for `~`, as the shell does.
    users.write_text(f"{USER}:x:0:0::{home}:/bin/bash\n{Path('/etc/passwd').read_text()}")
    assert host.run(["mount", "--bind", str(users), "/etc/passwd"]).returncode == 0
    return home
