"""Acts as another user, for tests of what others may: root may read and write everywhere."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def nobody() -> Iterator[None]:
    """Be somebody else while the block runs, where this is root."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(before)


def open_to_all(folder: Path) -> None:
    """Let others reach a folder of pytest's, which keeps all of its folders to its user.

    It stays open: with several workers another test may need those above at this moment.
    """
    for path in (folder, *folder.parents):
        mode = path.stat().st_mode
        if mode & 0o5 != 0o5:
            path.chmod(mode | 0o55)
