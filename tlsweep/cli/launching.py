"""`launch`, `resume`, `submit`, `debug` and `confirm`: run a sweep."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from tlsweep.cli.options import (
    DASHBOARD,
    Address,
    Code,
    Dashboard,
    Detach,
    DryRun,
    Local,
    NewName,
    OnCluster,
    OrResume,
    Overrides,
    Quiet,
    ResultsFolder,
    SpecArgument,
    Studies,
    SweepName,
    study_overrides,
)
from tlsweep.cli.program import announce, app, has_begun, open_sweep, watching
from tlsweep.cli.streams import output_is_not_needed
from tlsweep.cli.submission import DEFAULT_SPEC, Submission, hand_in
from tlsweep.errors import INTERRUPTED, UserError

_JOB_ONLY = "--detach, --dry-run and --code say how a job is submitted"


@app.command()
def launch(
    spec: Annotated[
        str | None,
        typer.Argument(metavar="PRESET|SPEC.YAML", help="What to do; see 'tlsweep presets'. Default: digits."),
    ] = None,
    override: Overrides = None,
    study: Studies = None,
    or_resume: OrResume = False,
    local: Local = False,
    address: Address = None,
    name: NewName = None,
    results: ResultsFolder = "results",
    dashboard: Dashboard = True,
    quiet: Quiet = False,
    # What `resume`, `debug` and `submit` were before they were verbs: scripts have them.
    resume: Annotated[str | None, typer.Option(hidden=True)] = None,
    debug: Annotated[bool, typer.Option("--debug", hidden=True)] = False,
    submit: Annotated[str | None, typer.Option(hidden=True)] = None,
    detach: Annotated[bool, typer.Option("--detach", hidden=True)] = False,
    code: Annotated[Path | None, typer.Option(hidden=True)] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", hidden=True)] = False,
) -> None:
    """Run a sweep: many trials, the best model, and the schedule that made it."""
    from tlsweep.errors import SpecError

    if resume is not None and (name is not None or debug):
        raise SpecError("--resume goes on with a sweep that has a name; leave --name and --debug out")
    if or_resume and (name is None or debug):
        raise SpecError("--or-resume goes on with the sweep of a name, if it has begun; give it one with --name NAME")
    changes = (*(override or ()), *study_overrides(study))
    if submit is not None:
        if local or address is not None or not dashboard or debug:
            raise SpecError("--submit runs it on a cluster; leave --local, --address, --no-dashboard and --debug out")
        job = Submission(submit, spec, changes, results, name, resume, or_resume, code, quiet)
        raise typer.Exit(hand_in(job, detach=detach, dry_run=dry_run))
    if detach or dry_run or code is not None:
        raise SpecError(f"{_JOB_ONLY}; write tlsweep submit SPEC URL, or leave them out")
    if debug:
        _debug(spec or DEFAULT_SPEC, changes)
        return
    if or_resume and has_begun(results, str(name)):
        resume, name = name, None
    if spec is None and resume is None:
        _announce_default(changes, quiet=quiet)
    where = {"results": results, "local": local, "address": address, "dashboard": dashboard}
    raise typer.Exit(_run(spec, changes, name=name, resume=resume, quiet=quiet, where=where))


@app.command()
def resume(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="The sweep, by its name or its folder.", show_default=False)
    ] = None,
    override: Overrides = None,
    spec: Annotated[
        str | None, typer.Option(metavar="SPEC.YAML", help="Go on with this spec; default: the one it was begun with.")
    ] = None,
    local: Local = False,
    address: Address = None,
    results: ResultsFolder = "results",
    dashboard: Dashboard = True,
    quiet: Quiet = False,
    on: OnCluster = None,
    detach: Detach = False,
    code: Code = None,
    dry_run: DryRun = False,
) -> None:
    """Go on with a sweep that was stopped or killed; -o may extend it: search.trials=40, train.epochs=50."""
    from tlsweep.errors import SpecError

    if name is None:
        raise _unnamed(results, on)
    changes = tuple(override or ())
    if on is not None:
        if local or address is not None or not dashboard:
            raise SpecError("--on runs it as a job on a cluster; leave --local, --address and --no-dashboard out")
        job = Submission(on, spec, changes, results, resume=name, code=code, quiet=quiet)
        raise typer.Exit(hand_in(job, detach=detach, dry_run=dry_run))
    if detach or dry_run or code is not None:
        raise SpecError(f"{_JOB_ONLY}; add --on URL, or leave them out")
    where = {"results": results, "local": local, "address": address, "dashboard": dashboard}
    raise typer.Exit(_run(spec, changes, name=None, resume=name, quiet=quiet, where=where))


@app.command()
def submit(
    spec: SpecArgument,
    url: Annotated[
        str, typer.Argument(metavar="URL", envvar=DASHBOARD, help="The dashboard of the cluster, http://HEAD:8265.")
    ],
    override: Overrides = None,
    study: Studies = None,
    or_resume: OrResume = False,
    name: NewName = None,
    results: ResultsFolder = "results",
    detach: Detach = False,
    code: Code = None,
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    """Run a sweep as a job on a Ray cluster; 'status', 'attach' and 'stop' are for such jobs."""
    from tlsweep.errors import SpecError

    if or_resume and name is None:
        raise SpecError("--or-resume goes on with the sweep of a name, if it has begun; give it one with --name NAME")
    changes = (*(override or ()), *study_overrides(study))
    job = Submission(url, spec, changes, results, name, None, or_resume, code, quiet)
    raise typer.Exit(hand_in(job, detach=detach, dry_run=dry_run))


@app.command()
def debug(spec: SpecArgument = DEFAULT_SPEC, override: Overrides = None) -> None:
    """Train one trial of a spec in this process, without Ray, so that breakpoints work."""
    _debug(spec, tuple(override or ()))


@app.command()
def confirm(
    name: SweepName = None,
    repeats: Annotated[
        int, typer.Option(min=2, help="Networks of each contender, of each fold, each with its seed.")
    ] = 5,
    top: Annotated[
        int, typer.Option(min=1, help="How many of the sweep's best trials are trained again, the winner included.")
    ] = 3,
    override: Overrides = None,
    local: Local = False,
    address: Address = None,
    as_name: Annotated[
        str | None, typer.Option("--name", help="Name of the new results folder; default: NAME-confirmed, numbered.")
    ] = None,
    results: ResultsFolder = "results",
    quiet: Quiet = False,
) -> None:
    """Train a sweep's best again with other seeds, beside what costs no search: was the winner luck?"""
    from tlsweep.report.recipe import confirmation
    from tlsweep.spec import load_spec
    from tlsweep.spec.recipe import check_overrides
    from tlsweep.store.folder import name_like

    found = open_sweep(name, results)
    spec = confirmation(found, repeats, top) | {"name": f"{name_like(found.name)}-confirmed"}
    where = {"results": results, "local": local, "address": address}
    changes = tuple(override or ())
    check_overrides(spec, changes)
    if name is None:
        whose = f"'{found.name}', the newest sweep in '{results}'"
        loaded = load_spec(spec, changes)
        others = len(loaded.trained_arms) - 1
        rivals = f", and as many of each of {others} rivals" * (others > 0)
        announce(f"{loaded.runs} networks with the recipe of {whose}{rivals}", quiet=quiet)
    raise typer.Exit(_run(spec, changes, name=as_name, resume=None, quiet=quiet, where=where))


