"""A sweep as a job on a cluster, for the verbs that can hand one in."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tlsweep.cli.program import job_server
from tlsweep.cli.streams import output_is_not_needed

if TYPE_CHECKING:
    from tlsweep.spec import SweepSpec

DEFAULT_SPEC = "digits"
"""The preset that is run where no spec is named."""


@dataclass(frozen=True)
class Submission:
    """What a job is to do."""

    url: str
    """The URL of the cluster's dashboard."""
    spec: str | None
    changes: tuple[str, ...]
    results: str
    name: str | None = None
    resume: str | None = None
    """Go on with this sweep."""
    or_resume: bool = False
    code: Path | None = None
    quiet: bool = False

    def load(self) -> "SweepSpec | None":
        """Load the spec; None for a sweep that goes on: its spec lies on the cluster, and is changed there."""
        from tlsweep.spec import load_spec
        from tlsweep.spec.idle import refuse_idle

        if self.spec is None and self.resume is not None:
            return None
        loaded = load_spec(self.spec or DEFAULT_SPEC, self.changes)
        if self.resume is None and not self.or_resume:  # a sweep that runs already goes on as it is
            refuse_idle(loaded)
        return loaded


def hand_in(submission: Submission, *, detach: bool, dry_run: bool) -> int:
    """Run a sweep as a job on a cluster; its exit code."""
    if dry_run:
        _show_shipment(submission)
        return 0
    return _submit(submission, detach=detach)


def _submit(submission: Submission, *, detach: bool) -> int:
    from tlsweep.terminal.remote import how_to_see, tell_what_stays, watch
    from tlsweep.text import one_line

    loaded = submission.load()
    output_is_not_needed()
    server = job_server(submission.url)
    job = server.submit(
        loaded,
        results=submission.results,
        name=submission.name,
        resume=submission.resume,
        or_resume=submission.or_resume,
        overrides=() if loaded else submission.changes,
        code=submission.code,
        quiet=submission.quiet,
        on_packed=tell_what_stays,
    )
    if not detach:
        return watch(server, job, quiet=submission.quiet)
    print(one_line(f"submitted {job}; {how_to_see(server, job)}"))
    return 0


def _show_shipment(submission: Submission) -> None:
    """Print what `_submit` would send; the cluster is not asked."""
    from tlsweep.jobs.dashboard import checked_url
    from tlsweep.jobs.server import check_results
    from tlsweep.jobs.shipping import gather
    from tlsweep.terminal.shipment import shipment_lines

    checked_url(submission.url)
    check_results(submission.results)
    print(*shipment_lines(gather(submission.load(), submission.code)), sep="\n")
