"""The model of a sweep as a folder to take away: network, classes, preprocessing, model card."""

import json
from pathlib import Path

from tlsweep.errors import ResultsError
from tlsweep.files import storing, write_whole
from tlsweep.inference.card import model_card
from tlsweep.inference.graphs import make_graph, to_onnx, to_pt2
from tlsweep.inference.models import FILES, local_copy
from tlsweep.models.statistics import PREPROCESSING
from tlsweep.report import find_best, load_tables
from tlsweep.spec.images import require_images
from tlsweep.store import Results
from tlsweep.text import one_line
from tlsweep.training.exported import CLASSES, METRICS, MODEL, load_exported

CARD = "README.md"


def export(
    results: Results, folder: Path, form: str, *, with_preprocessing: bool = False, own_code: bool = False
) -> list[str]:
    """Write the winner of a sweep to a folder; the names of the files.

    Args:
        results: The sweep's.
        folder: Made if missing; files of an earlier export are replaced.
        form: A key of `FILES`.
        with_preprocessing: Whether a graph is to begin with crop and normalisation.
        own_code: Whether code that the model names may be run.

    Raises:
        ResultsError: the sweep has no model, or the folder holds something else or cannot be written.
        ModelError: there is no such graph of the network.
    """
    if with_preprocessing and form == "safetensors":
        raise ResultsError("--with-preprocessing puts it into a graph, which safetensors has none of; use pt2 or onnx")
    _refuse_others(folder)
    require_images(results.spec, "'tlsweep export'")
    tables = load_tables(results)
    with local_copy(results.folder.best, results.name) as best:
        module, info = load_exported(best, own_code=own_code)
        if form == "safetensors":
            content = (best / FILES[form]).read_bytes()
        else:
            graph = make_graph(module, info, with_preprocessing=with_preprocessing)
            content = {"pt2": to_pt2, "onnx": to_onnx}[form](graph)
    # Before anything is written: what is wrong with the tables must not leave half of a folder.
    card = model_card(tables, find_best(tables), info, form, with_preprocessing=with_preprocessing)
    parts = {MODEL: info.model, CLASSES: list(info.classes), PREPROCESSING: info.preprocessing, METRICS: info.metrics}
    written = {name: json.dumps(part, indent=2).encode() for name, part in parts.items()}
    with storing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for name, bytes_of in {**written, FILES[form]: content, CARD: card.encode()}.items():
            write_whole(folder / name, bytes_of)
    return [FILES[form], CARD, *written]


def _refuse_others(folder: Path) -> None:
    """Refuse a folder in which files of somebody else might be replaced.

    Raises:
        ResultsError: it holds something, and no earlier export.
    """
    if folder.exists() and not folder.is_dir():
        raise ResultsError(f"--out '{one_line(str(folder))}' is a file; name a folder")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / PREPROCESSING).exists():
        raise ResultsError(
            f"--out '{one_line(str(folder))}' holds other files, which might be replaced; name a new folder"
        )
