"""Files that appear whole or not at all."""

import contextlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

from tlsweep.errors import ResultsError


def write_whole(path: Path, content: bytes) -> None:
    """Write a file under a temporary name in its folder, then rename it; an old one is replaced in one moment."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            # Else a crash of the machine may leave the new name with nothing behind it.
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def kept_in(cache: Path, what: str) -> Iterator[None]:
    """Says what a full or read-only disk means for `what` is kept in the folder `cache`.

    Raises:
        ResultsError: instead of an OSError.
    """
    try:
        yield
    except OSError as error:
        raise ResultsError(
            f"{what} cannot be kept in '{cache}' ({error}); make room there, or name another folder in the environment "
            "variable TLSWEEP_CACHE"
        ) from error
