"""Ray on hosts, as its operator starts it: with a token, on private addresses."""

import secrets
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from command_line import MODULE, PATIENCE, Running
from hosts import Host, Network, hosts

RAY = str(Path(sys.executable).with_name("ray"))
SOON = {
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "4",
}
"""A host that cannot be reached counts as dead after 8 seconds; with Ray's defaults it takes 64."""


class RayHosts:
    """A Ray cluster that asks for a token, on hosts that share a folder; the first one is the head.

    Args:
        network: The hosts' network.
        shared: The folder.
        cpus: How many each node has.
    """

    def __init__(self, network: Network, shared: Path, *, cpus: int) -> None:
        self.network, self.shared, self._cpus = network, shared, cpus
        self.head = network.hosts[0]
        self.address = f"{self.head.address}:6379"
        """The address at which drivers and workers meet the head."""
        self.dashboard = f"http://{self.head.address}:8265"
        """The URL at which jobs are submitted."""
        self.token = secrets.token_hex(32)
        self._token_file = shared / "token"
        self._token_file.touch(mode=0o600)
        self._token_file.write_text(self.token)
        self._home = shared / "home"
        self._home.mkdir()
        self._count = 0

    @property
    def with_token(self) -> dict[str, str]:
        """Variables of an operator."""
        return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(self._token_file)}

    def start(self, *head: str, env: Mapping[str, str] | None = None) -> None:
        """Start the head, with these options and variables of its own, and a node on each other host."""
        at = [f"--node-ip-address={self.head.address}", "--port=6379", f"--dashboard-host={self.head.address}"]
        self._start(self.head, "--head", *at, *head, env=env)
        for host in self.network.hosts[1:]:
            self.join(host)

    def join(self, host: Host) -> None:
        """Start a node on one more host."""
        self._start(host, f"--address={self.address}", f"--node-ip-address={host.address}")

    @contextmanager
    def tlsweep(self, *arguments: str, host: Host, env: Mapping[str, str], cwd: Path) -> Iterator[Running]:
        """`tlsweep ...` on a host, by somebody who has nothing of Ray but what is in `env`; killed with the block."""
        self._count += 1
        files = [self.shared / f"{self._count}.{name}" for name in ("out", "err")]
        with ExitStack() as stack:
            out, err = (stack.enter_context(file.open("w")) for file in files)
            home = {"HOME": str(self._home), "TLSWEEP_CACHE": "/tmp/cache"}
            process = host.popen([*MODULE, *arguments], env=home | dict(env), cwd=cwd, stdout=out, stderr=err)
            stack.enter_context(process)
            stack.callback(process.kill)
            yield Running(process, *files)

    def _start(self, host: Host, *arguments: str, env: Mapping[str, str] | None = None) -> None:
        resources = [f"--num-cpus={self._cpus}", "--num-gpus=0", "--object-store-memory=100000000"]
        started = host.run(
            [RAY, "start", *arguments, *resources, "--disable-usage-stats", "--include-log-monitor=false"],
            env=self.with_token | SOON | {"TLSWEEP_CACHE": "/tmp/cache"} | dict(env or {}), timeout=PATIENCE,
        )  # fmt: skip
        assert started.returncode == 0, started.stdout + started.stderr


@contextmanager
def ray_hosts(count: int, *, cpus: int = 1) -> Iterator[RayHosts]:
    """Make hosts for a cluster, which has yet to be started, until the block ends."""
    with (
        tempfile.TemporaryDirectory(prefix="rh-", dir="/tmp", ignore_cleanup_errors=True) as folder,
        hosts(count, Path(folder)) as network,
    ):
        yield RayHosts(network, Path(folder), cpus=cpus)
