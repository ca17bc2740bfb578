"""The program around the verbs: entry, messages, the view that has the terminal."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from tlsweep.errors import INTERRUPTED, ConnectionLost, SweepFailed, UserError

if TYPE_CHECKING:
    from tlsweep.store import Results
    from tlsweep.sweep.jobs import JobServer
    from tlsweep.terminal import View

app = typer.Typer(
    name="tlsweep",
    help="Find the learning rate and batch size, and how both should change, when a pretrained network is fine-tuned.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def main() -> None:
    """The console entry.

    Exit code 2: the message tells how to mend the input; 1: every trial failed; 3: the cluster was lost; 130: Ctrl-C.
    """
    # `python -m tlsweep` finds the user's own code in the working directory; the installed script would not.
    if not sys.flags.safe_path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        app()
    except UserError as error:
        complain(f"error: {error}")
        sys.exit(2)
    except (SweepFailed, ConnectionLost) as error:
        complain(f"error: {error}")
        sys.exit(1 if isinstance(error, SweepFailed) else 3)


def complain(message: str) -> None:
    """As Text, since a message may hold what rich takes for markup; unwrapped where no terminal has to show it."""
    if sys.stderr.isatty():
        Console(stderr=True, highlight=False).print(Text(message), overflow="fold")
    else:
        print(message, file=sys.stderr)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        print(f"tlsweep {version('tlsweep')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Options of the program itself."""


@contextmanager
def watching(console: Console, *, quiet: bool) -> Iterator["View"]:
    """A view that has the terminal while the block runs; Ctrl-C ends the program with one line."""
    from tlsweep.terminal import make_view

    view = make_view(console, quiet=quiet)
    try:
        with view:
            yield view
    except KeyboardInterrupt:
        hint = f"'{view.resume}' goes on" if view.resume else "no trial had begun"
        complain(f"interrupted; {hint}")
        raise typer.Exit(INTERRUPTED) from None


def open_sweep(name: str | None, results: str) -> "Results":
    """The sweep called `name`, or the newest.

    Raises:
        ResultsError: there is none.
    """
    from tlsweep.store import open_results

    return open_results(name, results)


def job_server(url: str) -> "JobServer":
    """The dashboard of a Ray cluster, where jobs are submitted."""
    from tlsweep.sweep.jobs import JobServer

    return JobServer(url)
