"""The verbs. Nothing is decided here, and nothing heavy is imported before a verb needs it."""

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from tlsweep.errors import SweepFailed, UserError

if TYPE_CHECKING:
    from tlsweep.store import Results
    from tlsweep.terminal import View

INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 + SIGINT, as shells have it."""

app = typer.Typer(
    name="tlsweep",
    help="Find the learning rate and batch size, and how both should change, when a pretrained network is fine-tuned.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

SpecArgument = Annotated[str, typer.Argument(metavar="PRESET|SPEC.YAML", help="What to do; see 'tlsweep presets'.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("-o", "--override", metavar="KEY.PATH=VALUE", help="Change a field: train.epochs=20; repeatable."),
]
Address = Annotated[str | None, typer.Option(help="Ray cluster to join, such as 'auto' or ray://host:10001.")]
ResultsFolder = Annotated[Path, typer.Option("--results", metavar="DIR", help="Folder that holds the sweeps.")]
SweepName = Annotated[str | None, typer.Argument(metavar="NAME", help="The sweep; default: the newest.")]


def main() -> None:
    """The console entry. Exit code 2: the message tells how to mend the input; 1: every trial failed; 130: Ctrl-C."""
    # `python -m tlsweep` finds the user's own code in the working directory; the installed script would not.
    if not sys.flags.safe_path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        app()
    except UserError as error:
        _complain(f"error: {error}")
        sys.exit(2)
    except SweepFailed as error:
        _complain(f"error: {error}")
        sys.exit(1)


def _complain(message: str) -> None:
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


@app.command()
def launch(
    spec: Annotated[
        str | None,
        typer.Argument(metavar="[PRESET|SPEC.YAML]", help="What to do; see 'tlsweep presets'. Default: digits."),
    ] = None,
    override: Overrides = None,
    resume: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Go on with this sweep, which was stopped or killed; -o may extend it."),
    ] = None,
    local: Annotated[
        bool, typer.Option("--local", help="Start a private Ray here even if a cluster is running.")
    ] = False,
    address: Address = None,
    name: Annotated[str | None, typer.Option(help="Name of the results folder; default: the spec's, numbered.")] = None,
    results: ResultsFolder = Path("results"),
    dashboard: Annotated[bool, typer.Option(help="Serve the dashboard of a private Ray.")] = True,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only the outcome.")] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Train one trial in this process, without Ray, for breakpoints.")
    ] = False,
) -> None:
    """Run a sweep: many trials, the best model, and the schedule that made it."""
    from tlsweep.errors import SpecError
    from tlsweep.spec import SweepSpec, load_spec
    from tlsweep.terminal import make_console, print_outcome

    if resume is not None and (name is not None or debug):
        raise SpecError("--resume goes on with a sweep that has a name; leave --name and --debug out")
    console = make_console()
    where: dict[str, Any] = {"results": results, "local": local, "address": address, "dashboard": dashboard}
    if resume is None:
        loaded = load_spec(spec or "digits", override or ())
        if debug:
            from tlsweep.sweep import debug_trial

            debug_trial(loaded, report=_print_epoch)
            return
        with _watching(console, quiet=quiet) as view:
            from tlsweep.sweep import launch as run

            found = run(loaded, name=name, observer=view, **where)
    else:

        def changed(stored: Mapping[str, Any]) -> SweepSpec:
            return load_spec(spec or stored, override or ())

        with _watching(console, quiet=quiet) as view:
            from tlsweep.store.folder import command
            from tlsweep.sweep import resume as go_on

            view.resume = command("launch --resume", results / resume)

            found = go_on(resume, changed, observer=view, **where)
    print_outcome(console, found, short=quiet)
    if found.state().interrupted:
        raise typer.Exit(INTERRUPTED)


@contextmanager
def _watching(console: Console, *, quiet: bool) -> Iterator["View"]:
    """A view that has the terminal while the block runs; Ctrl-C ends the program with one line."""
    from tlsweep.terminal import make_view

    view = make_view(console, quiet=quiet)
    try:
        with view:
            yield view
    except KeyboardInterrupt:
        hint = f"'{view.resume}' goes on" if view.resume else "no trial had begun"
        _complain(f"interrupted; {hint}")
        raise typer.Exit(INTERRUPTED) from None


def _print_epoch(row: Mapping[str, Any]) -> None:
    """One line for an epoch of `launch --debug`."""
    from tlsweep.terminal.format import score, value

    metrics = ", ".join(f"{name} {score(row[name])}" for name in ("train_loss", "val_loss", "val_accuracy"))
    print(f"epoch {row['epoch']}: {metrics}, lr {value(row['lr'])}, {row['train_seconds']:.2f} s", flush=True)


@app.command()
def check(spec: SpecArgument = "digits", override: Overrides = None, address: Address = None) -> None:
    """Say what a sweep will use and take: reads the data, builds the model, takes one real step."""
    from tlsweep.spec import load_spec
    from tlsweep.terminal import make_console, print_plan

    loaded = load_spec(spec, override or ())
    console = make_console()
    with _watching(console, quiet=not sys.stdout.isatty()) as view:
        from tlsweep.sweep import make_plan

        plan = make_plan(loaded, address=address, observer=view)
    print_plan(console, plan)


@app.command()
def presets(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Print this one, to make a spec of it.")] = None,
) -> None:
    """List the presets that ship, or print one: 'tlsweep presets folder > my.yaml'."""
    from tlsweep.errors import SpecError
    from tlsweep.spec import presets as shipped
    from tlsweep.terminal.presets import print_presets

    known = shipped()
    if name is None:
        print_presets(Console(highlight=False), known)
    elif name in known:
        sys.stdout.write(known[name])
    else:
        raise SpecError(f"there is no preset '{name}'; known: {', '.join(known)}")


@app.command()
def best(
    name: SweepName = None,
    results: ResultsFolder = Path("results"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
) -> None:
    """Show the winner of a sweep: its values, how they changed, its metrics, where the model lies."""
    from tlsweep.report import find_best, load_tables
    from tlsweep.terminal import make_console, print_best

    found = _open(name, results)
    if as_json:
        print(json.dumps(find_best(load_tables(found)).as_dict(), indent=2, allow_nan=False))
    else:
        print_best(make_console(), found)


@app.command()
def report(name: SweepName = None, results: ResultsFolder = Path("results")) -> None:
    """Show what a sweep found out: the best trials, what works here, what went wrong."""
    from tlsweep.terminal import make_console, print_report

    print_report(make_console(), _open(name, results))


def _open(name: str | None, results: Path) -> "Results":
    from tlsweep.store import open_results

    return open_results(name, results)
