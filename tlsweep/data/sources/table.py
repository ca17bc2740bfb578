"""Image files that a table lists with their labels, and perhaps their splits and groups."""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tlsweep.data.items import Found
from tlsweep.data.sources.folder import FileItems, alike_but_for_case
from tlsweep.data.sources.layout import shown_class, split_called
from tlsweep.data.sources.table_files import Table, read_table
from tlsweep.data.task import Indices
from tlsweep.errors import DataError
from tlsweep.spec.data import TableData
from tlsweep.text import listed, one_line

_SPLITS = ("train", "val", "test")
_SHOWN = 5
_OWN_SPLITS = "wanted: train, val or test"


@dataclass(frozen=True)
class _Row:
    """An image as the table has it."""

    path: str
    label: str
    split: str
    group: str
    """Empty where there are none."""


def find_table(data: TableData) -> Found:
    """List the files; none is opened.

    Raises:
        DataError: a table that is missing or damaged, or lists what cannot be trained on.
    """
    table = read_table(os.path.expanduser(data.path), data.columns)
    root = os.path.expanduser(data.root) if data.root else os.path.dirname(table.path) or "."
    if not os.path.isdir(root):
        raise DataError(f"data.root '{one_line(root)}' is no folder; name the one that the table's paths begin at")
    rows = _rows(table)
    _check_files(table, root, rows, may_be_missing=data.on_bad_image == "skip")
    _check_groups(table, rows)
    # As `Found` wants them: the training images first, and each split in the order of the table.
    rows = sorted(rows, key=lambda row: _SPLITS.index(row.split))
    counts = Counter(row.split for row in rows)
    if "train" not in counts:
        raise DataError(f"{table} has no rows of the split train; name some, or leave the splits away")
    names = _in_order({row.label for row in rows})
    labels = {name: label for label, name in enumerate(names)}
    return Found(
        FileItems(root, tuple(row.path for row in rows), tuple(labels[row.label] for row in rows), data.max_pixels),
        {split: counts[split] for split in _SPLITS if split in counts},
        names,
        skip_bad=data.on_bad_image == "skip",
        notes=tuple(alike_but_for_case(names)),
        groups=_numbered([row.group for row in rows]) if table.groups else None,
    )


def _rows(table: Table) -> list[_Row]:
    called = {name: _split(table, name) for name in dict.fromkeys(table.splits)}
    splits = [called[name] for name in table.splits] or ["train"] * len(table.paths)
    groups = table.groups or [""] * len(table.paths)
    labels = map(shown_class, table.labels)
    return [_Row(*values) for values in zip(table.paths, labels, splits, groups, strict=True)]


def _split(table: Table, name: str) -> str:
    found = split_called(name)
    if found is None:
        count = table.splits.count(name)
        raise DataError(
            f"{table}: the split '{one_line(name)}' of {count:,} rows is unknown; {_OWN_SPLITS} (or Training, valid, "
            "test_set and the like)"
        )
    return found


def _check_files(table: Table, root: str, rows: Sequence[_Row], *, may_be_missing: bool) -> None:
    """Raises:
    DataError: an image is listed twice, or is not there and may not be missing.
    """
    places = [os.path.normpath(os.path.join(root, row.path)) for row in rows]
    numbers: Mapping[str, list[int]] = defaultdict(list)
    for number, place in enumerate(places, 1):
        numbers[place].append(number)
    twice = [f"{rows[at[0] - 1].path} (rows {listed([*map(str, at)], 3)})" for at in numbers.values() if len(at) > 1]
    if twice:
        raise DataError(
            f"{table} lists {_counted(len(twice), 'image')} more than once: {listed(twice, _SHOWN)}; remove the rows "
            "that are too many (row 1 is the one below the names of columns)"
        )
    gone = [row.path for row, place in zip(rows, places, strict=True) if not os.path.exists(place)]
    # With all of them gone it is the folder that is wrong, and not an image.
    if gone and not (may_be_missing and len(gone) < len(rows)):
        raise DataError(
            f"{len(gone):,} of {len(rows):,} files that {table} lists are missing: {listed(gone, _SHOWN)}; paths are "
            f"relative to '{one_line(root)}' (data.root); put the files there, remove their rows, or set "
            "data.on_bad_image: skip"
        )


def _check_groups(table: Table, rows: Sequence[_Row]) -> None:
    """Raises:
    DataError: a group is in two splits that the table gives.
    """
    splits: Mapping[str, set[str]] = defaultdict(set)
    for row in rows if table.groups else ():
        splits[row.group].add(row.split)
    divided = [
        f"{group} ({' and '.join(split for split in _SPLITS if split in found)})"
        for group, found in splits.items()
        if len(found) > 1
    ]
    if divided:
        raise DataError(
            f"{table} has {_counted(len(divided), 'group')} in two splits or more: {listed(divided, _SHOWN)}; put each "
            "into one, or write data.columns: {group: ''}, so that groups may be divided"
        )


def _in_order(names: set[str]) -> tuple[str, ...]:
    """Classes by their names, and by their values where all are whole numbers."""
    numbers = all(re.fullmatch(r"-?\d{1,18}", name, re.ASCII) for name in names)
    by_value: Callable[[str], tuple[int, str]] = lambda name: (int(name) if numbers else 0, name)  # noqa: E731
    return tuple(sorted(names, key=by_value))


def _numbered(groups: Sequence[str]) -> Indices:
    return np.unique(np.array(groups), return_inverse=True)[1].astype(np.int64)


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"
