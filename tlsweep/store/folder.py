"""The results folder of one sweep: the one place that knows what its files are called."""

import os
import re
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path

from tlsweep.errors import ResultsError
from tlsweep.spec.sweep import NAME

_BARE = {"checkpoints", ".lock"}
"""What a launch leaves that was killed before it wrote down what it was to do."""


@dataclass(frozen=True)
class SweepFolder:
    """Paths of the files of a sweep, below `results/<name>/`."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def spec(self) -> Path:
        """The resolved, complete spec."""
        return self.path / "spec.yaml"

    @property
    def environment(self) -> Path:
        """Versions, hardware, fingerprints of data and weights."""
        return self.path / "environment.json"

    @property
    def journal(self) -> Path:
        """The log that everything else can be rebuilt from."""
        return self.path / "journal.jsonl"

    @property
    def lock(self) -> Path:
        """Held by the process that runs the sweep."""
        return self.path / ".lock"

    @property
    def best(self) -> Path:
        """The exported model of the winner."""
        return self.path / "best"

    @property
    def recipe(self) -> Path:
        """The schedule that led to the winner."""
        return self.path / "recipe.yaml"

    @property
    def ray_log(self) -> Path:
        """What Ray said, kept out of the terminal."""
        return self.path / "ray.log"

    @property
    def checkpoints(self) -> Path:
        """Where checkpoints lie, in a folder for each trial."""
        return self.path / "checkpoints"

    def checkpoint(self, trial: str, generation: int, epoch: int, digest: str) -> str:
        """Where a checkpoint lies, relative to the folder.

        With the digest in its name, a worker that outlives its driver for a moment can overwrite nothing that another
        one wrote after it.
        """
        return f"checkpoints/{trial}/g{generation}-e{epoch:04d}-{digest[:8]}.pt"

    @property
    def unused(self) -> bool:
        """Whether nothing has happened in it yet: no launch came as far as its first record."""
        return not self.journal.exists() or not self.journal.stat().st_size

    def discard_if_unused(self) -> None:
        """Remove a folder in which nothing has happened yet."""
        if self.unused:
            shutil.rmtree(self.path, ignore_errors=True)


def command(verb: str, path: Path) -> str:
    """What to type to do something with the sweep in `path`."""
    folder, here = path.resolve().parent, Path.cwd()
    shown = folder.relative_to(here) if folder.is_relative_to(here) else folder
    elsewhere = "" if folder == here / "results" else f" --results {shlex.quote(str(shown))}"
    return f"tlsweep {verb} {path.name}{elsewhere}"


def create_sweep_folder(results: Path, name: str, *, exact: bool) -> SweepFolder:
    """Make the folder of a new sweep. Unless `exact`, a taken name gets the next free number: digits, digits-2, …

    Raises:
        ResultsError: the name is none or is taken (exact), or the folder cannot be written.
    """
    if not re.fullmatch(NAME, name):
        raise ResultsError(
            f"'{name}' is no name for a sweep; use letters, digits, '.', '_' and '-', a letter or digit first"
        )
    path = results / name
    try:
        if exact and path.exists() and (not path.is_dir() or {one.name for one in path.iterdir()} - _BARE):
            raise ResultsError(
                f"'{path}' holds another sweep already; give this one another --name, go on with that one with "
                f"'tlsweep launch --resume {name}', or look at it with 'tlsweep report {name}'"
            )
        results.mkdir(parents=True, exist_ok=True)
        if exact:
            path.mkdir(exist_ok=True)
        else:
            path = _next_free(results, name)
        (path / "checkpoints").mkdir(exist_ok=exact)
        probe = path / ".probe"
        probe.write_bytes(b"x")
        probe.unlink()
    except OSError as error:
        raise ResultsError(
            f"cannot write results to '{path}': {error.strerror}; choose a folder you may write to with --results"
        ) from None
    return SweepFolder(path.resolve())


def _next_free(results: Path, name: str) -> Path:
    taken = {entry.name for entry in os.scandir(results)}
    number = 1
    while True:
        candidate = name if number == 1 else f"{name}-{number}"
        if candidate not in taken:
            try:
                (results / candidate).mkdir()
                return results / candidate
            except FileExistsError:  # another launch was faster
                pass
        number += 1


def find_sweep_folder(results: Path, name: str | None = None, *, begun: bool = True) -> SweepFolder:
    """The folder of a sweep: by name below `results`, by path, or the newest.

    Args:
        results: The folder that holds sweeps.
        name: Name or path; None for the newest.
        begun: Whether trials must have begun; a launch that was killed before has left a spec.

    Raises:
        ResultsError: there is none.
    """
    if name is not None:
        for path in (results / name, Path(name)):
            folder = SweepFolder(path)
            if folder.journal.exists() or (not begun and folder.spec.exists()):
                return SweepFolder(path.resolve())
    sweeps = list_sweep_folders(results)
    if name is not None or not sweeps:
        known = f"; there are: {', '.join(one.name for one in sweeps)}" if sweeps else ""
        what = f"no sweep '{name}'" if name is not None else "no sweep yet"
        raise ResultsError(f"there is {what} in '{results}'{known or '; start one with tlsweep launch'}")
    return max(sweeps, key=lambda one: one.journal.stat().st_mtime)


def list_sweep_folders(results: Path) -> list[SweepFolder]:
    """All sweeps below `results`, in the order of their names, numbers counted as numbers."""
    if not results.is_dir():
        return []
    found = [SweepFolder(path) for path in results.iterdir() if SweepFolder(path).journal.exists()]
    return sorted(found, key=lambda one: [int(p) if p.isdigit() else p for p in re.split(r"(\d+)", one.name)])
