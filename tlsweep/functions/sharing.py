"""What all trials on a machine have in common: made by the first that asks, mapped into memory by all."""

import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import torch

from tlsweep.errors import FunctionError
from tlsweep.files import write_whole
from tlsweep.functions.states import copied
from tlsweep.text import shortened

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_IN_USE: Final = ".in-use"
_held: dict[Path, int] = {}
"""Folders that this process uses, each with the file that says so."""


def shared_folder(token: str) -> Path:
    """The folder of this user, on this machine, for what trials of one launch share."""
    return Path(tempfile.gettempdir()) / f"tlsweep-shared-{os.getuid()}" / token


def shared(folder: Path, name: str, make: Callable[[], Any]) -> Any:
    """What `make` gave to the first that asked for `name`, its tensors mapped from a file: no copy until written to.

    A tensor that is written to is this caller's own from then on (a private mapping).

    Raises:
        FunctionError: `name` is none, or what was made does not read back with `torch.load(weights_only=True)`.
    """
    if not isinstance(name, str) or _NAME.fullmatch(name) is None:
        raise FunctionError(f"trial.share({shortened(repr(name))}, …): a name has letters, digits and . _ - only")
    _use(folder)
    path = folder / f"{name}.pt"
    with _alone(folder / f"{name}.lock"):
        if not path.exists():
            # Not in memory: it may be as large as the data.
            with tempfile.TemporaryFile(dir=folder) as file:
                torch.save(copied(make()), file)
                file.seek(0)
                write_whole(path, iter(lambda: file.read(1 << 24), b""))
    return torch.load(path, map_location="cpu", mmap=True, weights_only=True)


def _use(folder: Path) -> None:
    """Make the folder this process's as well, and remove those that no process uses any more."""
    if folder in _held and folder.exists():
        return
    folder.parent.mkdir(mode=0o700, exist_ok=True)
    if folder.parent.stat().st_uid != os.getuid():  # anybody may make a folder of this name
        raise FunctionError(f"trial.share: '{folder.parent}' belongs to somebody else; remove it, or set TMPDIR")
    folder.mkdir(mode=0o700, exist_ok=True)
    _held[folder] = os.open(folder / _IN_USE, os.O_RDWR | os.O_CREAT, 0o600)
    # Kept until the process ends, in whatever way: the kernel gives it back.
    fcntl.flock(_held[folder], fcntl.LOCK_SH)
    for other in folder.parent.iterdir():
        if other not in _held:
            _remove_unused(other)


def _remove_unused(folder: Path) -> None:
    try:
        handle = os.open(folder / _IN_USE, os.O_RDWR)
    except OSError:
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    except BlockingIOError:
        pass
    finally:
        os.close(handle)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
