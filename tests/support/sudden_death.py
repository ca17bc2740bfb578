"""Processes that die while they write the journal."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import pytest

Death = Literal["before", "torn", "after"]
"""Nothing of the transaction was written; a part of it; all of it, but nothing came of it."""


class Killed(BaseException):
    """What a process sees of SIGKILL, were it to see anything."""


@contextmanager
def killed_at(transaction: int, how: Death) -> Iterator[None]:
    """Kill the process that writes that transaction of the journal (from 0, in this launch)."""
    written, write = 0, os.write

    def mortal_write(file: int, data: bytes) -> int:
        if written == transaction and how != "after":
            if how == "torn":
                write(file, data[: len(data) // 2])
            raise Killed
        return write(file, data)

    def mortal_sync(file: int) -> None:
        nonlocal written
        written += 1
        if written > transaction:
            raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "write", mortal_write)
        patch.setattr(os, "fdatasync", mortal_sync)
        yield
