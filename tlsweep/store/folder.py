"""The results folder of one sweep: the one place that knows what its files are called."""

import errno
import re
import shlex
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from tlsweep.errors import ResultsError
from tlsweep.spec.sweep import NAME
from tlsweep.store.boundary import real_file, refuse_links
from tlsweep.store.locations import Location, absolute, as_typed, children, remove_tree, to_location
from tlsweep.store.objects import FileFacts, ObjectPath, ObjectStoreError
from tlsweep.store.records import is_checkpoint
from tlsweep.text import listed, one_line

_BARE = {"checkpoints", ".lock"}
"""What a launch leaves that was killed before it wrote down what it was to do."""
_LISTED = 20
"""Sweeps that are named where none was found."""
_LONGEST = 200
"""Bytes of a sweep's name: file systems take 255, and a number or `-confirmed` may be added."""


@dataclass(frozen=True)
class SweepFolder:
    """Places of the files of a sweep, below `results/<name>/`."""

    path: Location

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def spec(self) -> Location:
        """The resolved, complete spec."""
        return self.path / "spec.yaml"

    @property
    def environment(self) -> Location:
        """Versions, hardware, fingerprints of data and weights."""
        return self.path / "environment.json"

    @property
    def journal(self) -> Location:
        """The log that everything else can be rebuilt from: a file; on object storage, where none grows, a folder."""
        return self.path / ("journal" if isinstance(self.path, ObjectPath) else "journal.jsonl")

    @property
    def lock(self) -> Location:
        """Held by the process that runs the sweep."""
        return self.path / ".lock"

    @property
    def best(self) -> Location:
        """The exported model of the winner."""
        return self.path / "best"

    @property
    def recipe(self) -> Location:
        """The schedule that led to the winner."""
        return self.path / "recipe.yaml"

    @property
    def heads(self) -> Location:
        """What the heads of trials began with, so that those of a later launch begin with the same."""
        return self.path / "heads.safetensors"

    @property
    def ray_log(self) -> Location:
        """What Ray said, kept out of the terminal."""
        return self.path / "ray.log"

    @property
    def checkpoints(self) -> Location:
        """The folder of all checkpoints, which has a folder for each trial."""
        return self.path / "checkpoints"

    def checkpoint(self, trial: str, generation: int, epoch: int, digest: str) -> str:
        """Make the path of a checkpoint, relative to the folder.

        With the digest in its name, a worker that outlives its driver for a moment can overwrite nothing that another
        one wrote after it.
        """
        return f"checkpoints/{trial}/g{generation}-e{epoch:04d}-{digest[:8]}.pt"

    def read_checkpoint(self, path: str) -> bytes:
        """The content of a checkpoint; `path` is relative to the folder, as a record has it.

        Raises:
            OSError: it cannot be read, or lies outside the folder.
        """
        if not is_checkpoint(path) or not real_file(self.path, path):
            raise OSError(errno.ELOOP, "it leads out of the sweep's folder", path)
        return (self.path / path).read_bytes()

    def journal_facts(self) -> FileFacts | None:
        """Size of the journal and when it was last written; None where there is none."""
        if isinstance(self.journal, Path):
            if not self.journal.exists():
                return None
            facts = self.journal.stat()
            return FileFacts(facts.st_size, facts.st_mtime)
        parts = self.journal.files().values()
        if parts:
            return FileFacts(sum(part.size for part in parts), max(part.changed for part in parts))
        return None

    @property
    def unused(self) -> bool:
        """Whether nothing has happened in it yet: no launch came as far as its first record."""
        facts = self.journal_facts()
        return facts is None or not facts.size

    def discard_if_unused(self) -> None:
        """Remove a folder in which nothing has happened yet; a store that is away keeps what it has.

        On disk only what a launch writes until then: a folder that was there before may hold files of somebody's.
        """
        with suppress(ResultsError, OSError):
            _answers(self.path)
            if not self.unused:
                return
            if isinstance(self.path, ObjectPath):
                remove_tree(self.path)
                return
            for name in ("spec.yaml", "environment.json", "heads.safetensors", "journal.jsonl", "ray.log", ".lock"):
                (self.path / name).unlink(missing_ok=True)
            for folder in (self.path / "checkpoints", self.path):
                if folder.exists():
                    folder.rmdir()


def command(verb: str, path: Location, trial: str = "") -> str:
    """What to type to do something with the sweep in `path`, or with one of its trials."""
    name = shlex.quote(path.name) + (f" {shlex.quote(trial)}" if trial else "")
    if isinstance(path, ObjectPath):
        return f"tlsweep {verb} {name} --results {shlex.quote(str(path.parent))}"
    results = str(as_typed(path.resolve().parent))
    elsewhere = "" if results == "results" else f" --results {shlex.quote(results)}"
    return f"tlsweep {verb} {name}{elsewhere}"


