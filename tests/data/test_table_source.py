"""Images that a table lists: the same task as from folders, or one line that says what is wrong with which row."""

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from image_files import PLAIN, folder_data, picture, write_folder

from tlsweep.data import load_task
from tlsweep.data.sources.table import find_table
from tlsweep.errors import DataError
from tlsweep.spec.data import TableData

SMALL: Mapping[str, Any] = {"source": "table", "image_size": 8, "augment": PLAIN}


def table_data(path: Path, **fields: Any) -> TableData:
    return TableData(**{**SMALL, "path": str(path), **fields})


def write_table(to: Path, /, **columns: Any) -> Path:
    frame = pd.DataFrame(columns)
    if to.suffix == ".parquet":
        frame.to_parquet(to)
    else:
        frame.to_csv(to, index=False)
    return to


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize("absolute", [False, True])
def test_it_gives_the_task_that_folders_give(tmp_path: Path, kind: str, absolute: bool) -> None:
    images = {"train/ant": 6, "train/bee": 7, "val/ant": 2, "val/bee": 2, "test/ant": 1, "test/bee": 3}
    write_folder(tmp_path / "images", images)
    folder = load_task(folder_data(tmp_path / "images", image_size=8), 0)
    files = sorted(
        (tmp_path / "images").rglob("*.png"), key=lambda file: ("train val test".index(file.parts[-3]), file)
    )
    paths = [str(file if absolute else file.relative_to(tmp_path)) for file in files]
    labels, splits = [file.parts[-2] for file in files], [file.parts[-3] for file in files]
    task = load_task(table_data(write_table(tmp_path / f"t.{kind}", path=paths, label=labels, split=splits)), 0)
    assert (task.classes, task.fingerprint) == (folder.classes, folder.fingerprint)
    assert np.array_equal(task.images, folder.images)


def test_columns_may_have_other_names_and_paths_another_root(tmp_path: Path) -> None:
    write_folder(tmp_path / "images", {"ant": 2, "bee": 2})
    names = ["ant/000.png", "ant/001.png", "bee/000.png", "bee/001.png"]
    table = write_table(
        tmp_path / "t.csv", file=names, what=list("xxyy"), use=["TRAINING"] * 3 + ["test"], path=[1] * 4
    )
    columns = {"path": "file", "label": "what", "split": "use"}
    found = find_table(table_data(table, root=str(tmp_path / "images"), columns=columns))
    assert (found.counts, found.classes) == ({"train": 3, "test": 1}, ("x", "y"))
    assert [found.items.name(at) for at in range(4)] == names


@pytest.mark.parametrize(
    ("kind", "labels", "classes"),
    [
        ("csv", [10, 2, 2, 10], ("2", "10")),
        ("parquet", [10, 2, 2, 10], ("2", "10")),
        ("parquet", [1.0, -1.0, 1.0, 0.0], ("-1", "0", "1")),
        ("csv", ["NA", " None", "b", "b "], ("NA", "None", "b")),
        ("parquet", [True, False, True, True], ("False", "True")),
    ],
)
def test_labels_are_text_or_numbers(tmp_path: Path, kind: str, labels: list[Any], classes: tuple[str, ...]) -> None:
    for at in range(4):
        picture(at).save(tmp_path / f"{at}.png")
    found = find_table(
        table_data(write_table(tmp_path / f"t.{kind}", path=[f"{at}.png" for at in range(4)], label=labels))
    )
    assert found.classes == classes


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_spreadsheets_separators_and_marks_are_understood(tmp_path: Path, separator: str) -> None:
    for at in range(2):
        picture(at).save(tmp_path / f"{at}, é.png")
    rows = [["path", "label", "split"], ['"0, é.png"', "a", ""], ['"1, é.png"', "b", ""]]
    text = "\r\n".join(separator.join(row) for row in rows)
    (tmp_path / "t.csv").write_bytes(text.encode("utf-8-sig"))
    found = find_table(table_data(tmp_path / "t.csv"))
    assert (found.counts, found.classes, found.groups) == ({"train": 2}, ("a", "b"), None)


GOOD = ("path,label,split,group", "a.png,ant,train,1", "b.png,bee,train,2", "c.png,ant,val,3", "d.png,bee,val,4")


