"""Calls functions where trials run: in a worker with what a trial gets."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from tlsweep.allocation import keep_freed_memory
from tlsweep.cluster.nodes import Cluster
from tlsweep.errors import TlsweepError
from tlsweep.spec import SweepSpec

if TYPE_CHECKING:
    from tlsweep.models.probe import Progress


def where_trials_run(function: Callable[..., Any], spec: SweepSpec, cluster: Cluster, *arguments: Any) -> Any:
    """Call `function` with what a trial gets.

    On a cluster that is a worker. On this machine alone it is this process, which has imported torch already, where a
    worker would take seconds for that; unless there are GPUs, whose memory this process should not hold.
    """
    import ray

    gpus = cluster.trial_gpus(spec.resources)
    if cluster.local and not gpus:
        return function(*arguments)
    with _one_message():
        return ray.get(_as_trials(_in_worker, spec, gpus).remote(function, *arguments))


def telling_where_trials_run(
    function: Callable[..., Any], spec: SweepSpec, cluster: Cluster, *arguments: Any, progress: "Progress"
) -> Any:
    """The same for a `function` that tells of its progress."""
    import ray

    gpus = cluster.trial_gpus(spec.resources)
    if cluster.local and not gpus:
        return function(*arguments, progress=progress)
    with _one_message():
        # Ray's queues are actors of their own; what a task yields needs none.
        told_or_result = _as_trials(_with_progress, spec, gpus).options(num_returns="streaming")
        for reference in told_or_result.remote(function, *arguments):
            told, result = ray.get(reference)
            if told is not None:
                progress(*told)
    return result


def _in_worker(function: Callable[..., Any], *arguments: Any) -> Any:
    keep_freed_memory()
    return function(*arguments)


def _with_progress(function: Callable[..., Any], *arguments: Any) -> Iterator[tuple[tuple[int, int] | None, Any]]:
    """Call it in a thread, and yield what it tells; what it returns comes last."""
    keep_freed_memory()
    said: SimpleQueue[tuple[int, int] | None] = SimpleQueue()
    with ThreadPoolExecutor(1) as thread:
        called = thread.submit(function, *arguments, progress=lambda *told: said.put(told))
        called.add_done_callback(lambda _: said.put(None))
        while (told := said.get()) is not None:
            yield told, None
        yield None, called.result()


def _as_trials(function: Callable[..., Any], spec: SweepSpec, gpus: float) -> Any:
    """A task of Ray with the resources of a trial."""
    import ray

    return ray.remote(num_cpus=spec.resources.cpus, num_gpus=gpus, max_retries=1)(function)


@contextmanager
def _one_message() -> Iterator[None]:
    """Raise an error of a task as where no worker has it."""
    import ray

    try:
        yield
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, TlsweepError):
            raise error.cause from None
        raise
