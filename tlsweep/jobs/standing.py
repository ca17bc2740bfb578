"""How far a job is, from the last lines of what it tells."""

import json
from collections.abc import Mapping
from typing import Any

from tlsweep.jobs.dashboard import Unreachable
from tlsweep.jobs.server import Job, JobServer
from tlsweep.jobs.stream import STANDING_RECORDS, stream_name


def job_facts(server: JobServer, job: Job) -> dict[str, Any]:
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


def _standing(server: JobServer, job: Job) -> Mapping[str, Any]:
    """The last line of a job's stream that tells how far it is; empty before the first."""
    try:
        tail = server.read(job, stream_name(job.id), STANDING_RECORDS + 20).splitlines(keepends=True)
    except Unreachable:  # the node that the job ran on is gone
        return {}
    # The last line may still be under way.
    lines = (json.loads(line) for line in reversed(tail) if line.endswith(b"\n"))
    return next((line for line in lines if line["kind"] == "standing"), {})
