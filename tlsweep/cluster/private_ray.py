"""The processes of a private Ray: out of reach of signals that are meant for us, watched, and ended with us."""

import atexit
import ctypes
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial

from tlsweep.cluster.address import PRIVATE
from tlsweep.cluster.fork_server import ForkServer

_WATCHED = ("gcs_server", "raylet")
"""The processes without which a sweep cannot go on; without the dashboard or the log monitor it can."""

_ASK_SECONDS = 0.5
"""The time between two connections to the GCS, of some 50 microseconds each."""


@contextmanager
def out_of_reach() -> Iterator[None]:
    """What Ray starts while the block runs gets a session of its own.

    A signal to our process group (`timeout`, `kill -- -PGID`, Ctrl-C, a terminal that closes) would end Ray under a
    sweep that is about to end in order. Ray 2.60 has no setting for it (_private/services.py, `start_ray_process`). Its
    processes still end when we are killed: PR_SET_PDEATHSIG knows no sessions.
    """
    from ray._private import services

    popen = services.ConsolePopen
    services.ConsolePopen = partial(popen, start_new_session=True)
    try:
        yield
    finally:
        services.ConsolePopen = popen


@contextmanager
def own_handlers() -> Iterator[None]:
    """Put back the handlers that this process has when the block begins: a driver's core worker takes them over.

    Below Python, whose `signal.signal` works in the main thread alone; Ray is started in another.
    """
    get, put = ctypes.pythonapi.PyOS_getsig, ctypes.pythonapi.PyOS_setsig
    get.restype, put.restype = ctypes.c_void_p, ctypes.c_void_p
    get.argtypes, put.argtypes = [ctypes.c_int], [ctypes.c_int, ctypes.c_void_p]
    before = {number: get(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            put(number, handler)


class PrivateRay:
    """The private Ray that this process has just started."""

    def __init__(self) -> None:
        from ray._private import worker

        self._node = worker._global_node
        host, _, port = self._node.gcs_address.rpartition(":")
        self._gcs = (host.strip("[]"), int(port))
        self._deaf, self._ask_due = False, 0.0
        self._processes = {kind: [info.process for info in self._node.all_processes.get(kind, ())] for kind in _WATCHED}

    def ended(self) -> str | None:
        """What of it has ended, and how; None while it runs. Asks the kernel, not Ray: some microseconds."""
        for kind, processes in self._processes.items():
            for process in processes:
                code = process.poll()
                if code is not None:
                    how = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
                    return f"Ray's {kind} (process {process.pid}) ended under the sweep ({how})"
        return self._refused()

    def _refused(self) -> str | None:
        """A GCS that was told to end (`ray stop`, SIGTERM) closes its port, and stays for a minute (ray 2.60)."""
        if not self._deaf and time.monotonic() >= self._ask_due:
            self._ask_due = time.monotonic() + _ASK_SECONDS
            try:
                socket.create_connection(self._gcs, timeout=1).close()
            except ConnectionRefusedError:
                self._deaf = True
            except OSError:  # no port is free, …: no proof of anything
                pass
        if self._deaf:
            return "Ray's gcs_server ended under the sweep (it no longer listens)"
        return None


def kill_private_ray() -> None:
    """End the processes of a private Ray now; its agents outlive their driver by a minute otherwise."""
    if "ray" not in sys.modules:
        return
    from ray._private import worker
    import psutil  # isort: skip  # found once Ray is imported, which brings it along

    node = worker._global_node
    if node is None or not node.is_head() or not PRIVATE.items() <= node.node_labels.items():
        return  # there is none, or it is the user's own
    started = {info.process.pid for infos in node.all_processes.values() for info in infos} | ForkServer.sessions
    # Unlike by default, Ray does not raise where one of them has died already (_private/node.py): that may be why we
    # end.
    node.kill_all_processes(check_alive=False, allow_graceful=False)
    # Agents and workers are in the session of their raylet or fork server, also when that is gone.
    for pid in psutil.pids():
        with suppress(ProcessLookupError, PermissionError):
            if os.getsid(pid) in started:
                os.kill(pid, signal.SIGKILL)


def leave_ended_ray() -> threading.Thread:
    """Let go of a private Ray of which something has ended; the thread in which that is under way.

    `ray.shutdown` asks the GCS first: 7 to 15 s where it is gone (ray 2.60), which nobody has to wait for. Nor for what
    Ray and Tune would tell it when this process exits.
    """
    import ray
    from ray.tune import registry

    atexit.unregister(ray.shutdown)
    atexit.unregister(registry._unregister_all)
    kill_private_ray()
    leaving = threading.Thread(target=ray.shutdown, name="leave-ray", daemon=True)
    leaving.start()
    return leaving
