"""`best`, `report` and `trial`: what a sweep found; `repair`: its files, made again."""

import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from tlsweep.cli.options import Metric, ResultsFolder, SweepName, SweepNames
from tlsweep.cli.program import app, has_begun, open_sweep
from tlsweep.errors import UserError

if TYPE_CHECKING:
    from tlsweep.store import Results


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
            help="On the page of one sweep: show images that its winner gets wrong, and labels that may be wrong.",
        ),
    ] = True,
    pictures: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Write the figures of one sweep as files there, which takes a Chrome."),
    ] = None,
    form: Annotated[
        Literal["svg", "png", "pdf"] | None,
        typer.Option("--format", help="With --pictures: what files they are; default: svg."),
    ] = None,
    serve: Annotated[
        bool, typer.Option("--serve", help="Show the page in a browser while the sweep runs, until Ctrl-C.")
    ] = False,
    host: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="With --serve: where to listen; default: this machine alone.")
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="With --serve: where to listen; default: a free port.")
    ] = None,
) -> None:
    """Show what a sweep found out: the best trials, what works here, what went wrong."""
    from tlsweep.terminal import make_console, print_report
    from tlsweep.terminal.format import location
    from tlsweep.terminal.page import write_page

    ways = {"--html": as_page, "--serve": serve, "--pictures": pictures is not None}
    _refuse_together(ways, {"--format": form, "--host": host, "--port": port}, sweeps=len(names or [None]))
    found = [open_sweep(name, results) for name in names] if names else [open_sweep(None, results)]
    if pictures is not None:
        from tlsweep.report.figures.files import write_pictures

        for place in write_pictures(found[0], pictures, form or "svg", metric):
            print(location(place))
        return
    if as_page:
        print(location(write_page(found, metric, images=with_images)))
        return
    if serve:
        _serve(found, metric, images=with_images, host=host, port=port)
        return
    for at, sweep in enumerate(found):
        print("\n" * bool(at), end="")
        print_report(make_console(), sweep, metric)


def _refuse_together(ways: Mapping[str, bool], given: Mapping[str, Any], *, sweeps: int) -> None:
    """Refuse options of `report` that do not fit together.

    Args:
        ways: how the report is wanted.
        given: options of one way only; None where not given.
        sweeps: how many are to be shown.

    Raises:
        UserError: they do not.
    """
    if given["--format"] is not None and not ways["--pictures"]:
        raise UserError("--format says what files --pictures writes: add --pictures FOLDER, or leave it out")
    if ways["--pictures"] and (ways["--html"] or ways["--serve"] or sweeps > 1):
        raise UserError("--pictures writes files of one sweep: leave --html, --serve and other sweeps out")
    if ways["--html"] and ways["--serve"]:
        raise UserError("--html writes the page once, --serve shows it live: leave one of them out")
    for option in ("--host", "--port"):
        if given[option] is not None and not ways["--serve"]:
            raise UserError(f"{option} says where --serve listens: add --serve, or leave {option} out")


def _serve(
    sweeps: "Sequence[Results]", metric: str | None, *, images: bool, host: str | None, port: int | None
) -> None:
    """Serve the page until Ctrl-C, which is how this ends in order.

    Raises:
        ResourceError: nobody can listen there.
    """
    from tlsweep.terminal.page import server

    page = server.LivePage(sweeps, metric, images=images)
    with server.make_server(page, host or server.LOOPBACK, port or 0) as serving:
        print(
            f"{server.address(serving)} shows {', '.join(results.name for results in sweeps)}; Ctrl-C ends it",
            flush=True,
        )
        if host is not None and not server.is_loopback(host):
            print("it asks for no password: whoever reaches this machine sees it", file=sys.stderr)
        with suppress(KeyboardInterrupt):
            serving.serve_forever()


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
