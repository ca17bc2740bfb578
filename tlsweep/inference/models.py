"""A model that images are predicted with, from wherever it lies: a sweep, or the folder of an exported model."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from tlsweep.data.items import Pixels
from tlsweep.errors import ResultsError
from tlsweep.store import Location, to_location
from tlsweep.store.folder import find_sweep_folder
from tlsweep.store.locations import children
from tlsweep.text import one_line
from tlsweep.training.devices import choose_device, move_to_device
from tlsweep.training.exported import MODEL, ExportInfo, load_exported


@dataclass(frozen=True)
class Model:
    """A network, ready to predict, and what has to be known to use it."""

    info: ExportInfo
    logits: Callable[[Pixels], Tensor]
    """From pictures as they are stored (`Transform.square`) to logits (N, classes) on the CPU."""


def load_model(name: str, results: str = "results", *, own_code: bool = False) -> Model:
    """The model that a name stands for.

    Args:
        name: The folder of an exported model, or a sweep by its name or folder.
        results: What holds the sweeps.
        own_code: Whether code that the model names may be run.

    Raises:
        ResultsError: there is none, or it is damaged, or it needs code that is not to be run.
    """
    folder = Path(name).expanduser()
    if not (folder / MODEL).exists():
        return _of_sweep(name, results, own_code)
    return _of_folder(folder, own_code)


def _of_sweep(name: str, results: str, own_code: bool) -> Model:
    """The winner of a sweep.

    Raises:
        ResultsError: see `load_model`.
    """
    best = find_sweep_folder(to_location(results), name, begun=False, tables=True).best
    if not (best / MODEL).exists():
        raise ResultsError(
            f"'{one_line(name)}' has no model: '{one_line(str(best))}' is written when a sweep ends, and may not have "
            "been kept"
        )
    if isinstance(best, Path):
        return _of_folder(best, own_code)
    with tempfile.TemporaryDirectory(prefix="tlsweep-") as copy:
        _download(best, Path(copy))
        return _of_folder(Path(copy), own_code)


def _download(location: Location, folder: Path) -> None:
    for name in children(location):
        (folder / name).write_bytes((location / name).read_bytes())


def _of_folder(folder: Path, own_code: bool) -> Model:
    module, info = load_exported(folder, own_code=own_code)
    transform, device = info.transform(), choose_device("auto")
    move_to_device(module, device)

    def logits(pixels: Pixels) -> Tensor:
        with torch.inference_mode():
            computed: Tensor = module(transform.normalise(pixels).to(device))
        return computed.float().cpu()

    return Model(info, logits)
