"""`status`, `attach` and `stop`: sweeps that run as jobs on a cluster."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from tlsweep.cli.options import SERVER, JobId, Server
from tlsweep.cli.program import app, job_server
from tlsweep.cli.streams import output_is_not_needed
from tlsweep.errors import ResourceError

if TYPE_CHECKING:
    from tlsweep.jobs.server import JobServer


@app.command()
def status(
    job: JobId = None,
    on: Server = SERVER,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
) -> None:
    """List the jobs that were submitted to a cluster, the newest first, and how far they are."""
    from tlsweep.jobs.standing import job_facts
    from tlsweep.terminal import make_console
    from tlsweep.terminal.console import to_json
    from tlsweep.terminal.remote import print_jobs

    with _cluster(on) as server:
        facts = [job_facts(server, known) for known in ([server.job(job)] if job else server.jobs())]
    if as_json:
        print(to_json(facts))
    else:
        print_jobs(make_console(), facts, server.url)


@app.command()
def attach(job: JobId = None, on: Server = SERVER) -> None:
    """Show a job on a cluster until it is over, from its beginning; the exit code is the job's."""
    from tlsweep.terminal.remote import watch

    output_is_not_needed()
    with _cluster(on) as server:
        found = server.find(job).id
    raise typer.Exit(watch(server, found))


@app.command()
def stop(job: JobId = None, on: Server = SERVER) -> None:
    """End a job on a cluster in order: what was reported is kept, and its sweep can go on."""
    from tlsweep.terminal.remote import stop_job

    output_is_not_needed()
    with _cluster(on) as server:
        found = server.find(job)
    stop_job(server, found)


@contextmanager
def _cluster(url: str) -> Iterator["JobServer"]:
    """Ask the cluster at `url`; where none was named, and none is here, say what these verbs are for too."""
    from tlsweep.jobs.dashboard import UnknownJob

    try:
        yield job_server(url)
    except ResourceError as error:
        if url != SERVER or isinstance(error, UnknownJob):
            raise
        raise ResourceError(
            f"{error}. 'status', 'attach' and 'stop' are for sweeps that 'tlsweep submit' sent to a cluster, which "
            "--on names; one that 'tlsweep launch' runs is shown by 'tlsweep report', and ends with Ctrl-C"
        ) from None
