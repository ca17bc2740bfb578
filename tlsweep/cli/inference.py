"""`predict` and `export`: a model in use."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from tlsweep.cli.options import ResultsFolder, SweepName
from tlsweep.cli.program import app, complain, open_sweep
from tlsweep.text import one_line

BAD_IMAGES = 3
"""Exit code where some files could not be predicted."""

OwnCode = Annotated[
    bool,
    typer.Option(
        "--own-code", help="Run code that the model names (your own network) or holds (.pt2), if you trust it."
    ),
]


@app.command()
def predict(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A sweep, an exported folder, a .onnx or .pt2.")],
    images: Annotated[list[str], typer.Argument(metavar="IMAGES…", help="Files, folders (at any depth), globs.")],
    top: Annotated[
        int, typer.Option(min=1, metavar="N", help="How many classes to name, the most probable first.")
    ] = 2,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a table instead: FILE.csv or FILE.parquet.")
    ] = None,
    results: ResultsFolder = "results",
    own_code: OwnCode = False,
) -> None:
    """Predict images: 'tlsweep predict better new/', 'tlsweep predict better new/*.jpg --top 5 --out new.csv'.

    Pictures are decoded and resized as those of the sweep were. Files that are no images are named, the others
    predicted, and the exit code is 3.
    """
    from tlsweep.inference.images import find_images
    from tlsweep.inference.writing import check_table, write_predictions

    if out is not None:
        check_table(out)
    files = find_images(images)
    from tlsweep.inference.models import load_model
    from tlsweep.inference.predicting import predict as predicted
    from tlsweep.terminal import make_console
    from tlsweep.terminal.prediction import print_predictions, progress_bar

    loaded = load_model(model, results, own_code=own_code)
    with progress_bar() as progress:
        found = predicted(loaded, files, top=top, progress=progress)
    if out is None:
        print_predictions(make_console(), found)
    else:
        write_predictions(out, found.rows)
        print(one_line(f"{len(found.rows):,} images predicted: {out}"))
    sys.stdout.flush()
    for file, reason in found.bad.items():
        complain(f"{one_line(file)}: {reason}")
    if found.bad:
        complain(f"{len(found.bad):,} of {len(files):,} files could not be predicted")
        raise typer.Exit(BAD_IMAGES)


@app.command()
def export(
    name: SweepName = None,
    form: Annotated[
        Literal["safetensors", "pt2", "onnx"],
        typer.Option("--format", help="pt2 (torch.export) and onnx are graphs, which need none of the network's code."),
    ] = "safetensors",
    with_preprocessing: Annotated[
        bool,
        typer.Option(
            "--with-preprocessing",
            help="The graph takes uint8 squares (N, S, S, C), decoded and resized as the card says, and crops and "
            "normalises them; resizing itself stays outside, where Pillow does it as in the sweep.",
        ),
    ] = False,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="The folder; default: NAME-FORMAT, here.")] = None,
    results: ResultsFolder = "results",
    own_code: OwnCode = False,
) -> None:
    """Write the model of a sweep to a folder, with a model card: 'tlsweep export better --format onnx'."""
    found = open_sweep(name, results)
    from tlsweep.inference.exporting import export as exported

    folder = out or Path(f"{found.name}-{form}")
    files = exported(found, folder, form, with_preprocessing=with_preprocessing, own_code=own_code)
    print(one_line(f"{folder}: {', '.join(files)}"))
