"""`best` and `report`: what a sweep found."""

import json
from typing import Annotated

import typer

from tlsweep.cli.options import ResultsFolder, SweepName
from tlsweep.cli.program import app, open_sweep


@app.command()
def best(
    name: SweepName = None,
    results: ResultsFolder = "results",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
) -> None:
    """Show the winner of a sweep: its values, how they changed, its metrics, where the model lies."""
    from tlsweep.report import find_best, load_tables
    from tlsweep.terminal import make_console, print_best

    found = open_sweep(name, results)
    if as_json:
        print(json.dumps(find_best(load_tables(found)).as_dict(), indent=2, allow_nan=False))
    else:
        print_best(make_console(), found)


@app.command()
def report(name: SweepName = None, results: ResultsFolder = "results") -> None:
    """Show what a sweep found out: the best trials, what works here, what went wrong."""
    from tlsweep.terminal import make_console, print_report

    print_report(make_console(), open_sweep(name, results))
