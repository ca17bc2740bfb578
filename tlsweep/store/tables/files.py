"""Tables as Parquet files: written whole, and read back column by column."""

import io
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tlsweep.store.files import cannot_write, write_whole
from tlsweep.store.locations import Location
from tlsweep.store.schema import REQUIRED
from tlsweep.store.tables.arrow import arrow_schema

# Without checksums Parquet gives other numbers for a page that was damaged, and no error.
FORMAT: Mapping[str, Any] = {"compression": "zstd", "write_page_checksum": True}
"""How every file is written."""


def write_table(folder: Location, table: str, rows: pa.Table) -> int:
    """Write one of the tables of a results folder, whole or not at all.

    Returns:
        The size of the file in bytes.

    Raises:
        ResultsError: the disk, or the store, does not take it.
    """
    return write_file(folder, table, [_parquet(rows)])


def write_file(folder: Location, table: str, content: Iterable[bytes]) -> int:
    """Write the Parquet file of a table from pieces of its content; else as `write_table`."""
    path, size = folder / f"{table}.parquet", 0

    def counted() -> Iterator[bytes]:
        nonlocal size
        for piece in content:
            size += len(piece)
            yield piece

    try:
        write_whole(path, counted(), folders=False)
    except OSError as error:
        raise cannot_write(path, error) from error
    return size


def parquet(columns: Mapping[str, Sequence[str] | Sequence[float]]) -> bytes:
    """A Parquet file of columns that belong to no sweep."""
    return _parquet(pa.table(dict(columns)))


def _parquet(rows: pa.Table) -> bytes:
    content = io.BytesIO()
    pq.write_table(rows, content, **FORMAT)
    return content.getvalue()


def read_table(
    folder: Location, table: str, columns: Collection[str] | None = None, trial: str | None = None
) -> pa.Table:
    """One of the tables of a results folder, as it is on disk now.

    Args:
        folder: The sweep's.
        table: Its name.
        columns: Those to read, of which earlier versions wrote fewer; None for all.
        trial: Whose rows to read; None for those of all.

    Raises:
        FileNotFoundError: it is missing.
        OSError, ValueError: it is damaged, or none of ours.
    """
    path = folder / f"{table}.parquet"
    try:
        # pq.read_table would import pandas, for half a second.
        with _opened(path) as content, pq.ParquetFile(content, page_checksum_verification=True) as file:
            there = file.schema_arrow
            _check(there, table)
            names = None if columns is None else [name for name in columns if name in there.names]
            found = file.read(names) if trial is None else _rows_of(trial, file, names)
            found.validate(full=True)
    except (pa.ArrowException, KeyError, IndexError, TypeError) as error:  # a damaged footer raises all of these
        raise ValueError(str(error)) from error
    return found


def _rows_of(trial: str, file: pq.ParquetFile, columns: Sequence[str] | None) -> pa.Table:
    """The rows of one trial: of other row groups than those in which it is nothing but names is read."""
    found = []
    for group in range(file.num_row_groups):
        rows = pc.equal(file.read_row_group(group, ["trial"])["trial"], trial)
        if pc.any(rows).as_py():
            found.append(file.read_row_group(group, columns).filter(rows))
    return pa.concat_tables(found) if found else file.read_row_groups([], columns)


def _opened(path: Location) -> BinaryIO:
    """A file of which no more is read than is needed; an object, which is read whole."""
    return path.open("rb") if isinstance(path, Path) else io.BytesIO(path.read_bytes())


def _check(there: pa.Schema, table: str) -> None:
    """Raise ValueError where a file has a column of another type, or lacks one that all versions wrote."""
    for column in arrow_schema(table):
        if column.name in there.names and there.field(column.name).type != column.type:
            raise ValueError(f"the column {column.name} has another type")
    if lacking := [name for name in REQUIRED[table] if there.names.count(name) != 1]:
        raise ValueError(f"it lacks the column {lacking[0]}")
