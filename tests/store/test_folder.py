"""Results folders: names, refusals, finding them again."""

import errno
import os
from pathlib import Path

import pytest
from another_user import nobody, open_to_all

from tlsweep.errors import ResultsError
from tlsweep.store import create_sweep_folder, find_sweep_folder, list_sweep_folders
from tlsweep.store.files import write_text
from tlsweep.store.folder import check_new_sweep


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


@pytest.mark.parametrize("call", ["create", "check"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.ESTALE])
@pytest.mark.parametrize("below", [".", "new", "new/deeper"])
def test_a_disk_that_refuses_is_found_before_images_are_read_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int, below: str
) -> None:
    def refuse(path: Path, content: bytes) -> int:
        path.touch()  # a full disk takes names, and no content
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "write_bytes", refuse)
    begin = {"create": create_sweep_folder, "check": check_new_sweep}[call]
    with pytest.raises(ResultsError, match=f"cannot write results to .*: {os.strerror(number)}; choose a folder"):
        begin(tmp_path / below, "mine", exact=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("below", ["it", "it/checkpoints", "it/best/new", "link", "link/new"])
def test_no_sweep_begins_in_the_folder_of_another(tmp_path: Path, below: str) -> None:
    folder = create_sweep_folder(tmp_path, "it", exact=True)
    write_text(folder.spec, "name: it\n")
    write_text(folder.journal, "{}\n")
    (tmp_path / "link").symlink_to(tmp_path / "it")
    said = f"belongs to the sweep 'it'; name the folder that holds sweeps with --results {tmp_path}, or go on with"
    with pytest.raises(ResultsError, match=f"{said} that sweep with 'tlsweep resume it --results {tmp_path}'"):
        check_new_sweep(tmp_path / below, "mine", exact=False)


@pytest.mark.parametrize("name", ["spec.yaml", "journal.jsonl", "checkpoints", ".lock"])
def test_a_folder_with_files_that_are_called_like_those_of_a_sweep_may_hold_sweeps(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    assert create_sweep_folder(tmp_path, "mine", exact=True).name == "mine"


@pytest.mark.parametrize("name", [None, "it", "other"])
def test_a_sweep_that_is_given_as_the_folder_that_holds_sweeps_is_named_as_what_it_is(
    tmp_path: Path, name: str | None
) -> None:
    folder = create_sweep_folder(tmp_path, "it", exact=True)
    write_text(folder.spec, "name: it\n")
    write_text(folder.journal, "{}\n")
    with pytest.raises(ResultsError, match=f"/it' is itself a sweep; .*: it --results {tmp_path}$"):
        find_sweep_folder(tmp_path / "it", name)


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


@pytest.mark.parametrize(
    ("results", "name", "said"),
    [
        ("file", None, "file' is a file; name the folder that holds sweeps with --results"),
        ("file", "mine", "file' is a file; name the folder"),
        (".", "x" * 300, "cannot read .*: File name too long"),
        (".", "x\0", r"there is no sweep 'x\\x00'"),
        (".", "\x1b]0;x\x07", r"there is no sweep '\\x1b"),
    ],
)
def test_what_cannot_be_found_is_one_line(tmp_path: Path, results: str, name: str | None, said: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ResultsError, match=said) as refused:
        find_sweep_folder(tmp_path / results, name)
    assert str(refused.value).isprintable()


def test_the_folder_of_another_user_is_passed_over(tmp_path: Path) -> None:
    for name in ("mine", "theirs"):
        write_text(create_sweep_folder(tmp_path, name, exact=True).journal, "")
    (tmp_path / "theirs").chmod(0)
    open_to_all(tmp_path)
    with nobody():
        assert [folder.name for folder in list_sweep_folders(tmp_path)] == ["mine"]
        assert find_sweep_folder(tmp_path).name == "mine"
