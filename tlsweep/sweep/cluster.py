"""Starting a private Ray, or joining one that runs."""

import logging
import os
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from logging.handlers import MemoryHandler
from pathlib import Path

from tlsweep.errors import ResourceError
from tlsweep.spec import Resources
from tlsweep.sweep.nodes import Cluster, Node, alive_nodes, autoscaled, draining_nodes, node_kinds
from tlsweep.sweep.token import check_token, use_token

ENVIRONMENT = {
    # Rows of result.json are lost on restarts, TensorBoard syncs each of them to disk: we keep our own (store/).
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    # Tune fails the next trial if the last one needs more than 2 s to unwind.
    "TUNE_FUNCTION_THREAD_TIMEOUT_S": "60",
    # Tune's own snapshots are of no use to us: it drops scheduler state. The journal holds everything.
    "TUNE_GLOBAL_CHECKPOINT_S": "86400",
    # We stop on signals ourselves, in order.
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    # A failed trial is reported once, by us.
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    # Paths stay relative to where tlsweep was started.
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "TUNE_WARN_THRESHOLD_S": "10",
    "TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S": "86400",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
}

SET_BY_RAY = ("PYTHONBREAKPOINT",)
"""Ray takes over breakpoint(); when it has gone, that must work as before."""


def this_machine() -> Cluster:
    """What a private Ray would have here, found without starting one."""
    from ray._private.accelerators import get_all_accelerator_managers

    gpus = sum(
        manager.get_current_node_num_accelerators()
        for manager in get_all_accelerator_managers()
        if manager.get_resource_name() == "GPU"
    )
    node = Node("this machine", "127.0.0.1", cpus=float(usable_cpus()), gpus=float(gpus))
    return Cluster((node,), local=True)


class RayStart:
    """Ray on its way, in a thread: starting takes seconds in which the driver has other things to do.

    Joins `address` if given, else a cluster that runs here unless `local`, else starts a private one on this machine.
    Ray's own chatter stays out of the terminal. Use as a context: leaving it disconnects, and ends a private Ray.
    """

    def __init__(self, resources: Resources, *, local: bool, address: str | None, dashboard: bool) -> None:
        self._before = {name: os.environ.get(name) for name in (*ENVIRONMENT, *SET_BY_RAY)}
        os.environ.update({name: value for name, value in ENVIRONMENT.items() if self._before[name] is None})
        self._quiet = ExitStack()
        # Kept in memory at first: a folder that is discarded after an early error must not be written to meanwhile.
        self._chatter = MemoryHandler(capacity=1)
        self._executor = ThreadPoolExecutor(1, "start-ray")
        self._starting = self._executor.submit(self._start, resources, local, address, dashboard)

    def __enter__(self) -> "RayStart":
        return self

    def cluster(self) -> Cluster:
        """Waits until it is there.

        Raises:
            ResourceError: nothing answers at the address.
        """
        return self._starting.result()

    def __exit__(self, *error: object) -> None:
        """After an error nobody waits: the thread shuts Ray down as soon as it is up."""
        if self._starting.done() or error[0] is None:
            self._end()
        else:
            self._executor.submit(self._end)
        self._executor.shutdown(wait=error[0] is None)

    def log_to(self, path: Path) -> None:
        """Write to a file what Ray said until now and will say."""
        file = _LogFile(path)
        file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        self._chatter.setTarget(file)
        self._quiet.callback(file.close)

    def _start(self, resources: Resources, local: bool, address: str | None, dashboard: bool) -> Cluster:
        import ray.tune  # noqa: F401  # takes over a second, and sets up the log that is to be redirected

        self._quiet.enter_context(_ray_logs_to(self._chatter))
        join = None if local else _running(address)
        if join is None:
            this_machine().slots(resources)  # a trial that cannot fit here is refused before Ray starts
        return _connect(join, dashboard=dashboard)

    def _end(self) -> None:
        import ray

        ray.shutdown()
        self._quiet.close()
        for name, value in self._before.items():
            if value is None:
                os.environ.pop(name, None)