def name_like(folder: str) -> str:
    """A name that a sweep can have, from that of a folder, which may have been renamed: 'a (copy)' gives 'a-copy'."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", folder).strip("-._")[: _LONGEST // 2] or "sweep"


def create_sweep_folder(results: Location, name: str, *, exact: bool) -> SweepFolder:
    """Make the folder of a new sweep. Unless `exact`, a taken name gets the next free number: digits, digits-2, …

    Raises:
        ResultsError: the name is none or is taken (exact), or the folder cannot be written.
    """
    check_new_sweep(results, name, exact=exact)
    path = results / name
    try:
        if isinstance(results, ObjectPath):
            _probe(results)
            _refuse_inside_sweep(results)
            _refuse_taken(path, exact=exact)
            return SweepFolder(path if exact else results / _next_free(results, name))
        results.mkdir(parents=True, exist_ok=True)
        path = _make(results, name, exact=exact)
        (path / "checkpoints").mkdir(exist_ok=exact)
    except ObjectStoreError as error:
        raise ResultsError(f"cannot keep results at '{results}': {error.strerror}") from None
    except OSError as error:
        raise ResultsError(
            f"cannot write results to '{path}': {error.strerror}; choose a folder you may write to with --results"
        ) from None
    return SweepFolder(absolute(path))


def check_new_sweep(results: Location, name: str, *, exact: bool) -> None:
    """Refuse what cannot become a new sweep before anything costs time; nothing is left, and no store is asked.

    Raises:
        ResultsError: the name is none or is taken (exact), or the folder cannot be written, or is itself a sweep's.
    """
    if not re.fullmatch(NAME, name) or len(name) > _LONGEST:
        raise ResultsError(
            f"'{one_line(name[:_LONGEST])}' is no name for a sweep; use letters, digits, '.', '_' and '-', a letter or "
            f"digit first, at most {_LONGEST}"
        )
    if isinstance(results, ObjectPath):
        return
    try:
        _refuse_taken(results / name, exact=exact)
        _refuse_inside_sweep(results)
        _probe(next(folder for folder in (results, *results.absolute().parents) if folder.exists()))
    except OSError as error:
        raise ResultsError(
            f"cannot write results to '{results / name}': {error.strerror}; choose a folder you may write to with "
            "--results"
        ) from None


def _refuse_taken(path: Location, *, exact: bool) -> None:
    if exact and _is_taken(path):
        raise ResultsError(
            f"'{path}' holds another sweep already; give this one another --name, go on with that one with "
            f"'{command('resume', path)}', or look at it with '{command('report', path)}'"
        )


def _refuse_inside_sweep(results: Location) -> None:
    """A sweep in another one's folder would be removed with it, and not be found by its name."""
    whole = absolute(results)
    for folder in (whole, *whole.parents) if isinstance(whole, Path) else (whole,):
        if _is_sweep(folder):
            raise ResultsError(
                f"'{one_line(str(results))}' belongs to the sweep '{one_line(folder.name)}'; name the folder that "
                f"holds sweeps with --results {_typed(folder.parent)}, or go on with that sweep with "
                f"'{command('resume', folder)}'"
            )


def _is_sweep(folder: Location) -> bool:
    """Whether a sweep has begun in a folder; one with a journal of somebody else's has no spec beside it."""
    with suppress(PermissionError):
        return (folder / "spec.yaml").exists() and SweepFolder(folder).journal_facts() is not None
    return False


def _typed(location: Location) -> str:
    """A folder as an argument of a command."""
    return one_line(shlex.quote(str(as_typed(location) if isinstance(location, Path) else location)))


def _probe(folder: Location) -> None:
    """Write something and remove it; a store that is away is not waited for."""
    location = folder / f".probe-{uuid4().hex[:8]}"  # others may begin a sweep there at this moment
    if isinstance(location, ObjectPath):
        location.write_bytes(b"x", patience=0)
        location.unlink(missing_ok=True)
        return
    try:
        location.write_bytes(b"x")
    finally:
        with suppress(OSError):  # the first reason counts
            location.unlink(missing_ok=True)


def _is_taken(path: Location) -> bool:
    if isinstance(path, Path) and path.exists() and not path.is_dir():
        return True
    return bool(set(children(path)) - _BARE)


def _make(results: Path, name: str, *, exact: bool) -> Path:
    while True:
        path = results / (name if exact else _next_free(results, name))
        try:
            # mkdir(2) makes it or fails, so that of two launches at one moment only one gets the name.
            path.mkdir(exist_ok=exact)
        except FileExistsError:  # another launch was faster
            if exact:
                raise
        else:
            return path


def _next_free(results: Location, name: str) -> str:
    taken, number = set(children(results)), 1
    while (candidate := name if number == 1 else f"{name}-{number}") in taken:
        number += 1
    return candidate


