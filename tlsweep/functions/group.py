"""One trial as a group of processes, such as for `DistributedDataParallel`: all call the function, the first reports.

Each is a program of its own that ends when this process does, however that ends. Where one of them fails, all end.
"""

import json
import math
import os
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from tlsweep.errors import FunctionError, TlsweepError
from tlsweep.functions.finding import find_function
from tlsweep.functions.running import call
from tlsweep.functions.trial import FunctionReport, Place, Receiver, Sharing, Terms, Trial
from tlsweep.training.devices import Compute, isolated, reset_peak_memory
from tlsweep.training.reports import Copy, Snapshot

PATIENCE = 3.0
"""Seconds that a process may take to end when it is told to: one that waits for others in a collective operation never
hears it."""
ECHO = 0.5
"""Seconds within which those that work with a process that failed fail, too."""
_PROGRAM = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from tlsweep.functions.group import member; member()"
)


class GroupFailed(Exception):
    """A process of a trial raised something, which the message has with its traceback, or died."""


class _Over(BaseException):
    """Ends the function in a process, past all that it catches."""


@dataclass(frozen=True)
class _Work:
    """What a process of the group is to do."""

    terms: Terms
    values: Mapping[str, Any]
    seed: int
    resume: bytes | None
    compute: Compute
    share: Sharing
    place: Place
    meeting: str
    """The file through which the processes find one another."""


class _Told(NamedTuple):
    """A message of a process."""

    kind: str
    """`reports`, `copied`, `logs`, `returned` or `fails`."""
    content: Any


class _Failure(NamedTuple):
    """Why a process failed."""

    at: float
    """By the clock of the machine; -inf of one that died without a word."""
    error: TlsweepError | None
    """What is said as it is."""
    why: str
    """Of anything else."""


