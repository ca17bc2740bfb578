"""Rows as Arrow tables of the schema."""

import json
import math
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import pyarrow as pa

from tlsweep.store.schema import SCHEMA_VERSION, TABLES, Columns, Type

_TYPES = {
    "string": pa.string(),
    "int": pa.int64(),
    "float": pa.float64(),
    "bool": pa.bool_(),
    "time": pa.timestamp("us", tz="UTC"),
}


@cache
def arrow_schema(table: str) -> pa.Schema:
    """The schema of a table with its version in the metadata, and each column's meaning in the column's own."""
    return schema_of(TABLES[table])


def schema_of(columns: Columns) -> pa.Schema:
    """The schema of these columns, as `arrow_schema`."""
    fields = [
        pa.field(name, _TYPES[column.type], metadata={"meaning": column.meaning}) for name, column in columns.items()
    ]
    return pa.schema(fields, metadata={"tlsweep_schema": str(SCHEMA_VERSION)})


def rows_to_table(columns: str | Columns, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Rows as an Arrow table; what a row lacks is null, what the schema lacks is left out.

    Args:
        columns: Those of the table, or its name where no sweep has others there.
        rows: The rows.
    """
    known = TABLES[columns] if isinstance(columns, str) else columns
    return cells_to_table(known, [[cell(row.get(name), column.type) for row in rows] for name, column in known.items()])


def cells_to_table(columns: Columns, cells: Sequence[Sequence[Any]]) -> pa.Table:
    """All cells of a table, column by column in the order of the schema, as an Arrow table."""
    schema = schema_of(columns)
    arrays = [pa.array(column, type=field.type) for column, field in zip(cells, schema, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema)


def cell(value: Any, kind: Type) -> Any:
    """A value as Arrow takes it for a column of this type."""
    if value is None:
        return None
    if kind == "time":
        # Arrow's timestamps are whole microseconds.
        return int(value * 1_000_000)
    if kind == "float":
        return float(value)  # Arrow takes no whole number above 2^63 for one
    if kind == "string" and not isinstance(value, str):
        return json.dumps(_json(value), allow_nan=False)
    if kind == "string" and not value.isascii():  # a file name that is no UTF-8 may stand in a message
        return value.encode(errors="backslashreplace").decode()
    return value


def _json(value: Any) -> Any:
    """JSON has no NaN and no infinity, and most readers refuse what Python writes for them: null."""
    if isinstance(value, Mapping):
        return {name: _json(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
