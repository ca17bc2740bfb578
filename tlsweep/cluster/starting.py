"""Starting a private Ray, or joining one that runs."""

import logging
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from logging.handlers import MemoryHandler
from pathlib import Path
from typing import ClassVar

from tlsweep.cluster.address import PRIVATE, cluster_to_join
from tlsweep.cluster.auth_token import token_for_private_ray, use_token
from tlsweep.cluster.fork_server import ForkServer
from tlsweep.cluster.lean_ray import lean
from tlsweep.cluster.nodes import Cluster, Node, alive_nodes, autoscaled, draining_nodes, node_kinds
from tlsweep.cluster.private_ray import PrivateRay, leave_ended_ray, out_of_reach, own_handlers
from tlsweep.cluster.ray_files import check_home, ray_folder
from tlsweep.errors import ResourceError
from tlsweep.files import open_own
from tlsweep.spec import Resources
from tlsweep.text import one_line, shortened

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
    # Tune would ask the GCS what there is every ten seconds, only to print it, and holds the GIL meanwhile (ray 2.60,
    # GlobalStateAccessor): where the GCS is gone, no thread of ours could end the sweep for a minute.
    "TUNE_STATE_REFRESH_PERIOD": "86400",
    # Tune warns of each step of its loop that takes over half a second (tune/utils/util.py): a slow disk is no news.
    "TUNE_WARN_THRESHOLD_S": "10",
    # After a minute without a running trial it warns that none fits: the preflight has said what fits.
    "TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S": "86400",
    # Our reports need not hold the metrics that Tune looks for in each (tune_controller.py): our rules read them.
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    # Else Tune draws a table of its own (tune/experimental/output.py) into our picture.
    "RAY_AIR_NEW_OUTPUT": "0",
    # Nothing about a sweep is sent to anybody.
    "RAY_USAGE_STATS_ENABLED": "0",
    # Where Ray has been shut down under us, none is started in its place.
    "RAY_ENABLE_AUTO_CONNECT": "0",
}

