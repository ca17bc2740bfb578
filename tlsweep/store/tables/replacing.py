"""Rows that are replaced one by one: only what has changed is converted again."""

from collections.abc import Collection, Hashable, Iterable, Mapping
from typing import Any, Generic, TypeVar

import pyarrow as pa

from tlsweep.store.schema import Columns
from tlsweep.store.tables.arrow import cell, cells_to_table

_Key = TypeVar("_Key", bound=Hashable)


class ReplacedRows(Generic[_Key]):
    """The rows of a table by a key, as columns of what Arrow takes."""

    def __init__(self, columns: Columns) -> None:
        self._known = columns
        self._columns: dict[str, list[Any]] = {name: [] for name in columns}
        self._places: dict[_Key, int] = {}

    @property
    def keys(self) -> Collection[_Key]:
        """The keys of the rows, in the order in which these came."""
        return self._places.keys()

    def widen(self, columns: Columns) -> None:
        """Have these columns from now on; those that are new are null so far."""
        nothing = [None] * len(self._places)
        self._known, before = columns, self._columns
        self._columns = {name: before[name] if name in before else nothing.copy() for name in columns}

    def put(self, key: _Key, row: Mapping[str, Any]) -> None:
        """Add a row, or replace the one that has this key; what it lacks is null."""
        place = self._places.setdefault(key, len(self._places))
        for (name, column), cells in zip(self._known.items(), self._columns.values(), strict=True):
            cells[place : place + 1] = [cell(row.get(name), column.type)]

    def to_table(self, order: Iterable[_Key] | None = None) -> pa.Table:
        """All rows, in the order of keys or in that in which they came."""
        whole = cells_to_table(self._known, list(self._columns.values()))
        return whole if order is None else whole.take(pa.array([self._places[key] for key in order], pa.int64()))
