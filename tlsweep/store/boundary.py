"""A sweep's folder ends at its links: what lies behind one belongs to somebody else.

The folder itself, and what holds it, may be links: the user made those. Below it nothing is read, written or removed
through one, as the folder may come from somebody else.
"""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from tlsweep.errors import ResultsError
from tlsweep.store.locations import Location
from tlsweep.text import one_line

_FILES = {"spec.yaml", "environment.json", "journal.jsonl", ".lock", "ray.log", "recipe.yaml", "report.html"}
_FOLDERS = {"best", "checkpoints", "tensorboard", "mlflow", "wandb"}


def refuse_links(folder: Location) -> None:
    """Refuse to read a sweep's folder in which a link, a pipe or a device stands where a file of the sweep's should.

    Raises:
        ResultsError: names the first one, and the way out.
    """
    if isinstance(folder, Path):  # object storage has no links
        _refuse_below(folder, of_ours=True)
        _refuse_below(folder / "best")


def refuse_to_write(folder: Location) -> None:
    """Refuse links as `refuse_links` does, among the checkpoints too; and where a folder stands for a file, or a file
    for a folder.

    Raises:
        ResultsError: names the first one, and the way out.
    """
    if not isinstance(folder, Path):
        return
    refuse_links(folder)
    for entry in _refuse_below(folder / "checkpoints"):
        if entry.is_dir(follow_symlinks=False):
            _refuse_below(Path(entry.path))
    for entry in (*_entries(folder), *_entries(folder / "best")):
        wanted = "folder" if entry.name in _FOLDERS else "file"
        if _is_ours(entry) and entry.is_dir(follow_symlinks=False) != (wanted == "folder"):
            raise ResultsError(
                f"'{one_line(entry.path)}' stands where a {wanted} of the sweep's belongs; move it out of that folder"
            )


def real_file(folder: Location, path: str) -> bool:
    """Whether no link stands on the way from a sweep's folder to a file in it, that file included."""
    if not isinstance(folder, Path):
        return True
    steps = [folder / part for part in (Path(path), *Path(path).parents[:-1])]
    return not any(step.is_symlink() for step in steps)


def _is_ours(entry: os.DirEntry[str]) -> bool:
    return entry.name in _FOLDERS | _FILES or entry.name.endswith((".parquet", ".json", ".safetensors"))


def _refuse_below(folder: Path, *, of_ours: bool = False) -> list[os.DirEntry[str]]:
    entries = list(_entries(folder))
    for entry in entries:
        if _is_ours(entry) or not of_ours:
            _refuse(entry)
    return entries


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            yield from found
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise ResultsError(f"cannot read '{one_line(str(folder))}': {error.strerror}") from None


def _refuse(entry: os.DirEntry[str]) -> None:
    if entry.is_file(follow_symlinks=False) or entry.is_dir(follow_symlinks=False):
        return
    try:
        mode = entry.stat(follow_symlinks=False).st_mode
    except FileNotFoundError:  # removed meanwhile
        return
    what = "a link" if stat.S_ISLNK(mode) else "no plain file"
    raise ResultsError(
        f"'{one_line(entry.path)}' is {what}; in a sweep's folder tlsweep follows none, as it may be another's: "
        "remove it, or put a copy of what it stands for in its place"
    )
