"""Options and arguments that several verbs have."""

from typing import Annotated

import typer

SpecArgument = Annotated[str, typer.Argument(metavar="PRESET|SPEC.YAML", help="What to do; see 'tlsweep presets'.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("-o", "--override", metavar="KEY.PATH=VALUE", help="Change a field: train.epochs=20; repeatable."),
]
Studies = Annotated[
    list[str] | None,
    typer.Option("--study", metavar="STUDY", help="Add arms: freeze, or few_labels=5,10,25; repeatable."),
]
Address = Annotated[str | None, typer.Option(metavar="HOST:PORT", help="Ray cluster to join from one of its machines.")]
ResultsFolder = Annotated[
    str,
    typer.Option("--results", metavar="DIR|URI", help="What holds the sweeps: a folder, or s3://BUCKET/PREFIX, gs://…"),
]
JobId = Annotated[str | None, typer.Argument(metavar="JOB", help="The job; default: the newest that runs.")]
Server = Annotated[
    str,
    typer.Option("--on", metavar="URL", envvar="RAY_API_SERVER_ADDRESS", help="The dashboard of the Ray cluster."),
]
SERVER = "http://127.0.0.1:8265"
SweepName = Annotated[str | None, typer.Argument(metavar="NAME", help="The sweep; default: the newest.")]


def study_overrides(names: list[str] | None) -> tuple[str, ...]:
    """As overrides of the spec."""
    if not names:
        return ()
    from tlsweep.spec.study import study_override

    return tuple(map(study_override, names))
