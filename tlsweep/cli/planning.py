"""`check`, `rank` and `presets`: before anything is trained."""

import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from tlsweep.cli.options import Address, Overrides, ResultsFolder, SpecArgument, Studies, study_overrides
from tlsweep.cli.program import app, watching

if TYPE_CHECKING:
    from tlsweep.planning import Plan
    from tlsweep.spec import FunctionSpec, ImageSpec


@app.command()
def check(
    spec: SpecArgument = "digits",
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="With --suggest: the copy; default: SPEC-suggested.yaml.")
    ] = None,
    override: Overrides = None,
    study: Studies = None,
    address: Address = None,
    results: ResultsFolder = "results",
    suggest: Annotated[
        bool, typer.Option("--suggest", help="Measure bounds for lr and batch size, and write a spec with them.")
    ] = False,
    contact_sheet: Annotated[
        Path | None,
        typer.Option("--contact-sheet", metavar="FILE.png", help="Write images of each class, as the network sees."),
    ] = None,
) -> None:
    """Say what a sweep will use and take: reads the data, builds the model, takes one real step."""
    from tlsweep.planning.suggested_spec import rehearse_suggestion, suggested_path
    from tlsweep.spec import FunctionSpec, load_spec
    from tlsweep.spec.images import require_images
    from tlsweep.terminal import make_console, print_plan

    changes = (*(override or ()), *study_overrides(study))
    loaded = load_spec(spec, changes)
    if isinstance(loaded, FunctionSpec):
        if suggest or contact_sheet is not None:
            require_images(loaded, "--suggest, as --contact-sheet,")
        _check_function(loaded, results, address)
        return
    loaded = require_images(loaded, "'tlsweep check'")
    target = suggested_path(spec, file, wanted=suggest)
    if target is not None:
        rehearse_suggestion(spec, changes)
    console = make_console()
    # Into a pipe goes the plan alone, as scripts and files want it.
    with watching(console, quiet=not sys.stdout.isatty()) as view:
        from tlsweep.planning import make_plan

        plan = make_plan(loaded, results=results, address=address, observer=view, contact_sheet=contact_sheet)
    print_plan(console, plan)
    if target is not None:
        _suggest(loaded, plan, spec, changes, target)


def _check_function(loaded: "FunctionSpec", results: str, address: str | None) -> None:
    from tlsweep.terminal import make_console
    from tlsweep.terminal.plan import print_function_plan

    console = make_console()
    with watching(console, quiet=not sys.stdout.isatty()) as view:
        from tlsweep.planning.function_plan import make_function_plan

        plan = make_function_plan(loaded, results=results, address=address, observer=view)
    print_function_plan(console, plan)


def _suggest(loaded: "ImageSpec", plan: "Plan", spec: str, changes: tuple[str, ...], target: Path) -> None:
    """Measure where to search, which takes minutes: what it will take and each step are told, in a pipe beside it."""
    from tlsweep.planning.suggestion import images_needed
    from tlsweep.planning.suggestion import suggest as suggested
    from tlsweep.terminal import make_console
    from tlsweep.terminal.console import make_error_console
    from tlsweep.terminal.suggestion import hand_over_suggestion, print_forecast

    console = make_console()
    beside = console if sys.stdout.isatty() else make_error_console()
    print_forecast(beside, images_needed(loaded, plan.train_images), plan.seconds_per_image)
    with watching(beside, quiet=False) as view:
        suggestion = suggested(loaded, observer=view, seconds_per_image=plan.seconds_per_image)
    hand_over_suggestion(console, suggestion, spec, changes, target)


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
    from tlsweep.spec.images import require_images
    from tlsweep.terminal import make_console, print_ranking

    loaded = require_images(load_spec(spec, override or ()), "'tlsweep rank'")
    console = make_console()
    with watching(console, quiet=as_json) as view:
        from tlsweep.planning import make_ranking

        ranking = make_ranking(loaded, candidate or (), by=by, images=images, observer=view)
    print_ranking(console, ranking, as_json=as_json)


@app.command()
def presets(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Print this one, to make a spec of it.")] = None,
) -> None:
    """List the presets that ship, or print one: 'tlsweep presets folder > my.yaml'."""
    from tlsweep.errors import SpecError
    from tlsweep.spec import presets as shipped
    from tlsweep.terminal import make_console
    from tlsweep.terminal.presets import print_presets

    known = shipped()
    if name is None:
        print_presets(make_console(), known)
    elif name in known:
        if isinstance(sys.stdout, io.TextIOWrapper) and not sys.stdout.isatty():
            sys.stdout.reconfigure(encoding="utf-8")  # a spec is UTF-8, whatever the terminal is
        sys.stdout.write(known[name])
    else:
        raise SpecError(f"there is no preset '{name}'; known: {', '.join(known)}")
