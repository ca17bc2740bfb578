"""Jobs on a cluster, seen from where they were submitted."""

import json
import shlex
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from tlsweep.errors import INTERRUPTED
from tlsweep.terminal.columns import Column, fit_table
from tlsweep.terminal.format import MISSING, duration, score
from tlsweep.terminal.live import LiveView
from tlsweep.terminal.views import is_drawable, make_console

if TYPE_CHECKING:
    from tlsweep.sweep.jobs import Job, JobServer

_LOG_LINES = 20
"""Of the job's log, where nothing else says why it failed."""


def watch(server: "JobServer", job: str, *, quiet: bool = False) -> int:
    """Show a job until it is over; its exit code. Ctrl-C leaves the job alone, and returns 130.

    On a terminal: the picture of the sweep, and its outcome. Else, or if `quiet`: the job's log, line by line.

    Raises:
        ConnectionLost: the cluster is gone.
    """
    from tlsweep.sweep.following import state_of

    console = make_console()
    try:
        if is_drawable(console) and not quiet:
            _watch_live(console, server, job)
        else:
            _copy_log(console, server, job)
        return state_of(server, job, _tell).code
    except KeyboardInterrupt:
        _tell(f"the job goes on; {how_to_see(server, job)}")
        return INTERRUPTED


def how_to_see(server: "JobServer", job: str) -> str:
    """What to type to come back to a job."""
    at = f"{job} --on {server.url}"
    return f"'tlsweep attach {at}' shows it, 'tlsweep stop {at}' ends it"


def _copy_log(console: Console, server: "JobServer", job: str) -> None:
    from tlsweep.sweep.following import follow
    from tlsweep.sweep.stream import job_log_name

    for line in follow(server, job, job_log_name(job), _tell):
        print(line, file=console.file, flush=True)


def _watch_live(console: Console, server: "JobServer", job: str) -> None:
    from tlsweep.sweep.following import follow, state_of
    from tlsweep.sweep.stream import Replay, job_log_name, stream_name

    replay = Replay(server.url)
    with LiveView(console, replay.clock) as view:
        view.phase(f"waiting for the job {job} to start")
        for line in follow(server, job, stream_name(job), console.print):
            replay.take(line, view)
    if outcome := replay.outcome(console.width):
        console.print(Text.from_ansi(outcome))
    ended = state_of(server, job, _tell)
    if replay.error:
        _tell(f"error: {replay.error}")
    elif ended.status == "failed" and not outcome:
        log = server.read(ended, job_log_name(job), _LOG_LINES).decode(errors="replace")
        _tell(log.rstrip() or ended.message)


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def stop_job(server: "JobServer", job: "Job") -> None:
    """End a job in order, and say what became of it."""
    if job.over:
        print(f"{job.id} had ended already ({job.status})")
        return
    print(f"stopping {job.id}", flush=True)
    stopped = server.stop(job)
    took = f" after {duration(stopped.ended - stopped.started)}" if stopped.ended and stopped.started else ""
    print(f"{stopped.status}{took}")
    if stopped.status == "stopped":
        sweep = job_facts(server, stopped)["sweep"]
        print(f"next  tlsweep launch --resume {sweep} --results {shlex.quote(job.results)} --submit {server.url}")


def job_facts(server: "JobServer", job: "Job") -> dict[str, Any]:
    """A job, and how far it is, as `status --json` gives it."""
    standing = _standing(server, job)
    return {
        "job": job.id,
        "sweep": standing.get("sweep", job.sweep),
        "results": job.results,
        "state": job.status,
        "exit_code": job.code if job.over else None,
        "started": job.started,
        "ended": job.ended,
        "trials": standing.get("trials"),
        "epochs": standing.get("epochs"),
        "best": standing.get("best"),
    }


def _standing(server: "JobServer", job: "Job") -> Mapping[str, Any]:
    """The last line of a job's stream that tells how far it is; empty before the first."""
    from tlsweep.sweep.dashboard import Unreachable
    from tlsweep.sweep.stream import STANDING_RECORDS, stream_name

    try:
        tail = server.read(job, stream_name(job.id), STANDING_RECORDS + 20).splitlines(keepends=True)
    except Unreachable:  # the node that the job ran on is gone
        return {}
    lines = (json.loads(line) for line in reversed(tail) if line.endswith(b"\n"))
    return next((line for line in lines if line["kind"] == "standing"), {})


def print_jobs(console: Console, jobs: list[dict[str, Any]], url: str) -> None:
    """The table of `status`."""
    if not jobs:
        console.print(Text(f"no job of tlsweep at {url} yet; 'tlsweep launch SPEC --submit {url}' makes one"))
        return
    columns: list[Column[dict[str, Any]]] = [
        Column("job", lambda one: one["job"], right=False),
        Column("sweep", lambda one: one["sweep"], right=False),
        Column("state", _state, right=False),
        Column("began", lambda one: _clock(one["started"])),
        Column("took", lambda one: _took(one)),
        Column("trials", lambda one: _trials(one["trials"]), right=False, optional=1),
        Column("epochs", lambda one: MISSING if one["epochs"] is None else f"{one['epochs']:,}"),
        Column("best", lambda one: _best(one["best"]), right=False),
    ]
    console.print(fit_table(columns, jobs, console.width))


def _state(one: dict[str, Any]) -> str:
    return f"{one['state']} ({one['exit_code']})" if one["state"] == "failed" else str(one["state"])


def _clock(seconds: float | None) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds)) if seconds else MISSING


def _took(one: dict[str, Any]) -> str:
    return duration((one["ended"] or time.time()) - one["started"]) if one["started"] else MISSING


def _trials(states: Mapping[str, int] | None) -> str:
    return ", ".join(f"{count} {state}" for state, count in (states or {}).items()) or MISSING


def _best(best: Mapping[str, Mapping[str, Any]] | None) -> str:
    """'0.931 (t0003)', of the main arm."""
    for reached in (best or {}).values():
        trial, *scores = reached.values()
        return f"{score(scores[0])} ({trial})"
    return MISSING
