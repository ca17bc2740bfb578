"""A Parquet file that grows: the same rows make the same file, whenever it was written before."""

import io
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tlsweep.store.schema import METRICS, REPORTS
from tlsweep.store.tables import growing, read_table, rows_to_table
from tlsweep.store.tables.growing import GrowingFile


def report(number: int, chance: random.Random) -> dict[str, Any]:
    values = {name: chance.choice([chance.random(), float("nan"), None]) for name in METRICS}
    trial = {"sweep": "s", "arm": "main", "trial": f"t{number % 5:04d}", "generation": 0, "epoch": number // 5}
    return {**trial, **values, "time": 1.7e9 + number, "more": "than the schema has"}


@pytest.fixture(autouse=True)
def small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growing, "GROUP", 7)
    monkeypatch.setattr(growing, "_BATCH", 3)


@pytest.mark.parametrize("seed", range(8))
def test_whenever_it_was_written_it_holds_the_rows_until_then(seed: int) -> None:
    chance, file, rows = random.Random(seed), GrowingFile(REPORTS), list[dict[str, Any]]()
    for number in range(chance.randrange(60)):
        rows.append(report(number, chance))
        file.add(rows[-1])
        if chance.random() < 0.3:
            assert read(file) == shown(rows_to_table("reports", rows))
    undisturbed = GrowingFile(REPORTS)
    for row in rows:
        undisturbed.add(row)
    assert read(file) == shown(rows_to_table("reports", rows))
    assert b"".join(file.content()) == b"".join(undisturbed.content())


def read(file: GrowingFile) -> str:
    with pq.ParquetFile(io.BytesIO(b"".join(file.content())), page_checksum_verification=True) as found:
        return shown(found.read())


def shown(rows: pa.Table) -> str:
    """As text, in which NaN equals NaN."""
    return f"{rows.schema.to_string()} {rows.to_pylist()}"


def test_every_reader_reads_its_groups(tmp_path: Path) -> None:
    import duckdb
    import pandas as pd
    import polars as pl

    chance, file, path = random.Random(0), GrowingFile(REPORTS), tmp_path / "reports.parquet"
    for number in range(40):
        file.add(report(number, chance))
    path.write_bytes(b"".join(file.content()))
    assert pq.ParquetFile(path).metadata.num_row_groups == 6
    wanted = [number // 5 for number in range(40)]
    assert pd.read_parquet(path).epoch.tolist() == wanted
    assert pl.read_parquet(path)["epoch"].to_list() == wanted
    assert duckdb.sql(f"select sum(epoch), count(*) from '{path}' where trial = 't0003'").fetchall() == [(28, 8)]
    assert read_table(tmp_path, "reports", ["epoch"], "t0003").to_pydict() == {"epoch": list(range(8))}
