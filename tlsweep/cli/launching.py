"""`launch` and `confirm`: run a sweep."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from tlsweep.cli.options import Address, Overrides, ResultsFolder, Studies, SweepName, study_overrides
from tlsweep.cli.program import app, job_server, open_sweep, watching
from tlsweep.errors import INTERRUPTED


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
    changes = (*(override or ()), *study_overrides(study))
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


@app.command()
def confirm(
    name: SweepName = None,
    repeats: Annotated[int, typer.Option(min=2, help="Networks to train, each with a seed of its own.")] = 5,
    override: Overrides = None,
    local: Annotated[
        bool, typer.Option("--local", help="Start a private Ray here even if a cluster is running.")
    ] = False,
    address: Address = None,
    as_name: Annotated[
        str | None, typer.Option("--name", help="Name of the new results folder; default: NAME-confirmed, numbered.")
    ] = None,
    results: ResultsFolder = "results",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only the outcome.")] = False,
) -> None:
    """Train a sweep's recipe again with other seeds: what it is worth without the luck of the search."""
    from tlsweep.report.recipe import confirmation
    from tlsweep.spec.recipe import check_overrides

    found = open_sweep(name, results)
    spec = confirmation(found, repeats) | {"name": f"{found.name}-confirmed"}
    where = {"results": results, "local": local, "address": address}
    changes = tuple(override or ())
    check_overrides(spec, changes)
    raise typer.Exit(_run(spec, changes, name=as_name, resume=None, quiet=quiet, where=where))


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
    with watching(console, quiet=quiet) as view:
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
    server = job_server(url)
    job = server.submit(loaded, overrides=() if loaded else changes, **what)
    if not detach:
        return watch(server, job, quiet=what["quiet"])
    print(f"submitted {job}; {how_to_see(server, job)}")
    return 0


def _print_epoch(row: Mapping[str, Any]) -> None:
    """One line for an epoch of `launch --debug`."""
    from tlsweep.terminal.format import score, value

    metrics = ", ".join(f"{name} {score(row[name])}" for name in ("train_loss", "val_loss", "val_accuracy"))
    print(f"epoch {row['epoch']}: {metrics}, lr {value(row['lr'])}, {row['train_seconds']:.2f} s", flush=True)
