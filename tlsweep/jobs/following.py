"""The log files of a job, line by line as they are written, across lost connections."""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, TypeVar

from tlsweep.errors import ConnectionLost
from tlsweep.jobs.dashboard import UnknownJob, Unreachable
from tlsweep.jobs.server import Job, JobServer

T = TypeVar("T")

PATIENCE = 120.0
"""Seconds without an answer after which the cluster counts as gone."""
_SILENCE = 2.0
"""Seconds without a line after which the job's state is asked for."""


def follow(
    server: JobServer, job: str, file: str, told: Callable[[str], None], *, patience: float = PATIENCE
) -> Iterator[str]:
    """Every line of a file of a job, once each and in order, until the job is over.

    Args:
        server: The cluster.
        job: Id of the job.
        file: Name of a file in the log folder of the job's node; it need not exist yet.
        told: Is told when the connection is lost, and when it is back.
        patience: Seconds to wait for a cluster that does not answer.

    Raises:
        ConnectionLost: the cluster is gone, or does not know the job any more.
    """
    given = 0
    patient = _Patience(server, job, told, patience)
    while True:
        now = patient.ask(partial(server.job, job))
        if now.over:
            content = patient.ask(partial(server.read, now, file))
            yield from islice(_lines(iter([content]), whole=True), given, None)
            return
        with suppress(Unreachable, UnknownJob):
            # Each connection gives the file from its beginning, so what was given before is passed over.
            for line in islice(_lines(_chunks(server, now, file), whole=False), given, None):
                given += 1
                yield line


def state_of(server: JobServer, job: str, told: Callable[[str], None], *, patience: float = PATIENCE) -> Job:
    """A job as it is now; arguments and errors as of `follow`."""
    return _Patience(server, job, told, patience).ask(partial(server.job, job))


@dataclass(frozen=True)
class _Patience:
    """Asks again as long as a cluster does not answer, up to a limit."""

    server: JobServer
    job: str
    told: Callable[[str], None]
    seconds: float

    def ask(self, question: Callable[[], T]) -> T:
        """Ask until there is an answer.

        Raises:
            ConnectionLost: there is none in time, or the cluster has forgotten the job.
        """
        lost: float | None = None
        while True:
            try:
                answer = question()
            except UnknownJob:
                raise ConnectionLost(
                    f"the cluster at '{self.server.url}' was restarted, and does not know '{self.job}' any more: "
                    "what the sweep had reported is in its results, and 'tlsweep resume' goes on with it"
                ) from None
            except Unreachable as error:
                if lost is None:
                    lost = time.monotonic()
                    self.told(f"{error}; trying again for {self.seconds:g} s")
                if time.monotonic() - lost > self.seconds:
                    raise self._given_up(error) from None
                time.sleep(1.0)
            else:
                if lost is not None:
                    self.told(f"'{self.server.url}' answers again")
                return answer

    def _given_up(self, error: Unreachable) -> ConnectionLost:
        return ConnectionLost(
            f"{error}, for {self.seconds:g} s now. If only the connection is lost, the sweep goes on: 'tlsweep attach "
            f"{self.job} --on {self.server.url}' shows it again. If the head node is lost, 'tlsweep resume' "
            "on another cluster goes on with it"
        )


def _chunks(server: JobServer, job: Job, file: str) -> Iterator[bytes]:
    """The file as it grows, until the job is over or the connection ends.

    The state of the job is asked for whenever nothing comes: a connection can be lost without a word.

    Raises:
        Unreachable: the cluster does not answer.
    """
    arrived: queue.Queue[bytes | None] = queue.Queue()
    with server.asking():
        response = server.open_log(job.node, file, lines=-1, follow=True) if job.node else None
    if response is None or not response.ok:  # nothing has been written yet
        time.sleep(0.5)
        return
    threading.Thread(target=_pump, args=(response, arrived), name="follow-log", daemon=True).start()
    try:
        while True:
            try:
                chunk = arrived.get(timeout=_SILENCE)
            except queue.Empty:
                if server.job(job.id).over:
                    return
            else:
                if chunk is None:
                    return
                yield chunk
    finally:
        # Closing it would wait for the thread that reads; this ends its waiting, and it closes.
        with suppress(RuntimeError, ValueError, OSError):  # it has ended already
            response.raw.shutdown()


def _pump(response: Any, arrived: "queue.Queue[bytes | None]") -> None:
    """Wait for the network, in a thread of its own: so the thread that follows can be interrupted meanwhile."""
    # Whatever ends the connection, follow() opens another one.
    with response, suppress(Exception):
        for chunk in response.iter_content(None):
            arrived.put(chunk)
    arrived.put(None)


def _lines(chunks: Iterator[bytes], *, whole: bool) -> Iterator[str]:
    """Complete lines, without their ends; the rest too if the file is `whole`."""
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line.decode(errors="replace")
    if whole and rest:
        yield rest.decode(errors="replace")
