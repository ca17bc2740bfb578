"""Reading the four columns of a table of images, as text."""

import difflib
import math
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tlsweep.errors import DataError
from tlsweep.spec.data import TableColumns
from tlsweep.text import listed, one_line

if TYPE_CHECKING:
    import pandas as pd

_PARQUET = (".parquet", ".pq")
_TEXT = (".csv", ".tsv", ".txt")
_SHOWN = 5


@dataclass(frozen=True)
class Table:
    """A table of images: no value of a column that it has is empty."""

    path: str
    paths: Sequence[str]
    labels: Sequence[str]
    splits: Sequence[str]
    groups: Sequence[str]
    """Empty where the table has no such column, as `splits`."""

    def __str__(self) -> str:
        return f"'{one_line(self.path)}'"


def read_table(path: str, columns: TableColumns) -> Table:
    """Read a table, whichever way its columns are called.

    Raises:
        DataError: it is missing or damaged, lacks a column, has no rows, or a row lacks a value.
    """
    frame = _read(path)
    names = {field: _name(path, frame, field, getattr(columns, field)) for field in type(columns).model_fields}
    if not len(frame):
        raise DataError(f"'{one_line(path)}' has no rows; it is to have one for each image")
    values = {
        field: [_text(path, name, value) for value in frame[name].tolist()] if name else []
        for field, name in names.items()
    }
    if not any(values["split"]):
        values["split"] = []  # a column that waits to be filled in
    for field, texts in values.items():
        lacking = [number for number, text in enumerate(texts, 1) if not text]
        if lacking:
            raise DataError(
                f"'{one_line(path)}': the column '{one_line(names[field])}' ({field}) is empty in {len(lacking):,} of "
                f"{len(texts):,} rows: {listed([*map(str, lacking)], _SHOWN)} (row 1 is the one below the names of "
                f"columns); fill them in, or remove {'the rows' if field in ('path', 'label') else 'the column'}"
            )
    return Table(path, values["path"], values["label"], values["split"], values["group"])


def _read(path: str) -> "pd.DataFrame":
    """Raises:
    DataError: there is no table there that could be read.
    """
    if not os.path.isfile(path):
        what = "is a folder; name a table in it, or write data.source: folder"
        if not os.path.exists(path):
            what = "does not exist; it is to name a .csv, .tsv or .parquet file"
        raise DataError(f"data.path '{one_line(path)}' {what}")
    kind = os.path.splitext(path)[1].lower()
    if kind not in (*_PARQUET, *_TEXT):
        raise DataError(f"data.path '{one_line(path)}': must be a table: {', '.join((*_TEXT, *_PARQUET))}")
    import pandas as pd  # half a second, of which nobody else needs any

    if kind in _PARQUET:
        return _read_parquet(path)
    try:
        with warnings.catch_warnings():
            # Of a row that is longer than the first, which would lose its end.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            return pd.read_csv(
                path,
                sep=_separator(path),
                dtype=str,
                keep_default_na=False,  # a class may be called NA, or None
                index_col=False,
                skipinitialspace=True,
                encoding="utf-8-sig",  # as spreadsheets write it, and also without their mark
            )
    except UnicodeDecodeError as error:
        raise DataError(f"'{one_line(path)}' is no UTF-8; save it again as 'CSV UTF-8'") from error
    except pd.errors.EmptyDataError as error:
        raise DataError(f"'{one_line(path)}' is empty; it is to have a row for each image") from error
    except (OSError, ValueError, NotImplementedError, pd.errors.ParserWarning) as error:
        raise _unreadable(path, error) from error


def _read_parquet(path: str) -> "pd.DataFrame":
    import pandas as pd

    try:
        return pd.read_parquet(path)
    # A damaged footer, and what pandas keeps of its own in it, raise nearly anything, and nothing of ours runs there.
    except Exception as error:
        raise _unreadable(path, error) from error


def _unreadable(path: str, error: Exception) -> DataError:
    said = one_line(str(error).strip()) or type(error).__name__
    return DataError(f"'{one_line(path)}' cannot be read as a table: {said}")


def _separator(path: str) -> str:
    """Tell by the names of columns what stands between them: spreadsheets write ; where , is part of a number."""
    with open(path, encoding="utf-8-sig", errors="replace") as file:
        first = file.readline()
    return max(",;\t", key=first.count)


def _name(path: str, frame: "pd.DataFrame", field: str, written: str | None) -> str:
    """The name of a column; empty for one that the table has not, and need not have."""
    known = [str(name) for name in frame.columns]
    if written == "" and field in ("split", "group"):
        return ""
    if written is None:
        return field if field in known else ""
    if written in known:
        return written
    alike = {name.strip().casefold(): name for name in known}
    near = [alike[name] for name in difflib.get_close_matches(written.casefold(), list(alike), n=1)]
    hint = f"; did you mean '{one_line(near[0])}'?" if near else ""
    raise DataError(
        f"data.columns.{field} = '{one_line(written)}': '{one_line(path)}' has no such column; it has "
        f"{listed(known, 10) or 'none'}{hint}"
    )


def _text(path: str, column: str, value: Any) -> str:
    """A value as text: a whole number without the `.0` that it has beside missing ones."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, str | int | float):
        return str(value).strip()
    if str(value) in ("<NA>", "NaT"):
        return ""
    raise DataError(
        f"'{one_line(path)}': the column '{one_line(column)}' must hold text or numbers, not {type(value).__name__}"
    )
