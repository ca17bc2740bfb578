"""The reports of a sweep as columns and as rows: a million of them fit in memory as columns alone."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:  # what only describes a sweep needs no pyarrow
    import pyarrow as pa

Row = Mapping[str, Any]
"""A row of a Parquet table: column to value, None for null."""


class ReportRows(Sequence[Row]):
    """Rows of reports.parquet with `time` in seconds since 1970, of which all or some columns were read.

    A mapping for each row is made when rows are first asked for one by one: of a million it takes seconds, and 2 GB.
    Whoever can, counts by columns.
    """

    def __init__(self, table: "pa.Table") -> None:
        self._table = table

    def __len__(self) -> int:
        return int(self._table.num_rows)

    @overload
    def __getitem__(self, index: int) -> Row: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Row]: ...

    def __getitem__(self, index: int | slice) -> Row | Sequence[Row]:
        if isinstance(index, int):
            return self.at([range(len(self))[index]])[0]
        return self.at(range(len(self))[index])

    def __iter__(self) -> Iterator[Row]:
        return iter(self._rows)

    def at(self, indices: Sequence[int] | NDArray[np.int64]) -> list[Row]:
        """The rows at these indices."""
        return to_rows(self._table.take(np.asarray(indices, dtype=np.int64)))

    def numbers(self, column: str) -> NDArray[np.float64]:
        """A column as an array of shape (rows,); NaN for null, and throughout where there is no such column."""
        if column not in self._table.column_names:
            return np.full(len(self), np.nan)
        if column == "time":
            return _seconds(self._table)
        return np.asarray(self._table[column].to_numpy(), dtype=np.float64)

    def codes(self, column: str) -> tuple[NDArray[np.int64], list[str]]:
        """A column of text as an array of shape (rows,), and what its numbers stand for."""
        found = self._table[column].combine_chunks().dictionary_encode()
        return np.asarray(found.indices, dtype=np.int64), found.dictionary.to_pylist()

    @cached_property
    def _rows(self) -> list[Row]:
        return to_rows(self._table)


def to_rows(table: "pa.Table") -> list[Row]:
    """The rows of reports or events, with `time` in seconds since 1970."""
    rows = table.drop_columns("time").to_pylist()
    return [row | {"time": time} for row, time in zip(rows, _seconds(table).tolist(), strict=True)]


def _seconds(table: "pa.Table") -> NDArray[np.float64]:
    """The column `time` in seconds since 1970: to convert timestamps pyarrow would import pandas, for half a second."""
    return np.asarray(table["time"].cast("int64").to_numpy(), dtype=np.float64) / 1e6
