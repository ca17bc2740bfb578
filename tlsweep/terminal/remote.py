"""Jobs on a cluster, seen from where they were submitted."""

import shlex
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from tlsweep.errors import INTERRUPTED
from tlsweep.terminal.columns import Column, fit_table
from tlsweep.terminal.console import line, make_console
from tlsweep.terminal.format import MISSING, duration, score
from tlsweep.terminal.live import LiveView
from tlsweep.terminal.shipment import left_behind_lines
from tlsweep.terminal.views import is_drawable
from tlsweep.text import coloured_lines, one_line, several_lines

if TYPE_CHECKING:
    from tlsweep.jobs.server import Job, JobServer
    from tlsweep.jobs.shipping import Shipment

_LOG_LINES = 20
"""How many lines of the job's log are shown where nothing else says why it failed."""


def watch(server: "JobServer", job: str, *, quiet: bool = False) -> int:
    """Show a job until it is over; its exit code. Ctrl-C leaves the job alone, and returns 130.

    On a terminal: the picture of the sweep, and its outcome. Else, or if `quiet`: the job's log, line by line.

    Raises:
        ConnectionLost: the cluster is gone.
    """
    from tlsweep.jobs.following import state_of

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


def tell_what_stays(shipment: "Shipment") -> None:
    """Say what is not sent with a job and might be missed there."""
    for text in left_behind_lines(shipment):
        _tell(text)


def _copy_log(console: Console, server: "JobServer", job: str) -> None:
    from tlsweep.jobs.following import follow
    from tlsweep.jobs.stream import job_log_name

    for text in follow(server, job, job_log_name(job), _tell):
        print(several_lines(text), file=console.file, flush=True)


def _watch_live(console: Console, server: "JobServer", job: str) -> None:
    from tlsweep.jobs.following import follow, state_of
    from tlsweep.jobs.stream import Playback, job_log_name, stream_name

    playback = Playback(server.url)
    with LiveView(console, playback.clock) as view:
        view.phase(f"waiting for the job {job} to start")
        # Through the console, which rich lets write above the picture that it redraws; standard error would run into
        # it.
        for text in follow(server, job, stream_name(job), lambda told: console.print(line(told))):
            playback.take(text, view)
    if outcome := playback.outcome(console.width):
        console.print(Text.from_ansi(coloured_lines(outcome)))
    ended = state_of(server, job, _tell)
    if playback.error:
        _tell(f"error: {playback.error}")
    elif ended.status == "failed" and not outcome:
        log = server.read(ended, job_log_name(job), _LOG_LINES).decode(errors="replace")
        _tell(log.rstrip() or ended.message)


def _tell(text: str) -> None:
    print(several_lines(text), file=sys.stderr, flush=True)


def stop_job(server: "JobServer", job: "Job") -> None:
    """End a job in order, and say what became of it."""
    if job.over:
        print(one_line(f"{job.id} had ended already ({job.status})"))
        return
    print(one_line(f"stopping {job.id}"), flush=True)
    stopped = server.stop(job)
    took = f" after {duration(stopped.ended - stopped.started)}" if stopped.ended and stopped.started else ""
    print(one_line(f"{stopped.status}{took}"))
    if stopped.status == "stopped":
        from tlsweep.jobs.standing import job_facts

        sweep = job_facts(server, stopped)["sweep"]
        where = f"--results {shlex.quote(job.results)} --on {server.url}"
        print(one_line(f"next  tlsweep resume {shlex.quote(sweep)} {where}"))


def print_jobs(console: Console, jobs: list[dict[str, Any]], url: str) -> None:
    """The table of `status`."""
    if not jobs:
        console.print(line(f"no job of tlsweep at {url} yet; 'tlsweep submit SPEC {url}' makes one"))
        return
    columns: list[Column[dict[str, Any]]] = [
        Column("job", lambda job: job["job"], right=False),
        Column("sweep", lambda job: job["sweep"], right=False),
        Column("state", _state, right=False),
        Column("began", lambda job: _clock(job["started"])),
        Column("took", lambda job: _took(job)),
        Column("trials", lambda job: _trials(job["trials"]), right=False, optional=1),
        Column("epochs", lambda job: MISSING if job["epochs"] is None else f"{job['epochs']:,}"),
        Column("best", lambda job: _best(job["best"]), right=False),
    ]
    console.print(fit_table(columns, jobs, console.width))


def _state(job: dict[str, Any]) -> str:
    if job["state"] == "failed":
        return f"{job['state']} ({job['exit_code']})"
    return str(job["state"])


def _clock(seconds: float | None) -> str:
    if seconds:
        return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
    return MISSING


def _took(job: dict[str, Any]) -> str:
    if job["started"]:
        return duration((job["ended"] or time.time()) - job["started"])
    return MISSING


def _trials(states: Mapping[str, int] | None) -> str:
    return ", ".join(f"{count} {state}" for state, count in (states or {}).items()) or MISSING


def _best(best: Mapping[str, Mapping[str, Any]] | None) -> str:
    """Show the best of the main arm: '0.931 (t0003)'."""
    for reached in (best or {}).values():
        trial, *scores = reached.values()
        return f"{score(scores[0])} ({trial})"
    return MISSING
