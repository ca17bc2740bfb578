"""A private Ray of as few processes as a sweep makes use of."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

_PRESTARTED = "--num_prestart_python_workers="


@contextmanager
def lean(*, dashboard: bool) -> Iterator[None]:
    """Let `ray.init` start no process that a sweep on one machine makes no use of; ray 2.60 has no settings for it.

    Left out are the autoscaler's monitor, for there is nobody to ask for nodes, the monitor of logs, whose lines no
    driver of ours wants, and workers that wait for tasks, as trials are actors. Without a dashboard also its server,
    for which `ray.init` waits.
    """
    from ray._private import node, parameter, ray_constants, services

    parameters, serve = parameter.RayParams, node.Node.start_api_server
    start = services.start_ray_process

    def started(command: list[str], kind: str, *rest: Any, **more: Any) -> Any:
        if kind == ray_constants.PROCESS_TYPE_RAYLET:
            command = [f"{_PRESTARTED}0" if part.startswith(_PRESTARTED) else part for part in command]
        return start(command, kind, *rest, **more)

    parameter.RayParams = partial(parameters, no_monitor=True, include_log_monitor=False)
    services.start_ray_process = started
    if not dashboard:
        node.Node.start_api_server = lambda *_, **__: None
    try:
        yield
    finally:
        parameter.RayParams, node.Node.start_api_server = parameters, serve
        services.start_ray_process = start