@app.command()
def replay(
    recipe: Annotated[
        str, typer.Argument(metavar="RECIPE", help="A sweep's name, or a recipe.yaml, or the folder in which one lies.")
    ],
    data: Annotated[
        str | None, typer.Option(metavar="PATH", help="Other images: what data.path is to be; -o for the rest.")
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="Networks, each with a seed of its own; default: the recipe's own seeds.")
    ] = None,
    override: Overrides = None,
    local: Local = False,
    address: Address = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the results folder; default: the recipe's folder, then -replayed.")
    ] = None,
    results: ResultsFolder = "results",
    quiet: Quiet = False,
) -> None:
    """Train a recipe again, on its own images or on others: its schedule, without a search."""
    from tlsweep.report.recipe import replayed
    from tlsweep.spec.recipe import check_overrides
    from tlsweep.store.folder import name_like

    # A path first, as it was before a name would do.
    at = next((path for path in (Path(recipe), Path(results) / recipe) if path.exists()), Path(recipe))
    file = at / "recipe.yaml" if at.is_dir() else at
    spec = replayed(file, seeds)
    spec["name"] = f"{name_like(file.resolve().parent.name)}-replayed"
    changes = (*([] if data is None else [f"data.path={data}"]), *(override or ()))
    check_overrides(spec, changes)
    where = {"results": results, "local": local, "address": address}
    raise typer.Exit(_run(spec, changes, name=name, resume=None, quiet=quiet, where=where))


