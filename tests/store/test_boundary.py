"""Through a link in a sweep's folder nothing is read, written or removed."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from builders import make_sweep

from tlsweep.errors import ResultsError
from tlsweep.store import Journal, SweepFolder, create_sweep_folder, find_sweep_folder, lock_folder
from tlsweep.store.boundary import real_file

READ = ["spec.yaml", "environment.json", "journal.jsonl", "recipe.yaml", "reports.parquet", "trials.parquet", "best",
        "best/model.json", "best/model.safetensors", "tensorboard"]  # fmt: skip
WRITTEN = [*READ, ".lock", "ray.log", "folds.parquet", "checkpoints", "checkpoints/t0000",
           "checkpoints/t0000/g0-e0001-01234567.pt"]  # fmt: skip


def plant(folder: Path, name: str, other: Path) -> Path:
    """Put a link to a file or folder of somebody else's in place of a file of the sweep's; what it leads to."""
    location = folder / name
    location.parent.mkdir(exist_ok=True, parents=True)
    if location.exists():
        location.rename(folder.parent / "away")
    if location.suffix or name == ".lock":
        other.write_text("mine")
    else:
        other.mkdir()
        (other / "keys").write_text("mine")
    location.symlink_to(other)
    return other


def state_of(other: Path) -> str:
    return (other / "keys" if other.is_dir() else other).read_text()


@pytest.mark.parametrize("name", READ)
def test_what_only_reads_follows_no_link(tmp_path: Path, name: str) -> None:
    plant(make_sweep(tmp_path).folder.path, name, tmp_path / "other")  # type: ignore[arg-type]
    for find in (lambda: find_sweep_folder(tmp_path), lambda: find_sweep_folder(tmp_path, "demo")):
        with pytest.raises(ResultsError, match=rf"demo/{name}' is a link; .* remove it, or put a copy of what it"):
            find()


@pytest.mark.parametrize("name", WRITTEN)
def test_nothing_is_written_or_removed_through_a_link(tmp_path: Path, name: str) -> None:
    folder = make_sweep(tmp_path).folder
    other = plant(folder.path, name, tmp_path / "other")  # type: ignore[arg-type]
    with (
        pytest.raises(ResultsError, match=rf"{name}' is a link"),
        lock_folder(folder, lambda text: None),
    ):
        pass
    assert state_of(other) == "mine"


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: os.symlink("/dev/zero", path)])
@pytest.mark.parametrize("name", ["journal.jsonl", ".lock", "spec.yaml"])
def test_a_pipe_or_a_device_is_not_waited_for(tmp_path: Path, make: Callable[[Path], None], name: str) -> None:
    folder = make_sweep(tmp_path).folder
    (folder.path / name).unlink(missing_ok=True)  # type: ignore[union-attr]
    make(folder.path / name)  # type: ignore[arg-type]
    with pytest.raises(ResultsError, match="is (a link|no plain file)"), lock_folder(folder, lambda text: None):
        pass


@pytest.mark.parametrize("kind", ["link", "hard link"])
def test_the_journal_and_the_lock_are_opened_as_files_of_their_own(tmp_path: Path, kind: str) -> None:
    """Whatever looked before: what is written in place is no link at that moment."""
    other = tmp_path / "other"
    other.write_text("mine")
    if kind == "link":
        (tmp_path / "journal.jsonl").symlink_to(other)
    else:
        (tmp_path / "journal.jsonl").hardlink_to(other)
    with pytest.raises(ResultsError, match="tlsweep writes only files of its own"):
        Journal(tmp_path / "journal.jsonl")
    assert other.read_text() == "mine"


@pytest.mark.parametrize("link", ["sweep", "results"])
def test_the_folder_itself_may_be_a_link(tmp_path: Path, link: str) -> None:
    """The user made it; and what holds it."""
    elsewhere, results = tmp_path / "elsewhere", tmp_path / "results"
    make_sweep(elsewhere)
    if link == "sweep":
        results.mkdir()
        (results / "demo").symlink_to(elsewhere / "demo")
    else:
        results.symlink_to(elsewhere)
    folder = find_sweep_folder(results, "demo")
    assert folder.path == elsewhere / "demo"
    with lock_folder(folder, lambda text: None):
        pass


def test_a_new_sweep_begins_in_no_folder_with_links(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "mine/checkpoints").symlink_to(tmp_path / "other")
    folder = create_sweep_folder(tmp_path, "mine", exact=True)
    with pytest.raises(ResultsError, match="checkpoints' is a link"), lock_folder(folder, lambda text: None):
        pass


@pytest.mark.parametrize("link", ["checkpoints", "checkpoints/t0000", "checkpoints/t0000/g0-e0001-01234567.pt"])
def test_a_checkpoint_behind_a_link_is_not_read(tmp_path: Path, link: str) -> None:
    path, folder = "checkpoints/t0000/g0-e0001-01234567.pt", SweepFolder(tmp_path / "it")
    other = tmp_path / "other" / path
    other.parent.mkdir(parents=True)
    other.write_bytes(b"x")
    (tmp_path / "it" / link).parent.mkdir(parents=True)
    (tmp_path / "it" / link).symlink_to(tmp_path / "other" / link)
    assert (tmp_path / "it" / path).exists()
    assert not real_file(tmp_path / "it", path)
    with pytest.raises(OSError, match="leads out of the sweep's folder"):
        folder.read_checkpoint(path)


@pytest.mark.parametrize("path", ["/etc/hostname", "../x", "checkpoints/../../x", "spec.yaml"])
def test_only_a_checkpoint_is_read_as_one(tmp_path: Path, path: str) -> None:
    (tmp_path / "spec.yaml").touch()
    with pytest.raises(OSError, match="leads out of the sweep's folder"):
        SweepFolder(tmp_path).read_checkpoint(path)


def test_a_folder_in_which_nothing_began_loses_only_what_a_launch_writes(tmp_path: Path) -> None:
    folder = create_sweep_folder(tmp_path, "mine", exact=True)
    (tmp_path / "mine/checkpoints/keys").write_text("mine")
    folder.spec.write_bytes(b"x")
    folder.discard_if_unused()
    assert [path.name for path in (tmp_path / "mine").rglob("*")] == ["checkpoints", "keys"]
    (tmp_path / "mine/checkpoints/keys").unlink()
    folder.discard_if_unused()
    assert not (tmp_path / "mine").exists()
