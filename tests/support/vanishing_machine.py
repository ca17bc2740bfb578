"""A machine that vanishes with what it had not uploaded yet."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sudden_death import Killed

from tlsweep.store import Record
from tlsweep.store.object_journal import ObjectJournal


@contextmanager
def vanishes(uploaded: int, appended: int) -> Iterator[None]:
    """Of the transactions of this launch the first `uploaded` are safe; the machine vanishes after `appended` of them.

    Or earlier, where the sweep waits for the others to be safe.
    """
    count, puts = 0, 0
    append, put, flush = ObjectJournal.append, ObjectJournal._put, ObjectJournal.flush

    def mortal_append(self: ObjectJournal, *records: Record) -> None:
        nonlocal count
        if count == appended:
            raise Killed
        append(self, *records)
        count += 1
        if count <= uploaded:
            flush(self)

    def mortal_put(self: ObjectJournal, lines: list[bytes]) -> None:
        nonlocal puts
        if puts == uploaded:
            raise OSError("nobody will ever hear of it")
        puts += 1
        put(self, lines)

    def mortal_flush(self: ObjectJournal) -> None:
        if count > uploaded:
            raise Killed
        flush(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ObjectJournal, "append", mortal_append)
        patch.setattr(ObjectJournal, "_put", mortal_put)
        patch.setattr(ObjectJournal, "flush", mortal_flush)
        patch.setattr(ObjectJournal, "_check", lambda self: None)  # it does not know yet
        yield