def _unnamed(results: str, on: str | None) -> UserError:
    """What to say of a resume that does not say of what; which sweeps a cluster has is not known here."""
    from tlsweep.store import to_location
    from tlsweep.store.folder import unnamed

    if on is not None:
        return UserError("which sweep? write tlsweep resume NAME --on URL")
    return unnamed(to_location(results), "resume")


def _announce_default(changes: tuple[str, ...], *, quiet: bool) -> None:
    from tlsweep.report import describe_model, describe_search
    from tlsweep.spec import load_spec

    loaded = load_spec(DEFAULT_SPEC, changes)
    announce(
        f"the demonstration, preset {DEFAULT_SPEC} ({describe_search(loaded)}; {describe_model(loaded)})", quiet=quiet
    )


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

    loaded = load_spec(spec or DEFAULT_SPEC, changes) if resume is None else None
    output_is_not_needed()
    console = make_console()
    with watching(console, quiet=quiet) as view:
        # Within the view, which shows that something is under way: Ray Tune alone takes 1.2 to 1.4 s to import
        # (measured).
        from tlsweep import sweep
        from tlsweep.jobs.stream import JobStream, stream_path
        from tlsweep.observer import Several
        from tlsweep.store import to_location
        from tlsweep.store.folder import command

        with JobStream(stream_path()) as stream:
            observer = Several(view, stream)
            if loaded is not None:
                found = sweep.launch(loaded, name=name, observer=observer, **where)
            else:
                assert resume is not None
                view.resume = command("resume", to_location(where["results"]) / resume)
                found = sweep.resume(resume, changed, observer=observer, **where)
    print_outcome(console, found, short=quiet)
    with JobStream(stream_path()) as stream:
        stream.outcome(lambda width: draw_outcome(found, width, short=quiet))
    return INTERRUPTED if found.interrupted else 0


def _debug(spec: str, changes: tuple[str, ...]) -> None:
    from tlsweep.spec import load_spec
    from tlsweep.sweep import debug_trial

    loaded = load_spec(spec, changes)
    if not debug_trial(loaded, report=_print_epoch):
        print(f"a sweep ends the trial here: {loaded.search.metric} or a loss is not a finite number")


def _print_epoch(row: Mapping[str, Any]) -> None:
    """One line for an epoch of `debug`, which 80 characters have room for."""
    from tlsweep.terminal.format import score, tested, value

    if "test" in row:
        print(f"test: {tested(row['test'])}", flush=True)
        return
    shown = [name for name in ("train_loss", "val_loss", "val_accuracy") if name in row]
    metrics = " ".join(f"{name} {score(row[name])}" for name in (*shown, *row.get("own", ())))
    lr = row["scheduled_lr" if "scheduled_lr" in row else "lr"]
    print(f"epoch {row['epoch']}: {metrics} lr {value(lr)} {row['train_seconds']:.2f}s", flush=True)
