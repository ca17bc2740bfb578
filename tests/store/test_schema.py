"""The tables as data, and their meaning in the files."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tlsweep.store.schema import REQUIRED, ROWS, TABLES
from tlsweep.store.tables import arrow_schema, read_table, rows_to_table, write_table


@pytest.mark.parametrize("table", TABLES)
def test_every_column_says_what_it_means(table: str) -> None:
    for name, column in TABLES[table].items():
        assert column.meaning.endswith("."), name
        assert "\n" not in column.meaning, name


def test_every_table_says_what_a_row_is_and_requires_columns_that_it_has() -> None:
    assert TABLES.keys() == ROWS.keys() == REQUIRED.keys()
    for table, names in REQUIRED.items():
        assert set(names) <= TABLES[table].keys()


@pytest.mark.parametrize("table", TABLES)
def test_the_meaning_of_a_column_stands_in_the_file(tmp_path: Path, table: str) -> None:
    write_table(tmp_path, table, rows_to_table(table, []))
    schema = pq.read_schema(tmp_path / f"{table}.parquet")
    assert {field.name: field.metadata[b"meaning"].decode() for field in schema} == {
        name: column.meaning for name, column in TABLES[table].items()
    }


def test_a_file_of_an_earlier_version_says_nothing_and_is_read_all_the_same(tmp_path: Path) -> None:
    bare = pa.schema([field.remove_metadata() for field in arrow_schema("events")])
    write_table(tmp_path, "events", rows_to_table("events", []).cast(bare))
    assert pq.read_schema(tmp_path / "events.parquet").field("kind").metadata is None
    assert read_table(tmp_path, "events").num_rows == 0
