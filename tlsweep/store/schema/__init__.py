"""THE tables: names, types and meaning of every column, and the kinds of events. A public interface.

Columns are added, never changed or removed. DuckDB reserves one of their names: write "freeze" in its SQL.
Written as plain data, without pyarrow, so that code that only needs the names pays nothing for them.
`tlsweep columns` and `tlsweep events` print it, and the meanings stand in the Parquet files themselves.
"""

from tlsweep.store.schema.columns import (
    CLIENTS,
    ERRORS,
    EVENTS,
    FOLDS,
    HYPERPARAMETERS,
    METRICS,
    REPORTS,
    REQUIRED,
    ROWS,
    SCHEMA_VERSION,
    TABLES,
    TRIALS,
    Column,
    Columns,
    Type,
)
from tlsweep.store.schema.kinds import KINDS, Kind

__all__ = [
    "CLIENTS", "ERRORS", "EVENTS", "FOLDS", "HYPERPARAMETERS", "KINDS", "METRICS", "REPORTS", "REQUIRED", "ROWS",
    "SCHEMA_VERSION", "TABLES", "TRIALS", "Column", "Columns", "Kind", "Type",
]  # fmt: skip