def run_group(
    terms: Terms,
    values: Mapping[str, Any],
    seed: int,
    *,
    report: Receiver,
    share: Sharing,
    resume: bytes | None,
    compute: Compute,
    log: Callable[[str], None],
) -> int:
    """Call the function in `terms.processes` processes, as `run_function` does in this one.

    Raises:
        FunctionError: the function does not keep to what `Trial` asks, or its processes report different epochs.
        GroupFailed: a process raised something else, or died.
    """
    processes = terms.processes
    threads = None if compute.threads is None else max(1, compute.threads // processes)
    with tempfile.TemporaryDirectory(prefix="tlsweep-") as folder:
        members = [
            _Work(
                terms,
                values,
                seed,
                resume,
                replace(compute, device=_device(compute.device, rank), threads=threads),
                share,
                Place(rank, processes),
                str(Path(folder) / "meeting"),
            )
            for rank in range(processes)
        ]
        with _started(members) as group:
            return _Conductor(terms, group, log).conduct(report)


def _device(device: str, rank: int) -> str:
    return f"cuda:{rank}" if device.startswith("cuda") else device


@contextmanager
def _started(members: Sequence[_Work]) -> Iterator[list[Connection]]:
    """The processes at work; what leads to each. They end with the block."""
    running: list[tuple[subprocess.Popen[bytes], Connection]] = []
    try:
        for work in members:
            ours, theirs = Pipe()
            with theirs:
                process = subprocess.Popen(
                    [sys.executable, "-c", _PROGRAM, json.dumps(sys.path), str(theirs.fileno())],
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.PIPE,  # at whose end it knows that this process is no more
                )
            running.append((process, ours))
            ours.send(work)
        yield [connection for _, connection in running]
    finally:
        for _, connection in running:
            connection.close()
        for process, _ in running:
            with suppress(subprocess.TimeoutExpired):
                process.wait(PATIENCE)
            process.kill()
            process.communicate()


class _Conductor:
    """Has all processes go from report to report together."""

    def __init__(self, terms: Terms, group: Sequence[Connection], log: Callable[[str], None]) -> None:
        self._terms, self._group = terms, group
        self._log = log

    def conduct(self, report: Receiver) -> int:
        """Pass the first process's reports on until all have returned; the epoch that they reached."""
        while True:
            told = self._hear()
            if all(message.kind == "returned" for message in told):
                return int(told[0].content)
            epochs = [message.content.epoch if message.kind == "reports" else None for message in told]
            if len(set(epochs)) > 1:
                where = ", ".join("one returned" if epoch is None else f"one reports {epoch}" for epoch in epochs)
                raise FunctionError(
                    f"trial = {self._terms.function}: its processes go through different epochs ({where}); each has to "
                    "call trial.report(…) once in each turn"
                )
            report(told[0].content, self._snapshot)
            self._say("go on")

    def _snapshot(self) -> Copy:
        # All are asked: to gather what is spread over them, they have to work together.
        self._say("copy")
        content: bytes = self._hear()[0].content
        return lambda: content

    def _say(self, order: str) -> None:
        for connection in self._group:
            connection.send(order)

    def _hear(self) -> list[_Told]:
        """A message of each process; lines for the log go there."""
        heard: dict[Connection, _Told] = {}
        while waiting := [connection for connection in self._group if connection not in heard]:
            for connection in _ready(waiting, None):
                message = _receive(connection)
                if message.kind == "logs":
                    self._log(message.content)
                elif message.kind == "fails":
                    self._fail(connection, message.content)
                else:
                    heard[connection] = message
        return [heard[connection] for connection in self._group]

    def _fail(self, connection: Connection, failure: _Failure) -> NoReturn:
        """Say why a process failed; where several did, the first, as the others may have missed it."""
        failures = {connection: failure}
        for other in _ready([other for other in self._group if other is not connection], ECHO):
            message = _receive(other)
            if message.kind == "fails":
                failures[other] = message.content
        first = min(failures, key=lambda connection: failures[connection].at)
        if (error := failures[first].error) is not None:
            raise error
        raise GroupFailed(
            f"process {self._group.index(first)} of {len(self._group)} of the trial {failures[first].why}"
        )


def _ready(connections: Sequence[Connection], seconds: float | None) -> list[Connection]:
    """Those of which there is something to hear, within so many seconds."""
    ready = wait(connections, seconds)
    return [connection for connection in connections if connection in ready]


def _receive(connection: Connection) -> _Told:
    try:
        message: _Told = connection.recv()
    except (EOFError, OSError):
        return _Told("fails", _Failure(-math.inf, None, "died; the worker's log may say of what"))
    return message


def member() -> None:
    """The program of a process of the group."""
    connection = Connection(int(sys.argv[2]))
    # What this process reads is of its parent alone: a breakpoint would wait for input that nobody can give it.
    parent = os.dup(0)
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)
    threading.Thread(target=_end_with, args=[parent], daemon=True).start()
    work: _Work = connection.recv()
    try:
        connection.send(_Told("returned", _train(work, connection)))
    except _Over:
        pass
    except BaseException as error:
        known = error if isinstance(error, TlsweepError) else None
        failure = _Failure(time.monotonic(), known, f"failed:\n{traceback.format_exc()}")
        with suppress(OSError):  # where this process's parent has ended
            connection.send(_Told("fails", failure))
    sys.stdout.flush()
    # Past what torch would wait for: others that are no more.
    os._exit(0)


def _end_with(parent: int) -> None:
    while os.read(parent, 1):
        pass
    os._exit(1)


def _train(work: _Work, connection: Connection) -> int:
    """Call the function; the epoch that it reached."""

    def receive(row: FunctionReport, snapshot: Snapshot) -> None:
        connection.send(_Told("reports", row))
        while _order(connection) == "copy":
            content = snapshot()
            connection.send(_Told("copied", content() if work.place.rank == 0 else None))

    with isolated(work.compute) as device:
        reset_peak_memory(device)
        _join(device, work)
        trial = Trial(
            work.terms,
            work.values,
            work.seed,
            device,
            receive=receive,
            checkpoint=work.resume,
            share=work.share,
            log=lambda line: connection.send(_Told("logs", line)),
            place=work.place,
        )
        return call(find_function(work.terms.function), trial, work.terms)


def _order(connection: Connection) -> str:
    """What this process is to do next.

    Raises:
        _Over: nothing: the trial ends.
    """
    try:
        order: str = connection.recv()
    except (EOFError, OSError):
        raise _Over from None
    return order


def _join(device: str, work: _Work) -> None:
    """Meet the other processes."""
    from torch import cuda, distributed

    if device.startswith("cuda"):
        cuda.set_device(device)
    else:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # all are on this machine, whatever its name leads to
    distributed.init_process_group(
        "nccl" if device.startswith("cuda") else "gloo",
        init_method=f"file://{work.meeting}",
        rank=work.place.rank,
        world_size=work.place.processes,
    )