@pytest.mark.parametrize(
    ("line", "row", "told"),
    [
        (0, "Path,label,split,group", r"data.columns.path = 'path': .* has Path, label, split, group; did you mean 'P"),
        (1, "x.png,ant,train,1", r"1 of 4 files that .* lists are missing: x.png; paths are relative to '"),
        (1, "a.png,,train,1", r"the column 'label' \(label\) is empty in 1 of 4 rows: 1 \(row 1 is .*remove the rows"),
        (2, "b.png,bee,train,", r"the column 'group' \(group\) is empty in 1 of 4 rows: 2 .*or remove the column"),
        (2, "./a.png,bee,train,2", r"1 image more than once: a.png \(rows 1, 2\); remove"),
        (3, "c.png,ant,foo,3", r"the split 'foo' of 1 rows is unknown; wanted: train, val or test"),
        (3, "c.png,ant,val,1", r"1 group in two splits or more: 1 \(train and val\); put each"),
        (3, "c.png,ant,val,3,more", "cannot be read as a table: .*Expected 4 fields in line 4, saw 5"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_table_is_one_line(tmp_path: Path, line: int, row: str, told: str) -> None:
    for name in "abcd":
        picture(ord(name)).save(tmp_path / f"{name}.png")
    rows = list(GOOD)
    rows[line] = row
    (tmp_path / "t.csv").write_text("\n".join(rows))
    with pytest.raises(DataError, match=told) as caught:
        find_table(table_data(tmp_path / "t.csv"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kept", [b"no", b"{}", b"[]", b"\xff", b'{"columns": [{}], "index_columns": [{}]}'])
def test_a_parquet_table_with_damaged_notes_of_pandas_is_one_message(tmp_path: Path, kept: bytes) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"path": ["a.png"], "label": ["a"]}).replace_schema_metadata({"pandas": kept}), path)
    with pytest.raises(DataError, match="cannot be read as a table"):
        find_table(table_data(path))


@pytest.mark.parametrize(
    "error", [RecursionError("too deep"), MemoryError(), pa.ArrowException("x"), struct.error("y")]
)
def test_whatever_is_raised_of_a_parquet_file_is_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def damaged(path: str) -> NoReturn:
        raise error

    monkeypatch.setattr(pd, "read_parquet", damaged)
    (tmp_path / "t.parquet").touch()
    with pytest.raises(DataError, match=rf"cannot be read as a table: {str(error) or 'MemoryError'}$"):
        find_table(table_data(tmp_path / "t.parquet"))


@pytest.mark.parametrize(
    ("name", "content", "fields", "told"),
    [
        ("none.csv", None, {}, r"none.csv' does not exist; it is to name a .csv"),
        ("t.xlsx", b"", {}, r"must be a table: .csv, .tsv, .txt, .parquet, .pq"),
        ("t.csv", b"", {}, "is empty; it is to have a row for each image"),
        ("t.csv", b"path,label\n", {}, "has no rows; it is to have one for each image"),
        ("t.csv", "path,label\né.png,a".encode("latin-1"), {}, "is no UTF-8; save it again"),
        ("t.parquet", b"no", {}, "cannot be read as a table"),
        ("t.csv", b"path,label\na.png,a\n", {"root": "/none"}, "data.root '/none' is no folder"),
        ("t.csv", b"path,label\na.png,a\n", {"columns": {"group": "patient"}}, "'patient': .* has path, label$"),
    ],
)  # fmt: skip
def test_what_is_no_table_of_images_is_said(
    tmp_path: Path, name: str, content: bytes | None, fields: dict[str, Any], told: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=told):
        find_table(table_data(tmp_path / name, **fields))


def test_missing_files_are_bad_images_and_skipped_if_asked(tmp_path: Path) -> None:
    write_folder(tmp_path, {"ant": 10, "bee": 10})
    paths = [str(file) for file in sorted(tmp_path.rglob("*.png"))]
    labels = [Path(path).parts[-2] for path in paths]
    table = write_table(tmp_path / "t.parquet", path=[*paths[:-2], "no\0path", "gone.png"], label=labels)
    task = load_task(table_data(table, on_bad_image="skip"), 0)
    assert (len(task.skipped), "gone.png" in task.skipped[1]) == (2, True)
    nowhere = write_table(tmp_path / "n.csv", path=["x.png", "y.png"], label=["a", "b"])
    with pytest.raises(DataError, match="2 of 2 files"):
        load_task(table_data(nowhere, on_bad_image="skip"), 0)


@pytest.mark.parametrize("folds", [None, 3])
def test_no_group_is_divided(tmp_path: Path, folds: int | None) -> None:
    write_folder(tmp_path, {"ant": 30, "bee": 30})
    paths = sorted(tmp_path.rglob("*.png"))
    groups = np.array([f"patient {at % 15}" for at in range(60)])
    labels = [path.parts[-2] for path in paths]
    table = write_table(tmp_path / "t.csv", path=[str(path) for path in paths], label=labels, group=groups)
    task = load_task(table_data(table, folds=folds), 0)
    for run in task.runs or (task.splits,):
        train, val = (run["train"], run["val"]) if isinstance(run, Mapping) else (run.train, run.val)
        parts = [set(groups[indices]) for indices in (train, val, task.splits["test"])]
        assert sum(map(len, parts)) == len(set.union(*parts)) == 15
        assert all(len(part) in ((3, 9) if folds is None else (3, 4, 8)) for part in parts)
    divided = load_task(table_data(table, columns={"group": ""}), 0)
    assert len(set(groups[divided.splits["train"]]) & set(groups[divided.splits["val"]])) > 5
