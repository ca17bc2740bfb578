"""The columns that a function of the user's own adds: behind those of every sweep, whoever wrote the journal."""

import io
from typing import Any

import pyarrow.parquet as pq
import pytest
from own_functions import QUADRATIC

from tlsweep.spec import load_spec
from tlsweep.store.schema import REPORTS, TABLES, Column
from tlsweep.store.shapes import wrong_value
from tlsweep.store.tables.growing import GrowingFile
from tlsweep.store.tables.own import Layout, own_metrics

EXTRA = Column("float", "A metric.")


def report(**more: Any) -> dict[str, Any]:
    return {"type": "report", "trial": "t0000", "arm": "main", "epoch": 1, "lr": 0.1, "batch_size": 8, **more}


def test_a_sweep_over_images_has_the_columns_of_every_sweep() -> None:
    layout = Layout(load_spec("digits"))
    assert not layout.learn(report(val_loss=1.0))
    assert all(layout.of(table) == columns for table, columns in TABLES.items())


def test_metrics_stand_behind_in_the_order_in_which_they_came() -> None:
    layout = Layout(load_spec(QUADRATIC))
    assert layout.learn(report(own=["dice", "size"], dice=0.5, size=1.0))
    assert not layout.learn(report(own=["size"], size=1.0))
    assert layout.learn(report(own=["more"], more=1.0))
    assert list(layout.of("reports"))[len(REPORTS) :] == ["scale", "form", "dice", "size", "more"]
    assert [column.type for column in layout.of("reports").values()][-4:] == ["string", "float", "float", "float"]
    assert list(layout.of("trials"))[-2:] == ["best_more", "last_more"]


@pytest.mark.parametrize("name", ["epoch", "trial", "val_loss", "details", "not a name", "", "a-b"])
def test_a_forged_report_cannot_take_another_columns_name(name: str) -> None:
    assert own_metrics(report(**{"own": [name], name: 1.0})) == []


@pytest.mark.parametrize("value", ["high", True, None, 3, [1.0], {"a": 1}])
def test_a_forged_value_of_another_type_is_null(value: Any) -> None:
    layout = Layout(load_spec(QUADRATIC))
    layout.learn(report(own=["dice"], dice=0.5))
    assert own_metrics(report(own=["dice"], dice=value)) == []
    row = layout.fitted("reports", report(form=value, dice=value))
    assert row["form"] == (value if isinstance(value, str) else None)
    assert row["dice"] is None or isinstance(row["dice"], int | float)


@pytest.mark.parametrize("value", [[1.0], {"a": 1.0}, [[]]])
def test_what_nests_is_no_value_of_a_record(value: Any) -> None:
    assert wrong_value(report(dice=value)) is not None
    created = {"type": "event", "kind": "created", "trial": "t0000", "arm": "main", "epoch": 0}
    values = {"lr": 0.1, "batch_size": 8, "rank": value}
    assert wrong_value({**created, "details": {"number": 0, "hyperparameters": values}}) is not None


@pytest.mark.parametrize("rows", [0, 1, 5, 40])
def test_a_widened_file_is_one_that_always_had_the_column(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where some groups of rows are encoded already."""
    monkeypatch.setattr("tlsweep.store.tables.growing.GROUP", 16)
    monkeypatch.setattr("tlsweep.store.tables.growing._BATCH", 4)
    columns = {**REPORTS, "dice": EXTRA}
    widened, always = GrowingFile(REPORTS), GrowingFile(columns)
    for at in range(rows):
        for file in (widened, always):
            file.add(report(epoch=at))
    widened = widened.widened(columns)
    for at in range(rows, rows + 20):
        for file in (widened, always):
            file.add(report(epoch=at, dice=float(at)))
    tables = [pq.read_table(io.BytesIO(b"".join(file.content()))) for file in (widened, always)]
    assert tables[0].equals(tables[1])
    assert tables[0]["dice"].to_pylist() == [None] * rows + [float(at) for at in range(rows, rows + 20)]
