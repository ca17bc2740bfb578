"""A private Ray of as few processes as a sweep makes use of."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

_PRESTARTED = "--num_prestart_python_workers="
_ASKING = {
    "RAY_raylet_client_connect_timeout_milliseconds": "10",
    "RAY_raylet_client_num_connect_attempts": "1000",
}
"""How often a raylet asks for what it has just started. Ray's own second was lost in most starts, as the object store
takes some milliseconds until it answers; the ten seconds in all are Ray's."""
_NO_AGENT = Path(__file__).with_name("no_agent.py")
_DASHBOARD_AGENT = ("metrics_agent_port=-1", "metrics_export_port=-1", "dashboard_agent_listen_port=-1")
"""The ports that the dashboard's agent writes down; -1 is Ray's own word for a service that is not there."""
_ENVIRONMENT_AGENT = ("runtime_env_agent_port=1",)
"""Here Ray wants a port; it is asked for environments of which our workers have none."""


@contextmanager
def lean(*, dashboard: bool, workers: Callable[[Sequence[str]], Sequence[str]] = list) -> Iterator[None]:
    """Let `ray.init` start no process that a sweep on one machine makes no use of; ray 2.60 has no settings for it.

    Left out are the autoscaler's monitor, for there is nobody to ask for nodes, the monitor of logs, whose lines no
    driver of ours wants, workers that wait for tasks, for each of which the driver would wait, and the agent that makes
    environments for workers, which have the driver's. Without a dashboard also its server and its agent, for which
    `ray.init` waits: it takes 0.6 s instead of 2.5 s, and the agents 1.5 s of processor time (measured).

    Args:
        dashboard: Whether there is one.
        workers: Changes the raylet's command so that workers start in another way.
    """
    from ray._private import node, parameter, ray_constants, services, utils

    parameters, serve = parameter.RayParams, node.Node.start_api_server
    start, lacking = services.start_ray_process, utils.get_dashboard_dependency_error

    def started(command: list[str], kind: str, *rest: Any, **more: Any) -> Any:
        if kind != ray_constants.PROCESS_TYPE_RAYLET:
            return start(command, kind, *rest, **more)
        command = [f"{_PRESTARTED}0" if part.startswith(_PRESTARTED) else part for part in command]
        command = list(workers(_without_agents(command, dashboard=dashboard)))
        more["env_updates"] = {**_ASKING, **os.environ, **(more["env_updates"] or {})}
        raylet = start(command, kind, *rest, **more)
        import_module("ray.tune")  # most of a second, in which the raylet gets ready
        return raylet

    parameter.RayParams = partial(parameters, no_monitor=True, include_log_monitor=False)
    services.start_ray_process = started
    if not dashboard:
        node.Node.start_api_server = lambda *_, **__: None
        # Else all that the agent needs is imported here, to see whether it is there: a fifth of a second.
        utils.get_dashboard_dependency_error = lambda: ImportError("there is no dashboard")
    try:
        yield
    finally:
        parameter.RayParams, node.Node.start_api_server = parameters, serve
        services.start_ray_process, utils.get_dashboard_dependency_error = start, lacking


def _without_agents(command: list[str], *, dashboard: bool) -> list[str]:
    """The raylet's command, with what stands there for the agents: it ends where one of them cannot be started."""
    said = dict(part.split("=", 1) for part in command if "=" in part)
    absent = [sys.executable, "-I", "-S", str(_NO_AGENT), said["--session_dir"], said["--node_id"]]
    agents: dict[str, tuple[str, ...]] = {"--runtime_env_agent_command": _ENVIRONMENT_AGENT}
    if not dashboard:
        agents["--dashboard_agent_command"] = _DASHBOARD_AGENT
    kept = [part for part in command if part.split("=", 1)[0] not in agents]
    return kept + [f"{name}={subprocess.list2cmdline([*absent, *ports])}" for name, ports in agents.items()]
