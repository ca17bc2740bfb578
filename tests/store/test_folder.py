"""Results folders: names, refusals, finding them again."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tlsweep.errors import ResultsError
from tlsweep.store import create_sweep_folder, find_sweep_folder, list_sweep_folders
from tlsweep.store.files import replace_file, write_text


def test_a_taken_default_name_is_numbered(tmp_path: Path) -> None:
    names = [create_sweep_folder(tmp_path / "results", "digits", exact=False).name for _ in range(3)]
    assert names == ["digits", "digits-2", "digits-3"]


def test_a_name_that_was_asked_for_is_never_shared(tmp_path: Path) -> None:
    create_sweep_folder(tmp_path, "mine", exact=True)
    folder = create_sweep_folder(tmp_path, "mine", exact=True)  # a launch that was killed at once left nothing yet
    folder.spec.touch()
    with pytest.raises(ResultsError, match="holds another sweep already; give this one another --name"):
        create_sweep_folder(tmp_path, "mine", exact=True)


@pytest.mark.parametrize("name", ["../elsewhere", "a/b", "/tmp/x", "my sweep", ".hidden", "", "x\n"])
def test_a_name_is_one_folder_below_the_results(tmp_path: Path, name: str) -> None:
    with pytest.raises(ResultsError, match="is no name for a sweep; use letters"):
        create_sweep_folder(tmp_path / "results", name, exact=True)
    assert list(tmp_path.iterdir()) == []


def test_a_results_folder_that_cannot_be_written_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ResultsError, match="choose a folder you may write to with --results"):
        create_sweep_folder(tmp_path / "file", "mine", exact=False)


@contextmanager
def nobody() -> Iterator[None]:
    """Root may write everywhere: be somebody else for a while."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(before)


@pytest.mark.parametrize("exact", [True, False])
def test_no_write_permission_is_one_message(tmp_path: Path, exact: bool) -> None:
    tmp_path.chmod(0o500)
    with nobody(), pytest.raises(ResultsError, match="cannot write results to .*: Permission denied"):
        create_sweep_folder(tmp_path, "mine", exact=exact)


def test_sweeps_are_found_by_name_by_path_and_the_newest_without_either(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="start one with tlsweep launch"):
        find_sweep_folder(tmp_path)
    for age, name in enumerate(("a-2", "a-10", "b")):
        folder = create_sweep_folder(tmp_path, name, exact=True)
        folder.journal.touch()
        os.utime(folder.journal, (1000 - age, 1000 - age))
    assert [one.name for one in list_sweep_folders(tmp_path)] == ["a-2", "a-10", "b"]
    assert find_sweep_folder(tmp_path).name == "a-2"
    assert find_sweep_folder(tmp_path, "b").name == "b"
    assert find_sweep_folder(Path("elsewhere"), str(tmp_path / "b")).name == "b"
    with pytest.raises(ResultsError, match="there are: a-2, a-10, b"):
        find_sweep_folder(tmp_path, "c")


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "x"
    write_text(path, "old")
    with pytest.raises(RuntimeError), replace_file(path) as temporary:  # noqa: PT012
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["x"]