SET_BY_RAY = ("PYTHONBREAKPOINT", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN")
"""Ray takes over breakpoint(), and asks for tokens from then on; when it has gone, all must be as before."""

LOOPBACK = "127.0.0.1"


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

    Joins the Ray that this process has already, or `address` if given, else a cluster that runs here unless `local`,
    else starts a private one on this machine. Ray's own chatter stays out of the terminal. Use as a context: leaving it
    disconnects, and ends a private Ray; what this process had before stays.
    """

    _left: ClassVar[Callable[[], object]] = staticmethod(lambda: None)
    """Waits until the Ray is gone that was left in the background."""

    def __init__(
        self,
        resources: Resources,
        *,
        local: bool,
        address: str | None,
        dashboard: bool,
        workers: ForkServer | None = None,
    ) -> None:
        """Begin to start it.

        Args:
            resources: What a trial gets.
            local, address, dashboard: The arguments of `launch`.
            workers: Makes those of a private Ray.
        """
        self.wait_for_the_one_before()
        self._workers = workers
        self._before: dict[str, str | None] = {}
        self.private: PrivateRay | None = None
        """The one that was started here, once it runs."""
        self._quiet = ExitStack()
        # Kept in memory at first: a folder that is discarded after an early error must not be written to meanwhile.
        # With room for one record it flushes at each, and without a target a flush keeps them all
        # (logging/handlers.py).
        self._chatter = MemoryHandler(capacity=1)
        # One thread, so that what ends Ray after an error comes after what starts it.
        self._executor = ThreadPoolExecutor(1, "start-ray")
        self._ours = False
        self._starting = self._executor.submit(self._start, resources, local, address, dashboard)

    @classmethod
    def wait_for_the_one_before(cls) -> None:
        """Wait until the Ray of an earlier launch has gone, which this one would take for the user's own.

        In the thread that launches: a reference to an object of an earlier sweep that is dropped while another thread
        shuts Ray down ends the whole process (ray 2.60: "The core worker has already been shutdown").
        """
        cls._left()

    def __enter__(self) -> "RayStart":
        return self

    def cluster(self) -> Cluster:
        """Waits until it is there.

        Raises:
            ResourceError: nobody who can be joined answers at the address, or this process has another Ray.
        """
        return self._starting.result()

    def __exit__(self, *error: object) -> None:
        """End Ray. After an error nobody waits: the thread shuts Ray down as soon as it is up."""
        if self._starting.done() or error[0] is None:
            self._end()
        else:
            ending = self._executor.submit(self._end)
            RayStart._left = partial(wait, [ending])
        self._executor.shutdown(wait=error[0] is None)

    def log_to(self, path: Path) -> None:
        """Write to a file what Ray said until now and will say."""
        file = _LogFile(path)
        file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        self._chatter.setTarget(file)
        self._quiet.callback(file.close)

    def _start(self, resources: Resources, local: bool, address: str | None, dashboard: bool) -> Cluster:
        self._before = {name: os.environ.get(name) for name in (*ENVIRONMENT, *SET_BY_RAY)}
        os.environ.update({name: value for name, value in ENVIRONMENT.items() if self._before[name] is None})
        check_home()
        import ray  # sets up the log that is to be redirected

        self._quiet.enter_context(_ray_logs_to(self._chatter))
        if ray.is_initialized():
            self._make_no_workers()
            return _already_joined(local=local, address=address)
        join = None if local else cluster_to_join(address)
        if join is not None:
            self._make_no_workers()
        else:
            this_machine().slots(resources)  # a trial that cannot fit here is refused before Ray starts
            self._quiet.enter_context(_on_loopback())
        self._ours = True
        cluster = _connect(join, dashboard=dashboard, workers=self._workers)
        self.private = PrivateRay() if join is None else None
        import ray.tune  # most of a second, unless `lean` has done it

        return cluster

    def _end(self) -> None:
        import ray

        if self.private is not None and self.private.ended():
            RayStart._left = leave_ended_ray().join
        elif self._ours:
            ray.shutdown()
        # After the shutdown, of which Ray's log tells as well.
        self._quiet.close()
        for name, value in self._before.items():
            if value is None:
                os.environ.pop(name, None)

    def _make_no_workers(self) -> None:
        if self._workers is not None:
            self._workers.close()


class _LogFile(logging.Handler):
    """Appends to a file, at once; a full disk is not worth a word here: the journal will say so."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._file = open_own(path, os.O_WRONLY | os.O_APPEND)

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(OSError):
            os.write(self._file, f"{self.format(record)}\n".encode())

    def close(self) -> None:
        super().close()
        os.close(self._file)


def _connect(join: str | None, *, dashboard: bool, workers: ForkServer | None) -> Cluster:
    """Join the cluster at an address, or start a private one."""
    import ray

    # What workers print would run through the picture of the sweep; the dashboard has their logs.
    common = {"log_to_driver": False, "logging_level": logging.INFO}
    if join is not None:
        use_token()
        with own_handlers():
            context = ray.init(address=join, **common)
    else:
        shown = token_for_private_ray() and dashboard  # nobody could open it without the token
        command = workers.raylet_command if workers else list
        with own_handlers(), out_of_reach(), lean(dashboard=shown, workers=command), _in_time():
            context = ray.init(
                # Without it RAY_ADDRESS, or any Ray that runs on this machine, would be joined (ray.init).
                address="local",
                # Ray counts the cores of the machine, or of its container (_private/utils.py, `get_num_cpus`), but not
                # what taskset or Slurm leave of them to this process.
                num_cpus=usable_cpus(),
                include_dashboard=shown,
                labels=PRIVATE,
                _node_ip_address=LOOPBACK,
                _temp_dir=ray_folder(),
                **common,
            )
    return _joined(context.dashboard_url, local=join is None)


@contextmanager
def _in_time() -> Iterator[None]:
    """Raises:
    ResourceError: Ray or its dashboard did not come up within the time that Ray gives them.
    """
    try:
        yield
    except Exception as error:
        # Ray (2.60) has no kind of its own for it: an exception that says so (`Node.__init__` in _private/node.py), or
        # has the end of the dashboard's log (`start_api_server` in _private/services.py).
        if type(error) is not Exception:
            raise
        if "timed out during startup" in str(error):
            raise ResourceError(
                "Ray did not start within the half minute that it gives itself, as happens on a machine that is very "
                "busy; try again when it has less to do"
            ) from error
        if "dashboard" not in str(error):
            raise
        last = str(error).strip().splitlines()[-1]
        raise ResourceError(
            "Ray's dashboard did not come up in time, as happens on a machine that is very busy; try again, or leave "
            f"it out with --no-dashboard (the last line of its log: {shortened(last, 120)})"
        ) from error


def _joined(dashboard: str | None, *, local: bool) -> Cluster:
    """The cluster that this process is connected to."""
    draining = draining_nodes()
    return Cluster(
        tuple(node for node in alive_nodes() if node.id not in draining),
        node_kinds(),
        grows=autoscaled(),
        # Ray gives host and port alone.
        dashboard=f"http://{dashboard}" if dashboard else None,
        local=local,
    )


def _already_joined(*, local: bool, address: str | None) -> Cluster:
    """The Ray that this process was connected to before: it is the user's, to be used and left alone.

    Raises:
        ResourceError: another one is asked for, or it cannot run a sweep.
    """
    from ray._private import worker

    node = worker._global_node
    if local or address is not None:
        asked = "--local" if local else f"--address {one_line(address or '')}"
        raise ResourceError(
            f"{asked}: this process is connected to a Ray already (ray.init); leave {asked.split()[0]} out to use that "
            "one, or call ray.shutdown() first"
        )
    # A client of ray:// has no node of its own: the driver is a process on the cluster, which ends with the connection.
    if node is None:
        raise ResourceError(
            "this process is connected to a Ray cluster by ray://, from where no sweep can be run; call ray.shutdown() "
            "first, or submit the sweep: tlsweep submit SPEC http://HEAD:8265"
        )
    return _joined(node.address_info["webui_url"], local=False)


@contextmanager
def _on_loopback() -> Iterator[None]:
    """Let Ray listen on 127.0.0.1 alone while a private one is started and runs.

    Without this switch it takes a loopback address for a mistake, and binds to all addresses (ray 2.60,
    `resolve_ip_for_localhost`; the switch is meant for systems whose firewall would ask). Its processes read the
    variable.
    """
    from ray._private import ray_constants

    name, before = ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR, ray_constants.ENABLE_RAY_CLUSTER
    variable = os.environ.get(name)
    os.environ[name] = "0"
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before
        if variable is None:
            del os.environ[name]
        else:
            os.environ[name] = variable


def usable_cpus() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def _ray_logs_to(handler: logging.Handler) -> Iterator[None]:
    """Hand the log and warnings of Ray to `handler` instead of the terminal."""
    from ray._private import worker

    logger = logging.getLogger("ray")
    handlers, propagate = logger.handlers[:], logger.propagate
    level = logger.level
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
