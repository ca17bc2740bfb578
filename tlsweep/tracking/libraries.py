"""Which library each tracker needs, and where it writes: found out before a sweep starts."""

import os
from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from typing import Final, NamedTuple

from tlsweep.errors import SpecError
from tlsweep.store import Location
from tlsweep.tracking.tracker import TrackedSweep, Tracker, said_by


class Library(NamedTuple):
    """A tracker's library."""

    module: str
    """What it is imported as; the extra of tlsweep that installs it has the tracker's name."""
    elsewhere: str | None
    """The environment variable that names another place than the sweep's folder; None where there is none."""
    tracker: str
    """The class here that writes to it, and its module."""


LIBRARIES: Final = {
    "tensorboard": Library("tensorboardX", None, "tensorboard_files:TensorboardTracker"),
    "mlflow": Library("mlflow", "MLFLOW_TRACKING_URI", "mlflow_runs:MlflowTracker"),
    "wandb": Library("wandb", "WANDB_DIR", "wandb_runs:WandbTracker"),
}


def check_trackers(names: Iterable[str], folder: Location) -> None:
    """Import the libraries of trackers, and see that they have a place to write to.

    Args:
        names: `track` of a spec.
        folder: The sweep's, or the one that it will be made in.

    Raises:
        SpecError: one cannot be imported, or could only write to object storage, which none of them can.
    """
    for name in names:
        library = LIBRARIES[name]
        try:
            make_tracker(name)
        except Exception as error:  # whatever its own parts raise, among them versions that do not fit together
            raise SpecError(
                f"track: {name} needs {library.module}, which cannot be imported ({said_by(error)}); install it: "
                f"pip install 'tlsweep[{name}]'"
            ) from None
        if not isinstance(folder, Path) and not _is_elsewhere(library):
            raise SpecError(
                f"track: {name} writes files, and '{folder}' is no folder; {_way_out(library)}, or take it out"
            )
        _where(name, str(folder))


def tracked_where(names: Iterable[str], folder: str) -> list[str]:
    """Say for each tracker where its runs will be; `folder` is what the sweep's is called."""
    return [f"{name}: a run for each trial, {_where(name, folder)}" for name in names]


def make_tracker(name: str) -> Callable[[TrackedSweep], Tracker]:
    """The class of a tracker; its module, which imports the library, is imported here."""
    module, _, tracker = LIBRARIES[name].tracker.partition(":")
    made: Callable[[TrackedSweep], Tracker] = getattr(import_module(f"tlsweep.tracking.{module}"), tracker)
    return made


def _is_elsewhere(library: Library) -> bool:
    return library.elsewhere is not None and bool(os.environ.get(library.elsewhere))


def _way_out(library: Library) -> str:
    if library.elsewhere is None:
        return "put the results into a folder"
    return f"set {library.elsewhere}"


def _where(name: str, folder: str) -> str:
    library = LIBRARIES[name]
    place = os.environ.get(library.elsewhere or "") or f"{folder}/{name}"
    if name == "wandb":
        from tlsweep.tracking.wandb_runs import mode

        return f"{mode()}, files in {place}"
    return f"in {place}"
