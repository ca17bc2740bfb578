"""`fields`, `columns` and `events`: the references, from the code itself."""

from typing import Annotated

import typer

from tlsweep.cli.options import ResultsFolder
from tlsweep.cli.program import app, has_begun, open_sweep

Markdown = Annotated[bool, typer.Option("--markdown", help="Print a table for documents.")]


@app.command()
def fields(
    path: Annotated[str | None, typer.Argument(metavar="FIELD|SECTION", help="Only this: train, train.lr.")] = None,
    markdown: Markdown = False,
) -> None:
    """Explain the fields of a spec: type, default, rule and meaning of each."""
    from tlsweep.terminal import make_console
    from tlsweep.terminal.reference import print_fields

    print_fields(make_console(), path, markdown=markdown)


@app.command()
def columns(
    table: Annotated[
        str | None,
        typer.Argument(metavar="TABLE|NAME", help="Only this: reports, trials.reason; or what a sweep has of its own."),
    ] = None,
    markdown: Markdown = False,
    results: ResultsFolder = "results",
) -> None:
    """Explain the columns of a sweep's Parquet tables."""
    from tlsweep.terminal import make_console
    from tlsweep.terminal.reference import knows_columns, print_columns, print_own_columns

    if table is not None and not knows_columns(table) and has_begun(results, table):
        print_own_columns(make_console(), open_sweep(table, results))
        return
    print_columns(make_console(), table, markdown=markdown)


@app.command()
def events(
    kind: Annotated[str | None, typer.Argument(metavar="KIND", help="Only this: exploited.")] = None,
    markdown: Markdown = False,
) -> None:
    """Explain the kinds of events in events.parquet."""
    from tlsweep.terminal import make_console
    from tlsweep.terminal.reference import print_events

    print_events(make_console(), kind, markdown=markdown)
