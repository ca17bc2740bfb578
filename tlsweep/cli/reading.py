"""`best`, `report` and `trial`: what a sweep found; `repair`: its files, made again."""

import re
from typing import Annotated

import typer

from tlsweep.cli.options import Metric, ResultsFolder, SweepName, SweepNames
from tlsweep.cli.program import app, has_begun, open_sweep


@app.command()
def best(
    name: SweepName = None,
    results: ResultsFolder = "results",
    metric: Metric = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
) -> None:
    """Show the winner of a sweep: its values, how they changed, its metrics, where the model lies."""
    from tlsweep.report import find_best, tables_by
    from tlsweep.terminal import make_console, print_best
    from tlsweep.terminal.console import to_json

    found = open_sweep(name, results)
    if as_json:
        print(to_json(find_best(tables_by(found, metric)).as_dict()))
    else:
        print_best(make_console(), found, metric)


@app.command()
def report(
    names: SweepNames = None,
    results: ResultsFolder = "results",
    metric: Metric = None,
    as_page: Annotated[
        bool, typer.Option("--html", help="Write report.html with pictures; of several sweeps, comparison.html.")
    ] = False,
    with_images: Annotated[
        bool,
        typer.Option(
            "--images/--no-images",
            help="With --html of one sweep: show images that its winner gets wrong, and labels that may be wrong.",
        ),
    ] = True,
) -> None:
    """Show what a sweep found out: the best trials, what works here, what went wrong."""
    from tlsweep.terminal import make_console, print_report
    from tlsweep.terminal.format import location
    from tlsweep.terminal.page import write_page

    found = [open_sweep(name, results) for name in names] if names else [open_sweep(None, results)]
    if as_page:
        print(location(write_page(found, metric, images=with_images)))
        return
    for at, sweep in enumerate(found):
        print("\n" * bool(at), end="")
        print_report(make_console(), sweep, metric)


@app.command()
def trial(
    name: SweepName = None,
    which: Annotated[
        str | None,
        typer.Argument(
            metavar="TRIAL", help="The trial, such as t0007; start: before any training; default: list all."
        ),
    ] = None,
    results: ResultsFolder = "results",
) -> None:
    """Show one trial's life: values, epochs, each decision about it with the reason, why it ended, files."""
    from tlsweep.report import load_tables, trial_life
    from tlsweep.store.starts import START
    from tlsweep.terminal import make_console
    from tlsweep.terminal.trial import print_start, print_trial, print_trials

    # A sweep may be called as trials are; then its name is meant.
    if which is None and name is not None and re.fullmatch(r"t\d+(-.*)?", name) and not has_begun(results, name):
        name, which = None, name  # of the newest sweep
    found = open_sweep(name, results)
    if which is None:
        print_trials(make_console(), load_tables(found))
    elif which == START:
        print_start(make_console(), load_tables(found))
    else:
        print_trial(make_console(), trial_life(found, which))


@app.command()
def repair(name: SweepName = None, results: ResultsFolder = "results") -> None:
    """Make files of a sweep again that are missing or damaged, from its journal; nothing is trained."""
    from tlsweep.report.repair import repair as repaired

    found = open_sweep(name, results)
    lines = repaired(found.folder)
    for line in lines or [f"spec, tables and what follows from them are as the journal of '{found.name}' has them"]:
        print(line)
