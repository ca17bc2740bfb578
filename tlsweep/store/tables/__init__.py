"""The Parquet tables of a sweep: written while it runs, whole at any moment, and read back."""

from tlsweep.store.tables.arrow import arrow_schema, rows_to_table
from tlsweep.store.tables.files import parquet, read_table, write_table
from tlsweep.store.tables.writer import TableWriter

__all__ = ["TableWriter", "arrow_schema", "parquet", "read_table", "rows_to_table", "write_table"]
