"""Folding what an earlier launch wrote: a record that does not fit those before it is the journal's fault."""

from collections.abc import Callable, Container, Iterable

from tlsweep.errors import ResultsError
from tlsweep.store.lines import Record
from tlsweep.store.locations import Location
from tlsweep.store.shapes import lacking
from tlsweep.text import one_line

_MISFITS = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError)
"""What a fold raises that meets a record which cannot come at this point, such as one of a trial that is not there."""


def replay(
    records: Iterable[Record], apply: Callable[[Record], None], known: Container[str], journal: Location | None = None
) -> None:
    """Apply records, in order.

    Args:
        records: What was read, in order.
        apply: Folds one of them.
        known: Trials of which it has folded the creation.
        journal: Where they were read; a message names it.

    Raises:
        ResultsError: one of them is incomplete, or does not fit those before it.
    """
    for number, record in enumerate(records, 1):
        try:
            why = lacking(record) or _unknown(record, known)
            if why is None:
                apply(record)
                continue
        except _MISFITS as error:
            why = f"it does not fit those before it ({type(error).__name__}: {one_line(str(error)[:100])})"
        raise _damaged(journal, number, record, why)


def _unknown(record: Record, known: Container[str]) -> str | None:
    """Lines of an earlier version do not say which one they follow: one that was lost may show here."""
    trial = record["trial"]
    if trial is None or trial in known or record.get("kind") == "created":
        return None
    return f"it tells of trial '{trial}' without a line that created it"


def _damaged(journal: Location | None, number: int, record: Record, why: str) -> ResultsError:
    where = f"'{one_line(str(journal))}'" if journal else "the journal"
    what = one_line(f"{record.get('kind', record.get('type'))} of {record.get('trial') or 'the sweep'}"[:120])
    return ResultsError(f"{where} is damaged: record {number} ({what}): {why}; put a sound copy of it in its place")
