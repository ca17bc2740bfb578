"""What a tracker is told, and the interface that each of them has: the seam between a sweep and the libraries."""

import errno
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

from tlsweep.spec.search.space import Value
from tlsweep.store import Status
from tlsweep.store.boundary import real_file
from tlsweep.text import shortened


@dataclass(frozen=True)
class TrackedSweep:
    """The sweep that runs are nested under."""

    id: str
    """The same in each launch, also where the folder was renamed; 12 hexadecimal digits."""
    name: str
    spec: str
    """As YAML."""
    folder: Path | None
    """Where a tracker may write; None on object storage."""
    began: float
    """When it was launched first, in seconds since 1970."""


@dataclass(frozen=True)
class TrackedTrial:
    """What is known of a trial when its run begins."""

    name: str
    arm: str
    number: int
    hyperparameters: Mapping[str, Value]
    """All of them, as it started."""
    searched: tuple[str, ...]
    """The names of those that the sweep searches."""
    began: float
    """When it was sampled, in seconds since 1970."""
    reports: int
    """How many the journal has by now."""
    ended: bool
    """Whether no more will come in this launch."""


class Row(NamedTuple):
    """What a trial reported of an epoch."""

    epoch: int
    time: float
    """Seconds since 1970."""
    figures: Mapping[str, float]


@dataclass(frozen=True)
class Update:
    """What is new of a trial."""

    first: int
    """How many reports came before these."""
    rows: Sequence[Row]
    status: Status
    reason: str | None
    best: Row | None
    """The best epoch so far, with the metrics alone."""
    test: Row | None
    """What it reached on the test split, as the winner of its arm."""


@dataclass(frozen=True)
class Outcome:
    """How a launch ended."""

    status: Status
    """`FINISHED`; `INTERRUPTED` where it can be resumed; `FAILED`."""
    test: Mapping[str, Row] = field(default_factory=dict)
    """What the winner of each arm reached on the test split."""


class Tracker(Protocol):
    """One run for each trial, nested under the sweep. What it raises ends the tracking, and never the sweep."""

    def begin(self, trial: TrackedTrial) -> int:
        """Make the run of a trial, or find that of an earlier launch; how many of its reports are there already."""

    def update(self, trial: TrackedTrial, update: Update) -> None:
        """Add to the run of a trial that has begun, in the order of the reports."""

    def close(self, outcome: Outcome) -> None:
        """Write what is held back, and the end of the sweep."""


def own_file(sweep: TrackedSweep, path: str) -> Path:
    """A file or folder of a tracker below the sweep's folder, which is there, and in which no link leads elsewhere.

    Raises:
        OSError: there is a link, as in a folder that is somebody else's, or the folder has gone.
    """
    assert sweep.folder is not None  # `check_trackers` has refused it
    if not sweep.folder.is_dir():
        raise OSError(errno.ENOENT, "the sweep's folder is not there any more", str(sweep.folder))
    if not real_file(sweep.folder, path):
        raise OSError(errno.ELOOP, "a link leads out of the sweep's folder", path)
    return sweep.folder / path


def said_by(error: BaseException) -> str:
    """What an exception of a library says, as a part of a line."""
    return shortened(" ".join(str(error).split()) or type(error).__name__, 200)
