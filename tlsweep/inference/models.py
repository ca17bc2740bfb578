"""A model that images are predicted with, from wherever it lies: a sweep, an exported folder, a graph in a file."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from tlsweep.data.items import Pixels
from tlsweep.errors import ResultsError
from tlsweep.inference.graphs import read_onnx, read_pt2
from tlsweep.store import Location, to_location
from tlsweep.store.folder import find_sweep_folder
from tlsweep.store.locations import STATE, children
from tlsweep.text import one_line
from tlsweep.training.devices import choose_device, move_to_device
from tlsweep.training.exported import MODEL, WEIGHTS, ExportInfo, load_exported

FILES: Final = {"safetensors": WEIGHTS, "pt2": "model.pt2", "onnx": "model.onnx"}
"""What the file of each format is called."""


@dataclass(frozen=True)
class Model:
    """A network, ready to predict, and what has to be known to use it."""

    info: ExportInfo
    logits: Callable[[Pixels], Tensor]
    """From pictures as they are stored (`Transform.square`) to logits (N, classes) on the CPU."""


def load_model(name: str, results: str = "results", *, own_code: bool = False) -> Model:
    """The model that a name stands for.

    Args:
        name: A .pt2 or .onnx file, the folder of an exported model, or a sweep by its name or folder.
        results: What holds the sweeps.
        own_code: Whether code that the model names may be run.

    Raises:
        ResultsError: there is none, or it is damaged, or it needs code that is not to be run.
    """
    path = Path(name).expanduser()
    if path.is_file():
        return _of_file(path, own_code)
    if not (path / MODEL).exists():
        return _of_sweep(name, results, own_code)
    # ONNX first: it holds no code, so that nobody has to trust it.
    graphs = [path / file for file in (FILES["onnx"], FILES["pt2"]) if (path / file).exists()]
    if graphs and not (path / WEIGHTS).exists():
        return _of_file(graphs[0], own_code)
    return _of_folder(path, own_code)


def _of_file(path: Path, own_code: bool) -> Model:
    """The model of a graph.

    Raises:
        ResultsError: see `load_model`.
    """
    if path.suffix == ".onnx":
        return Model(*read_onnx(path))
    if path.suffix != ".pt2":
        raise ResultsError(f"'{one_line(str(path))}' is no model; name a sweep, a folder, or a .pt2 or .onnx file")
    # torch.export.load unpickles what is no plain tensor (pt2_archive/_package.py, `weights_only=False`).
    if not own_code:
        raise ResultsError(
            f"'{one_line(str(path))}' may hold code, which torch runs when it loads a .pt2; if you trust it, add "
            "--own-code (or load_model(…, own_code=True)); .onnx and safetensors hold none"
        )
    return Model(*read_pt2(path))


def _of_sweep(name: str, results: str, own_code: bool) -> Model:
    """The winner of a sweep.

    Raises:
        ResultsError: see `load_model`.
    """
    folder = find_sweep_folder(to_location(results), name, begun=False, tables=True)
    if (folder.best / STATE).exists():
        raise ResultsError(
            f"'{one_line(folder.name)}' trains what a function of yours trains (trial), of which tlsweep has no "
            f"network to predict with; the state of the winner is best/{STATE}"
        )
    with local_copy(folder.best, folder.name) as best:
        return _of_folder(best, own_code)


@contextmanager
def local_copy(best: Location, sweep: str) -> Iterator[Path]:
    """The folder of a sweep's model; what lies on object storage is there while the block runs.

    Raises:
        ResultsError: it is not there.
    """
    if not (best / MODEL).exists():
        raise ResultsError(
            f"'{one_line(sweep)}' has no model: '{one_line(str(best))}' is written when a sweep ends, and may not have "
            "been kept"
        )
    if isinstance(best, Path):
        yield best
        return
    with tempfile.TemporaryDirectory(prefix="tlsweep-") as copy:
        for name in children(best):
            (Path(copy) / name).write_bytes((best / name).read_bytes())
        yield Path(copy)


def _of_folder(folder: Path, own_code: bool) -> Model:
    module, info = load_exported(folder, own_code=own_code)
    transform, device = info.transform(), choose_device("auto")
    move_to_device(module, device)

    def logits(pixels: Pixels) -> Tensor:
        with torch.inference_mode():
            computed: Tensor = module(transform.normalise(pixels).to(device))
        return computed.float().cpu()

    return Model(info, logits)
