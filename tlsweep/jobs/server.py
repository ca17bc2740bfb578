"""tlsweep's jobs on a Ray cluster, through the Jobs API of its dashboard."""

import secrets
import shlex
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from tlsweep.errors import INTERRUPTED, ResultsError
from tlsweep.jobs.dashboard import Dashboard, UnknownJob, Unreachable
from tlsweep.jobs.shipping import SPEC_FILE, Shipment, pack
from tlsweep.jobs.stream import JOB
from tlsweep.spec import SweepSpec
from tlsweep.store import to_location
from tlsweep.store.folder import name_like

if TYPE_CHECKING:
    from ray.job_submission import JobDetails

STOP_SECONDS = 120
"""A job that is stopped may take so long to end in order; Ray's own default is 3."""


@dataclass(frozen=True)
class Job:
    """One job, as the cluster has it."""

    id: str
    sweep: str
    """Name that the sweep was to have; it may have got a number."""
    results: str
    status: str
    """pending, running, succeeded, failed or stopped"""
    started: float | None
    ended: float | None
    """Seconds since the epoch, by the cluster's clock."""
    exit_code: int | None
    node: str | None
    """Id of the node that the driver runs on; None before it has started."""
    message: str
    """What Ray says about it."""

    @property
    def over(self) -> bool:
        return self.status in ("succeeded", "failed", "stopped")

    @property
    def code(self) -> int:
        """Exit code of the command: 128 + the signal that killed it, 130 if it was stopped, 1 if it never started."""
        if self.status == "stopped":
            return INTERRUPTED
        if self.exit_code is None:
            return 1
        if self.exit_code >= 0:
            return self.exit_code
        return 128 - self.exit_code


def check_results(results: str) -> None:
    """Refuse results that would vanish with the job.

    Raises:
        ResultsError: results would vanish with the job.
    """
    if isinstance(location := to_location(results), Path) and not location.is_absolute():
        raise ResultsError(
            f"--results {results}: a job has no working directory that stays; name with --results a folder of the "
            "cluster that all its nodes share, by its absolute path, or s3://BUCKET/PREFIX, gs://BUCKET/PREFIX"
        )


class JobServer(Dashboard):
    """The jobs of tlsweep on a Ray cluster."""

    def submit(
        self,
        spec: SweepSpec | None,
        *,
        results: str,
        name: str | None = None,
        resume: str | None = None,
        or_resume: bool = False,
        overrides: tuple[str, ...] = (),
        code: Path | None = None,
        quiet: bool = False,
        on_packed: Callable[[Shipment], None] | None = None,
    ) -> str:
        """Start a sweep as a job on the head node; its id.

        Args:
            spec: What to do; None for what the sweep `resume` was doing.
            results: What holds sweeps there, an absolute path or a URI.
            name: Name of the sweep.
            resume: Go on with this sweep.
            or_resume: Go on with the sweep `name` if it has begun.
            overrides: Changes of the stored spec of the sweep that goes on.
            code: A folder that is shipped whole.
            quiet: Print the outcome alone into the job's log.
            on_packed: Is told what goes, and what does not, before it is sent.

        Raises:
            UserError: `results` is no location that outlives the job, or `code` cannot be shipped.
        """
        check_results(results)
        sweep = (resume or name or (spec.name if spec else None) or "sweep").rpartition("/")[2]  # or a path of one
        # Ray refuses an id that it has had already, and two jobs may be submitted within a second.
        job = f"tlsweep-{name_like(sweep)}-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
        # With the options that these verbs have replaced: the cluster may have an earlier version.
        options = {"--resume": resume, "--name": name}
        flags = {"--or-resume": or_resume, "--quiet": quiet}
        words = [
            "launch",
            *([SPEC_FILE] if spec else []),
            *(word for override in overrides for word in ("-o", override)),
            *("--results", results),
            *(word for option, value in options.items() if value for word in (option, value)),
            *(flag for flag, given in flags.items() if given),
        ]
        with tempfile.TemporaryDirectory() as folder, self.asking():
            archive = Path(folder) / "code.zip"
            shipment = pack(archive, spec, code)
            if on_packed is not None:
                on_packed(shipment)
            self.client.submit_job(
                # Ray hands it to a shell (dashboard/modules/job/job_supervisor.py).
                entrypoint=shlex.join([self.python(), "-m", "tlsweep", *words]),
                submission_id=job,
                runtime_env={
                    "working_dir": str(archive),
                    "env_vars": {JOB: job, "RAY_JOB_STOP_WAIT_TIME_S": str(STOP_SECONDS)},
                },
                metadata={"job_name": sweep, "tlsweep": version("tlsweep"), "sweep": sweep, "results": results},
            )
        return job

    def job(self, job: str) -> Job:
        """Look a job up by its id.

        Raises:
            UnknownJob: there is none.
            Unreachable: the dashboard does not answer.
        """
        with self.asking(job):
            return _job(self.client.get_job_info(job))

    def jobs(self) -> list[Job]:
        """All that tlsweep submitted, the newest first."""
        with self.asking():
            found = [
                _job(details)
                for details in self.client.list_jobs()
                if details.submission_id and "tlsweep" in (details.metadata or {})
            ]
        return sorted(found, key=lambda job: job.started or 0.0, reverse=True)

    def find(self, job: str | None) -> Job:
        """A job by its id; None for the newest that runs.

        Raises:
            UnknownJob: there is none.
        """
        if job is not None:
            return self.job(job)
        if running := [job for job in self.jobs() if not job.over]:
            return running[0]
        raise UnknownJob(
            f"no job of tlsweep runs at '{self.url}'; 'tlsweep status --on {self.url}' lists those that have ended"
        )

    def stop(self, job: Job) -> Job:
        """Ask a job to end in order, and wait until it has; as it is then."""
        with self.asking(job.id):
            self.client.stop_job(job.id)
        end = time.monotonic() + STOP_SECONDS + 60
        while True:
            try:
                now = self.job(job.id)
            except Unreachable:  # for a moment, mostly
                if time.monotonic() > end:
                    raise
            else:
                if now.over:
                    return now
            time.sleep(0.5)

    def read(self, job: Job, file: str, lines: int = -1) -> bytes:
        """The last lines of a file in the log folder of a job's node, -1 for all; empty where there is none."""
        if job.node is None:
            return b""
        with self.asking(), self.open_log(job.node, file, lines=lines, follow=False) as response:
            if response.ok:
                return bytes(response.content)
            # Only its words tell this answer of Ray's from its other errors.
            if "A file is not found" in response.text:
                return b""
            raise RuntimeError(f"the log '{file}' cannot be read: {response.text.partition(chr(10))[0]}")


def _job(details: "JobDetails") -> Job:
    metadata: Mapping[str, str] = details.metadata or {}
    return Job(
        id=details.submission_id or "",
        sweep=metadata.get("sweep", "-"),
        results=metadata.get("results", "-"),
        status=str(details.status.value).lower(),
        started=details.start_time / 1000 if details.start_time else None,
        ended=details.end_time / 1000 if details.end_time else None,
        exit_code=details.driver_exit_code,
        node=details.driver_node_id,
        message=details.message or "",
    )
