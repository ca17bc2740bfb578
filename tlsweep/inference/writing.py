"""Predictions as a file: CSV or Parquet."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from tlsweep.errors import ResultsError
from tlsweep.files import require_writable, write_whole
from tlsweep.inference.predicting import Prediction
from tlsweep.text import one_line

ENDINGS = (".csv", ".parquet")


def check_table(path: Path) -> None:
    """Refuse a file that could not be written, before anything is predicted.

    Raises:
        ResultsError: its name ends otherwise, or its folder is missing or read-only.
    """
    if path.suffix.lower() not in ENDINGS:
        raise ResultsError(f"--out '{one_line(str(path))}': a table is written as {' or '.join(ENDINGS)}")
    try:
        require_writable(path.parent)
    except OSError as error:
        raise ResultsError(f"--out '{one_line(str(path))}' cannot be written: {error.strerror}") from None
    if path.is_dir():
        raise ResultsError(f"--out '{one_line(str(path))}' is a folder; name a file")


def write_predictions(path: Path, rows: Sequence[Prediction]) -> None:
    """Write a row for each image: `file`, `predicted`, `probability`, `predicted_2`, `probability_2`, …

    Raises:
        StorageError: the file cannot be written.
    """
    columns: dict[str, list[str] | list[float]] = {"file": [_text(row.file) for row in rows]}
    for rank in range(len(rows[0].classes) if rows else 1):
        number = f"_{rank + 1}" if rank else ""
        columns[f"predicted{number}"] = [_text(row.classes[rank]) for row in rows]
        columns[f"probability{number}"] = [row.probabilities[rank] for row in rows]
    if path.suffix.lower() == ".csv":
        write_whole(path, _csv(columns))
        return
    from tlsweep.store.tables import parquet

    write_whole(path, parquet(columns))


def _csv(columns: dict[str, list[str] | list[float]]) -> bytes:
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    table.writerow(columns)
    table.writerows(zip(*columns.values(), strict=True))
    return text.getvalue().encode()


def _text(text: str) -> str:
    """A file's name need not be UTF-8, and tables are."""
    return text.encode(errors="backslashreplace").decode()
