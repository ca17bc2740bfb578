"""Files appear whole or not at all, and only where they are meant to."""

import os
from pathlib import Path

import pytest

from tlsweep.errors import ResultsError
from tlsweep.files import open_own, write_whole


@pytest.mark.parametrize("sync", [True, False])
def test_a_file_appears_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sync: bool) -> None:
    path = tmp_path / "x"
    write_whole(path, b"old", sync=sync)

    def fail(source: Path, target: Path) -> None:
        raise OSError("no")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="no"):
        write_whole(path, b"half", sync=sync)
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["x"]


def test_a_link_is_replaced_and_what_it_stands_for_stays(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("mine")
    (tmp_path / "x").symlink_to(other)
    write_whole(tmp_path / "x", b"new")
    assert other.read_text() == "mine"
    assert (tmp_path / "x").read_bytes() == b"new"
    assert not (tmp_path / "x").is_symlink()


@pytest.mark.parametrize("kind", ["link", "dangling link", "hard link", "pipe"])
def test_nothing_is_written_in_place_that_is_another_file_too(tmp_path: Path, kind: str) -> None:
    path, other = tmp_path / "x", tmp_path / "other"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "hard link":
        other.write_text("mine")
        path.hardlink_to(other)
    else:
        path.symlink_to(other)
    if kind == "link":
        other.write_text("mine")
    with pytest.raises(ResultsError, match=r"x' is a link or no plain file, .*; remove it, or put a copy"):
        os.close(open_own(path, os.O_RDWR))
    assert not other.exists() or other.read_text() == "mine"
