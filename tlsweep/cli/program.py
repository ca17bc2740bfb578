"""The program around the verbs: entry, messages, the view that has the terminal."""

import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.text import Text
from typer.core import TyperGroup
from typer.main import get_command

from tlsweep.errors import INTERRUPTED, ConnectionLost, RayLost, SweepFailed, UserError
from tlsweep.text import one_line, several_lines

if TYPE_CHECKING:
    from tlsweep.jobs.server import JobServer
    from tlsweep.store import Results
    from tlsweep.terminal import View


_CALLS_FUNCTIONS = str(Path(__file__).parents[1] / "functions" / "running.py")


class Verbs(TyperGroup):
    """The verbs; of an option that there is not, they say how a field of the spec is set."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except Exception as error:
            # Typer has its own click, and exports no NoSuchOption; nothing else that it raises has `possibilities`.
            context = getattr(error, "ctx", None)
            if hasattr(error, "possibilities") and context is not None:
                _explain(error, context.command.params)
            raise


def _explain(error: Any, options: Sequence[Any]) -> None:
    """Of an option that a verb does not have, name the field that is meant, and no option that --help hides."""
    hidden = {name for option in options if getattr(option, "hidden", False) for name in option.opts}
    error.possibilities = [name for name in error.possibilities or () if name not in hidden]
    if not any(option.name == "override" for option in options):
        return
    from tlsweep.spec.explaining import where_field_belongs

    field = where_field_belongs(error.option_name.lstrip("-").replace("-", "_"))
    error.message += f"; a field of the spec is set by -o {field or 'KEY.PATH'}=VALUE"
    if field:
        error.possibilities = None


app = typer.Typer(
    name="tlsweep",
    cls=Verbs,
    help="Find the learning rate and batch size, and how both should change, when a pretrained network is fine-tuned.",
    no_args_is_help=True,
    add_completion=False,
    # Typer's own tracebacks would show text of others as it is; `show_defect` escapes it.
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def main() -> None:
    """Run the program from the console.

    Exit code 2: the message tells how to mend the input; 1: every trial failed; 3: the cluster of a job was lost, or
    some files are no images; 130: the sweep was stopped from outside (Ctrl-C, SIGTERM, SIGHUP, the end of its private
    Ray), and can be resumed.
    """
    # `python -m tlsweep` finds the user's own code in the working directory; the installed script would not.
    here = _working_folder()
    if not sys.flags.safe_path and here not in sys.path:
        sys.path.insert(0, here)
    try:
        # Called itself, it would put a hook for tracebacks of its own in the place of `show_defect`.
        get_command(app)()
    except UserError as error:
        complain(f"error: {error}")
        sys.exit(2)
    except (SweepFailed, ConnectionLost, RayLost) as error:
        complain(f"error: {error}")
        sys.exit({SweepFailed: 1, ConnectionLost: 3, RayLost: INTERRUPTED}[type(error)])
    except FileNotFoundError:
        _working_folder()  # what was removed meanwhile is no defect of ours
        raise


def _working_folder() -> str:
    """Find the folder in which tlsweep was started; end the program where that is gone."""
    try:
        return str(Path.cwd())
    except OSError as error:
        complain(f"error: the working directory cannot be used ({error.strerror}); change into one that exists")
        sys.exit(2)


def complain(message: str) -> None:
    """Say what is wrong, as text without markup or escape codes; unwrapped where no terminal has to show it."""
    shown = several_lines(message)
    if sys.stderr.isatty():
        Console(stderr=True, highlight=False).print(Text(shown), overflow="fold")
    else:
        print(shown, file=sys.stderr)


def show_defect(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """The traceback of an error that is ours (`sys.excepthook`), with text of others in it escaped; of one in a
    function of the user's own, from there on."""
    shown = traceback.format_exception(kind, error, _within_own_function(trace))
    print(several_lines("".join(shown)), end="", file=sys.stderr)


def _within_own_function(trace: TracebackType | None) -> TracebackType | None:
    """The part of a traceback behind what calls a user's function; all of it, where none was called."""
    at = trace
    while at is not None:
        if at.tb_frame.f_code.co_filename == _CALLS_FUNCTIONS and at.tb_next is not None:
            trace = at.tb_next
        at = at.tb_next
    return trace


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


def announce(what: str, *, quiet: bool) -> None:
    """Say what is started though nothing was named, and ask at a terminal whether to go on."""
    if quiet:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        print(one_line(f"starting {what}"), flush=True)
        return
    try:
        wanted = typer.confirm(one_line(f"This starts {what}. Go on?"), default=True, err=True)
    except typer.Abort:  # Ctrl-C, Ctrl-D
        wanted = False
    if not wanted:
        complain("nothing was started")
        raise typer.Exit(INTERRUPTED)


def open_sweep(name: str | None, results: str) -> "Results":
    """The sweep called `name`, or the newest, with a word on a journal that is not there.

    Raises:
        ResultsError: there is none.
    """
    from tlsweep.store import open_results, to_location
    from tlsweep.store.folder import passed_over

    found = open_results(name, results)
    if name is not None and found.folder.unused:
        print(one_line(f"'{found.name}' has no journal: all that is known of it is in its tables"), file=sys.stderr)
    for path in passed_over(to_location(results)) if name is None else ():
        print(one_line(f"passed over '{path}': its journal is missing or empty"), file=sys.stderr)
    return found


def has_begun(results: str, name: str) -> bool:
    """Whether there is a sweep of exactly this name."""
    from tlsweep.store import SweepFolder, to_location

    return SweepFolder(to_location(results) / name).spec.exists()


def job_server(url: str) -> "JobServer":
    """The dashboard of a Ray cluster, where jobs are submitted."""
    from tlsweep.jobs.server import JobServer

    return JobServer(url)
