"""The verbs. Nothing is decided here, and nothing heavy is imported before a verb needs it."""

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

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
        _complain(f"error: {error}")
        sys.exit(2)
    except (SweepFailed, ConnectionLost) as error:
        _complain(f"error: {error}")
        sys.exit(1 if isinstance(error, SweepFailed) else 3)


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
    study: Studies = None,
    resume: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Go on with this sweep, which was stopped or killed; -o may extend it."),
    ] = None,
    or_resume: Annotated[
        bool,
        typer.Option("--or-resume", help="Go on with the sweep --name if it has begun: for launchers that try again."),
    ] = False,
    local: Annotated[
        bool, typer.Option("--local", help="Start a private Ray here even if a cluster is running.")
    ] = False,
    address: Address = None,
    name: Annotated[str | None, typer.Option(help="Name of the results folder; default: the spec's, numbered.")] = None,
    results: ResultsFolder = "results",
    dashboard: Annotated[bool, typer.Option(help="Serve the dashboard of a private Ray.")] = True,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only the outcome.")] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Train one trial in this process, without Ray, for breakpoints.")
    ] = False,
    submit: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Run it as a job on the Ray cluster with this dashboard, http://HEAD:8265."),
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", help="With --submit: do not wait for the job.")] = False,
    code: Annotated[
        Path | None, typer.Option(metavar="DIR", help="With --submit: ship this folder, not only the spec's modules.")
    ] = None,
) -> None:
    """Run a sweep: many trials, the best model, and the schedule that made it."""
    from tlsweep.errors import SpecError

    if resume is not None and (name is not None or debug):
        raise SpecError("--resume goes on with a sweep that has a name; leave --name and --debug out")
    if or_resume and (name is None or debug):
        raise SpecError("--or-resume goes on with the sweep of a name, if it has begun; give it one with --name NAME")
    changes = (*(override or ()), *_studies(study))
    if submit is not None:
        if local or address is not None or not dashboard or debug:
            raise SpecError("--submit runs it on a cluster; leave --local, --address, --no-dashboard and --debug out")
        what = {
            "results": results,
            "name": name,
            "resume": resume,
            "or_resume": or_resume,
            "code": code,
            "quiet": quiet,
        }
        raise typer.Exit(_submit(submit, spec, changes, detach=detach, **what))
    if detach or code is not None:
        raise SpecError("--detach and --code say how to submit; add --submit URL, or leave them out")
    if debug:
        from tlsweep.spec import load_spec
        from tlsweep.sweep import debug_trial

        debug_trial(load_spec(spec or "digits", changes), report=_print_epoch)
        return
    if or_resume and _has_begun(results, str(name)):
        resume, name = name, None
    where = {"results": results, "local": local, "address": address, "dashboard": dashboard}
    raise typer.Exit(_run(spec, changes, name=name, resume=resume, quiet=quiet, where=where))


def _studies(names: list[str] | None) -> tuple[str, ...]:
    """As overrides of the spec."""
    if not names:
        return ()
    from tlsweep.spec.study import study_override

    return tuple(map(study_override, names))


def _has_begun(results: str, name: str) -> bool:
    from tlsweep.store import SweepFolder, to_place

    return SweepFolder(to_place(results) / name).spec.exists()


def _run(
    spec: str | Mapping[str, Any] | None,
    changes: tuple[str, ...],
    *,
    name: str | None,
    resume: str | None,
    quiet: bool,
    where: Mapping[str, Any],
) -> int:
    """Run a sweep, or go on with one, in this process; the exit code."""
    from tlsweep.spec import SweepSpec, load_spec
    from tlsweep.terminal import draw_outcome, make_console, print_outcome

    def changed(stored: Mapping[str, Any]) -> SweepSpec:
        return load_spec(spec or stored, changes)

    loaded = load_spec(spec or "digits", changes) if resume is None else None
    console = make_console()
    with _watching(console, quiet=quiet) as view:
        from tlsweep import sweep
        from tlsweep.store import to_place
        from tlsweep.store.folder import command
        from tlsweep.sweep.stream import JobStream, stream_path

        with JobStream(stream_path()) as stream:
            observer = sweep.Several(view, stream)
            if loaded is not None:
                found = sweep.launch(loaded, name=name, observer=observer, **where)
            else:
                assert resume is not None
                view.resume = command("launch --resume", to_place(where["results"]) / resume)
                found = sweep.resume(resume, changed, observer=observer, **where)
    print_outcome(console, found, short=quiet)
    with JobStream(stream_path()) as stream:
        stream.outcome(lambda width: draw_outcome(found, width, short=quiet))
    return INTERRUPTED if found.state().interrupted else 0


def _submit(url: str, spec: str | None, changes: tuple[str, ...], *, detach: bool, **what: Any) -> int:
    """Run a sweep as a job on a cluster; its exit code."""
    from tlsweep.spec import load_spec
    from tlsweep.terminal.remote import how_to_see, watch

    # The spec of a sweep that goes on lies on the cluster, and is changed there.
    loaded = load_spec(spec or "digits", changes) if spec is not None or what["resume"] is None else None
    server = _server(url)
    job = server.submit(loaded, overrides=() if loaded else changes, **what)
    if not detach:
        return watch(server, job, quiet=what["quiet"])
    print(f"submitted {job}; {how_to_see(server, job)}")
    return 0


