"""A Parquet file to which rows are added: what was encoded once is copied from then on, and not kept in memory."""

import copy
import io
import tempfile
import weakref
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tlsweep.store.schema import Columns
from tlsweep.store.tables.arrow import rows_to_table, schema_of
from tlsweep.store.tables.files import FORMAT

GROUP = 16_384
"""Rows of a row group that is closed; to encode it the driver stands still for a tenth of a second."""
_BATCH = 1_024
"""Rows that wait as mappings; each has some fifty values, and takes ten times the memory of Arrow's columns."""
_PIECE = 1 << 20
_MAGIC = b"PAR1"


class GrowingFile:
    """The content of a table's Parquet file, whole whenever it is asked for.

    A file of Parquet is row groups, and behind them a footer that says where each lies. Row groups of GROUP rows are
    encoded once, and lie in a temporary file without a name; the rows since then are encoded each time, as the last and
    smaller group, and a footer is put behind them.
    """

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        self._waiting: list[Mapping[str, Any]] = []
        self._open: list[pa.Table] = []
        """Rows since the last closed group."""
        self._rows = 0
        """How many these are."""
        self._groups: pq.FileMetaData | None = None
        """Where the closed groups lie; None before the first."""
        # Not in the sweep's folder, which may be moved, or be no folder at all but a bucket.
        self._closed = tempfile.SpooledTemporaryFile(_PIECE, prefix="tlsweep-")  # noqa: SIM115
        weakref.finalize(self, self._closed.close)
        self._end = self._closed.write(_MAGIC)
        """Bytes of the closed groups, and of what a file begins with."""

    def add(self, row: Mapping[str, Any]) -> None:
        """Take a row, as `rows_to_table` does; at some of them a group is full and encoded.

        Raises:
            OSError: the disk does not take that.
        """
        self._waiting.append(row)
        if len(self._waiting) >= _BATCH:
            self._convert()

    def widened(self, columns: Columns) -> "GrowingFile":
        """The same rows in a file with these columns; those that are new are null so far.

        Row groups of one file have one schema, so what was encoded is encoded again. It happens once for each metric
        that only some trials report.
        """
        found, schema = GrowingFile(columns), schema_of(columns)
        rows = pq.read_table(io.BytesIO(b"".join(self.content())))
        nothing = pa.nulls(len(rows))
        found._open = [
            pa.Table.from_arrays(
                [
                    rows[field.name].cast(field.type) if field.name in rows.column_names else nothing.cast(field.type)
                    for field in schema
                ],
                schema=schema,
            )
        ]
        found._rows = len(rows)
        return found

    def content(self) -> Iterator[bytes]:
        """The file with all rows so far, in pieces that are to be used before a row is added."""
        self._convert()
        schema = schema_of(self._columns)
        groups, last = self._groups, b""
        if self._rows or groups is None:
            last, found = _row_group(pa.concat_tables([schema.empty_table(), *self._open]), self._end)
            groups = _joined(groups, found)
        self._closed.seek(0)
        while piece := self._closed.read(_PIECE):
            yield piece
        yield last
        yield _footer(groups)

    def _convert(self) -> None:
        if self._waiting:
            self._open.append(rows_to_table(self._columns, self._waiting))
            self._rows += len(self._waiting)
            self._waiting = []
        if self._rows >= GROUP:
            self._close_groups()

    def _close_groups(self) -> None:
        """Encode as many groups as are full; the same rows make the same file, whenever it was asked for."""
        rows = pa.concat_tables(self._open)
        while len(rows) >= GROUP:
            content, found = _row_group(rows.slice(0, GROUP), self._end)
            self._closed.seek(self._end)
            self._closed.write(content)
            self._groups = _joined(self._groups, found)
            self._end += len(content)
            rows = rows.slice(GROUP)
        self._open, self._rows = [rows.combine_chunks()], len(rows)


class _Behind(io.BytesIO):
    """Keeps what is written behind the first `skipped` bytes."""

    def __init__(self, skipped: int) -> None:
        super().__init__()
        self._skipped = skipped

    def write(self, content: Any) -> int:
        """Take bytes, or a buffer of them."""
        passed = min(self._skipped, len(content))
        self._skipped -= passed
        return passed + super().write(memoryview(content)[passed:])


def _row_group(rows: pa.Table, at: int) -> tuple[bytes, pq.FileMetaData]:
    """Rows as a row group that begins at byte `at` of a file, and what the footer has to say of it."""
    content = _Behind(at)
    found: list[pq.FileMetaData] = []
    sink, zeros = pa.PythonFile(content, mode="w"), memoryview(bytes(_PIECE))
    with pq.ParquetWriter(sink, rows.schema, metadata_collector=found, **FORMAT) as writer:
        # The writer takes the position of its sink for that in the file, and refuses one that is not 0 as it begins
        # ("Appending to file not implemented", arrow 26). So the sink moves on after that, and before any rows.
        while sink.tell() < at:
            sink.write(zeros[: at - sink.tell()])
        writer.write_table(rows.combine_chunks(), row_group_size=max(len(rows), 1))
        end = sink.tell()
    return content.getvalue()[: end - at], found[0]


def _joined(groups: pq.FileMetaData | None, more: pq.FileMetaData) -> pq.FileMetaData:
    if groups is None:
        return more
    whole = copy.copy(groups)  # appending changes it
    whole.append_row_groups(more)
    return whole


def _footer(groups: pq.FileMetaData) -> bytes:
    content = io.BytesIO()
    groups.write_metadata_file(content)
    return content.getvalue()[len(_MAGIC) :]