def find_sweep_folder(
    results: Location, name: str | None = None, *, begun: bool = True, tables: bool = False
) -> SweepFolder:
    """The folder of a sweep: by name below `results`, by path, or the newest.

    Args:
        results: What holds sweeps.
        name: Name, path or address; None for the newest.
        begun: Whether trials must have begun; a launch that was killed before has left a spec.
        tables: Whether the tables of a named sweep are enough, as for a page: its journal may not have been kept.

    Raises:
        ResultsError: there is none, it cannot be read, a link leads out of it, or object storage does not answer.
    """
    try:
        given = to_location(name) if name is not None and "://" in name else None
        _answers(given or results)
        if name is not None:
            for path in (given,) if given else (results / name, to_location(name)):
                folder = SweepFolder(path)
                readable = tables and _lost_journal(folder)
                if not readable:
                    refuse_without_journal(folder)
                if readable or folder.journal_facts() or (not begun and folder.spec.exists()):
                    found = absolute(path)
                    refuse_links(found)
                    return SweepFolder(found)
        sweeps = _dated(results)
        lost = passed_over(results)
        sweeps = {sweep: when for sweep, when in sweeps.items() if sweep.path not in lost}
        if name is None and lost and not sweeps:
            raise ResultsError(
                f"no sweep in '{one_line(str(results))}' has a journal, which tells the newest; name one: "
                f"{listed([path.name for path in lost], _LISTED)}"
            )
        if name is not None or not sweeps:
            raise _no_sweep(results, name, [*(sweep.name for sweep in sweeps), *(path.name for path in lost)])
    except OSError as error:
        raise ResultsError(f"cannot read '{one_line(str(results))}': {error.strerror}") from None
    newest = max(sweeps, key=lambda sweep: sweeps[sweep])
    refuse_links(newest.path)
    return newest


def _no_sweep(results: Location, name: str | None, known: list[str]) -> ResultsError:
    where = one_line(str(results))
    if isinstance(results, Path) and results.exists() and not results.is_dir():
        return ResultsError(f"'{where}' is a file; name the folder that holds sweeps with --results")
    if _is_sweep(results):
        itself = absolute(results)
        return ResultsError(
            f"'{where}' is itself a sweep; give its name, and the folder that holds it: "
            f"{one_line(shlex.quote(itself.name))} --results {_typed(itself.parent)}"
        )
    what = f"no sweep '{one_line(name)}'" if name is not None else "no sweep yet"
    way_out = f"there are: {listed(known, _LISTED)}" if known else "start one with tlsweep launch"
    return ResultsError(f"there is {what} in '{where}'; {way_out}; --results names another folder of sweeps")


def unnamed(results: Location, verb: str) -> ResultsError:
    """What to say where a sweep must be named and is not: which there are."""
    known = [folder.name for folder in list_sweep_folders(results)]
    if not known:
        return _no_sweep(results, None, [])
    return ResultsError(f"which sweep? write tlsweep {verb} NAME; in '{one_line(str(results))}' there are: "
                        f"{listed(known, _LISTED)}; --results names another folder of sweeps")  # fmt: skip


def passed_over(results: Location) -> list[Location]:
    """Sweeps below `results` without their journals: the newest is looked for among the others."""
    folders = [SweepFolder(results / name) for name in sorted(children(results))]
    with suppress(OSError):
        return [folder.path for folder in folders if _lost_journal(folder)]
    return []


def _lost_journal(folder: SweepFolder) -> bool:
    """Tables are written behind a journal's first line."""
    with suppress(PermissionError):  # another user's
        return folder.unused and (folder.path / "trials.parquet").exists()
    return False


def refuse_without_journal(folder: SweepFolder) -> None:
    """Refuse a folder that lost its journal: a resume would begin at the start, and write over the tables.

    Raises:
        ResultsError: it has tables and no journal.
    """
    if _lost_journal(folder):
        raise ResultsError(
            f"'{one_line(str(folder.journal))}' is missing or empty, and all else is made from it; put a copy of it "
            "there. What the tables hold is read without it: tlsweep report, best, trial"
        )


def _answers(location: Location) -> None:
    """A store that is away is not waited for; a bucket that is not there would look like an empty one."""
    if isinstance(location, ObjectPath) and not location.bucket.exists(patience=0):
        raise ResultsError(f"there is no bucket '{location.bucket}'; create it, or name another one")


def list_sweep_folders(results: Location) -> list[SweepFolder]:
    """All sweeps below `results`, in the order of their names, numbers counted as numbers."""
    return list(_dated(results))


def _facts(folder: SweepFolder) -> FileFacts | None:
    """Size and time of its journal; None where there is none, or the folder is another user's."""
    with suppress(PermissionError):
        return folder.journal_facts()
    return None


def _dated(results: Location) -> dict[SweepFolder, float]:
    """Tell when the journal of each sweep was last written, ordered by name."""
    folders = [SweepFolder(results / name) for name in children(results)]
    found = {folder: facts.changed for folder in folders if (facts := _facts(folder))}

    def numbered(folder: SweepFolder) -> list[int | str]:
        # A split by a group alternates text and digits, so that text is never compared with a number.
        return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", folder.name)]

    return {name: found[name] for name in sorted(found, key=numbered)}
