"""The results folder of one sweep: the one place that knows what its files are called."""

import re
import shlex
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from tlsweep.errors import ResultsError
from tlsweep.spec.sweep import NAME
from tlsweep.store.objects import FileFacts, ObjectPath, ObjectStoreError
from tlsweep.store.places import Place, absolute, children, remove_tree, to_place

_BARE = {"checkpoints", ".lock"}
"""What a launch leaves that was killed before it wrote down what it was to do."""


@dataclass(frozen=True)
class SweepFolder:
    """Places of the files of a sweep, below `results/<name>/`."""

    path: Place

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def spec(self) -> Place:
        """The resolved, complete spec."""
        return self.path / "spec.yaml"

    @property
    def environment(self) -> Place:
        """Versions, hardware, fingerprints of data and weights."""
        return self.path / "environment.json"

    @property
    def journal(self) -> Place:
        """The log that everything else can be rebuilt from: a file; on object storage, where none grows, a folder."""
        return self.path / ("journal" if isinstance(self.path, ObjectPath) else "journal.jsonl")

    @property
    def lock(self) -> Place:
        """Held by the process that runs the sweep."""
        return self.path / ".lock"

    @property
    def best(self) -> Place:
        """The exported model of the winner."""
        return self.path / "best"

    @property
    def recipe(self) -> Place:
        """The schedule that led to the winner."""
        return self.path / "recipe.yaml"

    @property
    def ray_log(self) -> Place:
        """What Ray said, kept out of the terminal."""
        return self.path / "ray.log"

    @property
    def checkpoints(self) -> Place:
        """Where checkpoints lie, in a folder for each trial."""
        return self.path / "checkpoints"

    def checkpoint(self, trial: str, generation: int, epoch: int, digest: str) -> str:
        """Where a checkpoint lies, relative to the folder.

        With the digest in its name, a worker that outlives its driver for a moment can overwrite nothing that another
        one wrote after it.
        """
        return f"checkpoints/{trial}/g{generation}-e{epoch:04d}-{digest[:8]}.pt"

    def journal_facts(self) -> FileFacts | None:
        """Size of the journal and when it was last written; None where there is none."""
        if isinstance(self.journal, Path):
            if not self.journal.exists():
                return None
            facts = self.journal.stat()
            return FileFacts(facts.st_size, facts.st_mtime)
        parts = self.journal.files().values()
        return FileFacts(sum(one.size for one in parts), max(one.changed for one in parts)) if parts else None

    @property
    def unused(self) -> bool:
        """Whether nothing has happened in it yet: no launch came as far as its first record."""
        facts = self.journal_facts()
        return facts is None or not facts.size

    def discard_if_unused(self) -> None:
        """Remove a folder in which nothing has happened yet; a store that is away keeps what it has."""
        with suppress(ResultsError):
            _answers(self.path)
            if self.unused:
                remove_tree(self.path)


def command(verb: str, path: Place) -> str:
    """What to type to do something with the sweep in `path`."""
    if isinstance(path, ObjectPath):
        return f"tlsweep {verb} {path.name} --results {shlex.quote(str(path.parent))}"
    folder, here = path.resolve().parent, Path.cwd()
    shown = folder.relative_to(here) if folder.is_relative_to(here) else folder
    elsewhere = "" if folder == here / "results" else f" --results {shlex.quote(str(shown))}"
    return f"tlsweep {verb} {path.name}{elsewhere}"


def create_sweep_folder(results: Place, name: str, *, exact: bool) -> SweepFolder:
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
        if isinstance(results, ObjectPath):
            _probe(results / f".probe-{uuid4().hex[:8]}")  # others may begin a sweep there at this moment
        if exact and _is_taken(path):
            raise ResultsError(
                f"'{path}' holds another sweep already; give this one another --name, go on with that one with "
                f"'{command('launch --resume', path)}', or look at it with '{command('report', path)}'"
            )
        if isinstance(results, ObjectPath):
            return SweepFolder(path if exact else results / _next_free(results, name))
        results.mkdir(parents=True, exist_ok=True)
        path = _make(results, name, exact=exact)
        (path / "checkpoints").mkdir(exist_ok=exact)
        _probe(path / ".probe")
    except ObjectStoreError as error:
        raise ResultsError(f"cannot keep results at '{results}': {error.strerror}") from None
    except OSError as error:
        raise ResultsError(
            f"cannot write results to '{path}': {error.strerror}; choose a folder you may write to with --results"
        ) from None
    return SweepFolder(absolute(path))


def _probe(place: Place) -> None:
    """Write something and remove it; a store that is away is not waited for."""
    if isinstance(place, ObjectPath):
        place.write_bytes(b"x", patience=0)
    else:
        place.write_bytes(b"x")
    place.unlink(missing_ok=True)


def _is_taken(path: Place) -> bool:
    if isinstance(path, Path) and path.exists() and not path.is_dir():
        return True
    return bool(set(children(path)) - _BARE)


def _make(results: Path, name: str, *, exact: bool) -> Path:
    while True:
        path = results / (name if exact else _next_free(results, name))
        try:
            path.mkdir(exist_ok=exact)
        except FileExistsError:  # another launch was faster
            if exact:
                raise
        else:
            return path


def _next_free(results: Place, name: str) -> str:
    taken, number = set(children(results)), 1
    while (candidate := name if number == 1 else f"{name}-{number}") in taken:
        number += 1
    return candidate


def find_sweep_folder(results: Place, name: str | None = None, *, begun: bool = True) -> SweepFolder:
    """The folder of a sweep: by name below `results`, by path, or the newest.

    Args:
        results: What holds sweeps.
        name: Name, path or address; None for the newest.
        begun: Whether trials must have begun; a launch that was killed before has left a spec.

    Raises:
        ResultsError: there is none, or object storage does not answer.
    """
    try:
        given = to_place(name) if name is not None and "://" in name else None
        _answers(given or results)
        if name is not None:
            for path in (given,) if given else (results / name, Path(name)):
                folder = SweepFolder(path)
                if folder.journal_facts() or (not begun and folder.spec.exists()):
                    return SweepFolder(absolute(path))
        sweeps = _dated(results)
        if name is not None or not sweeps:
            known = f"; there are: {', '.join(one.name for one in sweeps)}" if sweeps else ""
            what = f"no sweep '{name}'" if name is not None else "no sweep yet"
            raise ResultsError(f"there is {what} in '{results}'{known or '; start one with tlsweep launch'}")
    except ObjectStoreError as error:
        raise ResultsError(f"cannot read '{results}': {error.strerror}") from None
    return max(sweeps, key=lambda one: sweeps[one])


def _answers(place: Place) -> None:
    """A store that is away is not waited for; a bucket that is not there would look like an empty one."""
    if isinstance(place, ObjectPath) and not place.bucket.exists(patience=0):
        raise ResultsError(f"there is no bucket '{place.bucket}'; create it, or name another one")


def list_sweep_folders(results: Place) -> list[SweepFolder]:
    """All sweeps below `results`, in the order of their names, numbers counted as numbers."""
    return list(_dated(results))


def _dated(results: Place) -> dict[SweepFolder, float]:
    """For each sweep, ordered by name, when its journal was last written."""
    folders = [SweepFolder(results / name) for name in children(results)]
    found = {one: facts.changed for one in folders if (facts := one.journal_facts())}

    def numbered(one: SweepFolder) -> list[int | str]:
        return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", one.name)]

    return {one: found[one] for one in sorted(found, key=numbered)}
