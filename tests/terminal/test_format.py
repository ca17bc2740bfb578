"""Numbers, and tables that fit."""

import io
import math
import re
from pathlib import Path

import pytest
from rich.console import Console

from tlsweep.terminal.columns import Column, fit_table
from tlsweep.terminal.format import counted, decimals, difference, duration, location, score, size, value


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (value(0.0123456), "0.0123"), (value(1.23456e-5), "1.23e-05"), (value(0.0), "0"), (value(64), "64"),
        (value(True), "true"), (value("adamw"), "adamw"), (value(math.inf), "inf"),
        (value(None), "null"),
        (score(0.94249), "0.942"), (score(1.0), "1.000"), (score(0.0), "0.000"), (score(1.2e-5), "1.2e-05"),
        (score(123456.0), "1.2e+05"), (score(math.nan), "-"), (score(None), "-"), (score(math.inf), "inf"),
        (difference(0.2), "+0.200"), (difference(-0.0514), "-0.051"), (difference(None), "-"),
        (duration(0.42), "0.4s"), (duration(0.006), "0.006s"), (duration(3e-5), "0s"), (duration(0), "0s"),
        (duration(59.4), "59s"),
        (duration(59.6), "1m00s"), (duration(3599.9), "1h00m"),
        (duration(7500), "2h05m"), (duration(97200), "1d03h"), (duration(-1), "0s"),
        (size(512), "512 B"), (size(1023), "1023 B"), (size(1024), "1 kB"), (size(3_355_443), "3.2 MB"),
        (size(5 * 1024**4), "5 TB"), (counted(1, "trial"), "1 trial"), (counted(12000, "image"), "12,000 images"),
    ],
)  # fmt: skip
def test_numbers_as_people_read_them(shown: str, expected: str) -> None:
    assert shown == expected


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [([0.037, 0.0306], 4), ([1.5, 0.1], 2), ([12.0], 1), ([480.0, 2.0], 0), ([0.0], 0), ([], 0), ([math.inf], 0)],
)
def test_the_numbers_of_a_column_have_as_many_decimals(numbers: list[float], expected: int) -> None:
    assert decimals(numbers) == expected


def test_a_path_is_relative_where_one_stands_above_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert location(tmp_path / "results" / "demo") == "results/demo"
    assert location(Path("results")) == "results"
    assert location(Path("/elsewhere/demo")) == "/elsewhere/demo"


COLUMNS = [
    Column[str]("name", str, right=False),
    Column[str]("first extra", lambda row: row * 2, optional=True),
    Column[str]("second extra", lambda row: row * 3, optional=True),
    Column[str]("end", lambda row: row[:1]),
]


@pytest.mark.parametrize(
    ("width", "headings"),
    [
        (80, ["name", "first extra", "second extra", "end"]),
        (30, ["name", "first extra", "end"]),
        (15, ["name", "end"]),
    ],
)
def test_what_has_no_room_is_left_out_whole(width: int, headings: list[str]) -> None:
    stream = io.StringIO()
    Console(file=stream, width=width).print(fit_table(COLUMNS, ["[red]", "b"], width))
    heading, first, second = stream.getvalue().splitlines()
    assert [one for one in re.split(r"  +", heading) if one] == headings
    assert first.startswith("[red]")  # no markup
    assert second.startswith("b ")
    assert len(heading) == len(first) == len(second) <= width


def test_required_columns_that_do_not_fit_are_cut_not_wrapped() -> None:
    stream = io.StringIO()
    Console(file=stream, width=8).print(fit_table(COLUMNS, ["a-long-name"], 8))
    assert stream.getvalue().splitlines() == ["name   …", "a-long-…"]