def _server(url: str) -> "JobServer":
    from tlsweep.sweep.jobs import JobServer

    return JobServer(url)


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
def check(
    spec: SpecArgument = "digits",
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="With --suggest: the copy; default: SPEC-suggested.yaml.")
    ] = None,
    override: Overrides = None,
    study: Studies = None,
    address: Address = None,
    results: ResultsFolder = "results",
    suggest: Annotated[
        bool, typer.Option("--suggest", help="Measure bounds for lr and batch size, and write a spec with them.")
    ] = False,
) -> None:
    """Say what a sweep will use and take: reads the data, builds the model, takes one real step."""
    from tlsweep.spec import load_spec
    from tlsweep.terminal import make_console, print_plan
    from tlsweep.terminal.suggestion import hand_over_suggestion, suggested_path

    changes = (*(override or ()), *_studies(study))
    loaded = load_spec(spec, changes)
    target = suggested_path(spec, file, wanted=suggest)
    console = make_console()
    with _watching(console, quiet=not sys.stdout.isatty()) as view:
        from tlsweep.sweep import make_plan

        plan = make_plan(loaded, results=results, address=address, observer=view)
        if target is not None:
            from tlsweep.sweep.suggestion import suggest as suggested

            suggestion = suggested(loaded, observer=view)
    print_plan(console, plan)
    if target is not None:
        hand_over_suggestion(console, suggestion, spec, changes, target)


@app.command()
def confirm(
    name: SweepName = None,
    repeats: Annotated[int, typer.Option(min=2, help="Networks to train, each with a seed of its own.")] = 5,
    override: Overrides = None,
    local: Annotated[
        bool, typer.Option("--local", help="Start a private Ray here even if a cluster is running.")
    ] = False,
    address: Address = None,
    results: ResultsFolder = "results",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only the outcome.")] = False,
) -> None:
    """Train a sweep's recipe again with other seeds: what it is worth without the luck of the search."""
    from tlsweep.report.recipe import confirmation

    found = _open(name, results)
    spec = confirmation(found, repeats)
    where = {"results": results, "local": local, "address": address}
    changes = tuple(override or ())
    raise typer.Exit(_run(spec, changes, name=f"{found.name}-confirmed", resume=None, quiet=quiet, where=where))


@app.command()
def rank(
    spec: SpecArgument = "digits",
    override: Overrides = None,
    candidate: Annotated[
        list[str] | None,
        typer.Option("-c", "--candidate", metavar="MODEL[=WEIGHTS]", help="One more: resnet18=DEFAULT; repeatable."),
    ] = None,
    by: Annotated[Literal["probe", "logme", "h_score", "knn"], typer.Option(help="What decides.")] = "probe",
    images: Annotated[int, typer.Option(min=2, help="Training and validation images to use, at most.")] = 5000,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
) -> None:
    """Order networks and weights by how well their frozen features suit the images; nothing is fine-tuned."""
    from tlsweep.spec import load_spec
    from tlsweep.terminal import make_console, print_ranking

    loaded = load_spec(spec, override or ())
    console = make_console()
    with _watching(console, quiet=as_json) as view:
        from tlsweep.sweep import make_ranking

        ranking = make_ranking(loaded, candidate or (), by=by, images=images, observer=view)
    print_ranking(console, ranking, as_json=as_json)


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
    results: ResultsFolder = "results",
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
def report(name: SweepName = None, results: ResultsFolder = "results") -> None:
    """Show what a sweep found out: the best trials, what works here, what went wrong."""
    from tlsweep.terminal import make_console, print_report

    print_report(make_console(), _open(name, results))


def _open(name: str | None, results: str) -> "Results":
    from tlsweep.store import open_results

    return open_results(name, results)


@app.command()
def status(
    job: JobId = None,
    on: Server = SERVER,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
) -> None:
    """List the jobs that were submitted to a cluster, the newest first, and how far they are."""
    from tlsweep.terminal import make_console
    from tlsweep.terminal.remote import job_facts, print_jobs

    server = _server(on)
    facts = [job_facts(server, one) for one in ([server.job(job)] if job else server.jobs())]
    if as_json:
        print(json.dumps(facts, indent=2))
    else:
        print_jobs(make_console(), facts, server.url)


@app.command()
def attach(job: JobId = None, on: Server = SERVER) -> None:
    """Show a job on a cluster until it is over, from its beginning; the exit code is the job's."""
    from tlsweep.terminal.remote import watch

    server = _server(on)
    raise typer.Exit(watch(server, server.find(job).id))


@app.command()
def stop(job: JobId = None, on: Server = SERVER) -> None:
    """End a job on a cluster in order: what was reported is kept, and its sweep can go on."""
    from tlsweep.terminal.remote import stop_job

    server = _server(on)
    stop_job(server, server.find(job))
