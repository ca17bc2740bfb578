"""Options and arguments that several verbs have."""

from pathlib import Path
from typing import Annotated

import typer

SpecArgument = Annotated[str, typer.Argument(metavar="PRESET|SPEC.YAML", help="What to do; see 'tlsweep presets'.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("-o", "--override", metavar="KEY.PATH=VALUE", help="Change a field: train.epochs=20; repeatable."),
]
Studies = Annotated[
    list[str] | None,
    typer.Option("--study", metavar="STUDY", help="Add arms: freeze, federation, or few_labels=5,10,25; repeatable."),
]
Address = Annotated[str | None, typer.Option(metavar="HOST:PORT", help="Ray cluster to join from one of its machines.")]
Local = Annotated[bool, typer.Option("--local", help="Start a private Ray here even if a cluster is running.")]
Dashboard = Annotated[
    bool, typer.Option(help="Serve the dashboard of a private Ray; 'ray get-auth-token' prints its token.")
]
NewName = Annotated[str | None, typer.Option(help="Name of the results folder; default: the spec's, numbered.")]
OrResume = Annotated[
    bool,
    typer.Option("--or-resume", help="Go on with the sweep --name if it has begun: for launchers that try again."),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only the outcome.")]
ResultsFolder = Annotated[
    str,
    typer.Option("--results", metavar="DIR|URI", help="What holds the sweeps: a folder, or s3://BUCKET/PREFIX, gs://…"),
]
_JOB = "As a job on a cluster"
Detach = Annotated[bool, typer.Option("--detach", help="Do not wait for the job.", rich_help_panel=_JOB)]
Code = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Ship this folder, not only the spec's modules.", rich_help_panel=_JOB),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="List what would be shipped, and send nothing.", rich_help_panel=_JOB)
]
OnCluster = Annotated[
    str | None,
    typer.Option("--on", metavar="URL", help="Run it on the Ray cluster with this dashboard.", rich_help_panel=_JOB),
]
JobId = Annotated[str | None, typer.Argument(metavar="JOB", help="The job; default: the newest that runs.")]
DASHBOARD = "RAY_API_SERVER_ADDRESS"
"""The variable that Ray's own commands take a dashboard's address from."""
Server = Annotated[
    str,
    typer.Option("--on", metavar="URL", envvar=DASHBOARD, help="The dashboard of the Ray cluster."),
]
SERVER = "http://127.0.0.1:8265"
Metric = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Rank by this, such as val_f1, instead of what the sweep was searched by."),
]
SweepNames = Annotated[
    list[str] | None, typer.Argument(metavar="NAME...", help="The sweeps; default: the newest.", show_default=False)
]
SweepName = Annotated[str | None, typer.Argument(metavar="NAME", help="The sweep; default: the newest.")]


def study_overrides(names: list[str] | None) -> tuple[str, ...]:
    """Make overrides of the spec of what --study names."""
    if not names:
        return ()
    from tlsweep.spec.search.study import study_override

    return tuple(map(study_override, names))