class _LogFile(logging.Handler):
    """Appends to a file, at once; a full disk is not worth a word here: the journal will say so."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(OSError):
            os.write(self._file, f"{self.format(record)}\n".encode())

    def close(self) -> None:
        super().close()
        os.close(self._file)


def _connect(join: str | None, *, dashboard: bool) -> Cluster:
    """Join the cluster at an address, or start a private one."""
    import ray

    use_token()
    common = {"log_to_driver": False, "logging_level": logging.INFO}
    if join is not None:
        check_token(join)
        # Workers of a running cluster do not inherit this process's environment.
        context = ray.init(address=join, runtime_env={"env_vars": dict(ENVIRONMENT)}, **common)
    else:
        context = ray.init(address="local", num_cpus=usable_cpus(), include_dashboard=dashboard, **common)
    url = context.dashboard_url
    draining = draining_nodes()
    return Cluster(
        tuple(one for one in alive_nodes() if one.id not in draining),
        node_kinds(),
        grows=autoscaled(),
        dashboard=f"http://{url}" if url else None,
        local=join is None,
    )


def kill_private_ray() -> None:
    """End the processes of a private Ray now; its agents outlive their driver by a minute otherwise."""
    import psutil  # comes with Ray
    from ray._private import worker

    node = worker._global_node
    if node is None or not node.is_head():
        return
    started = [info.process.pid for infos in node.all_processes.values() for info in infos]
    children = []
    for pid in started:
        with suppress(psutil.Error):
            children += psutil.Process(pid).children(recursive=True)
    node.kill_all_processes(check_alive=False, allow_graceful=False)
    for child in children:
        with suppress(psutil.Error):
            child.kill()


def _running(address: str | None) -> str | None:
    """The cluster to join: `address`, or the one that RAY_ADDRESS names or `ray start` made on this machine; or None.

    Not `auto`, which also finds the private Ray of another sweep, and would end with it.

    Raises:
        ResourceError: nothing answers at `address`.
    """
    from ray._private.services import canonicalize_bootstrap_address

    if address is not None and "://" in address:
        raise ResourceError(
            f"--address {address}: a sweep is run from a machine of the cluster, by HOST:PORT (10.0.0.1:6379); from "
            "another machine submit it with --submit http://HEAD:8265"
        )
    try:
        found = canonicalize_bootstrap_address(None if address == "auto" else address)
    except ValueError as error:
        raise ResourceError(f"--address {address}: {error}; write HOST:PORT, for example 10.0.0.1:6379") from None
    if found is not None and _answers(found):
        return str(found)
    if address is not None or "RAY_ADDRESS" in os.environ:
        raise ResourceError(
            f"no Ray cluster answers at '{address or found}'; start one with 'ray start --head', or leave --address "
            "(and RAY_ADDRESS) out to run on this machine"
        )
    return None


def _answers(address: str) -> bool:
    """Whether somebody listens there: Ray itself would try for many seconds, and complain aloud."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=3).close()
    except OSError:
        return False
    return True


def usable_cpus() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _ray_logs_to(handler: logging.Handler) -> Iterator[None]:
    """Hand the log and warnings of Ray to `handler` instead of the terminal."""
    from ray._private import worker

    logger = logging.getLogger("ray")
    handlers, propagate, level = logger.handlers[:], logger.propagate, logger.level
    logger.handlers, logger.propagate = [handler], False
    logger.setLevel(logging.INFO)
    # What the cluster has to say (a node that is lost, …) a thread of Ray prints into the middle of our picture.
    prints = worker.print_to_stdstream
    worker.print_to_stdstream = lambda message, *rest, **more: logger.warning("\n".join(message["lines"]))
    try:
        yield
    finally:
        worker.print_to_stdstream = prints
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)
        handler.close()
