"""What trials on a machine share: made once, whoever asks first, without a copy, and removed when nobody uses it."""

import multiprocessing
import os
from pathlib import Path

import pytest
import torch

from tlsweep.errors import FunctionError
from tlsweep.functions import sharing
from tlsweep.functions.sharing import shared

SPAWN = multiprocessing.get_context("spawn")


def ask(folder: Path, made: Path) -> float:
    def make() -> dict[str, torch.Tensor]:
        with made.open("a") as file:
            file.write(f"{os.getpid()}\n")
        return {"images": torch.arange(1000.0)}

    return float(shared(folder, "images", make)["images"].sum())


def test_many_processes_make_it_once(tmp_path: Path) -> None:
    with SPAWN.Pool(3) as pool:
        sums = pool.starmap(ask, [(tmp_path / "all/launch", tmp_path / "made")] * 6)
    assert set(sums) == {float(sum(range(1000)))}
    assert len((tmp_path / "made").read_text().split()) == 1


def test_what_one_trial_writes_into_it_no_other_sees(tmp_path: Path) -> None:
    folder = tmp_path / "all/launch"
    mine = shared(folder, "x", lambda: torch.zeros(5))
    mine += 1
    assert shared(folder, "x", lambda: torch.full((5,), 7.0)).tolist() == [0.0] * 5


def test_folders_that_no_process_uses_are_removed_and_others_stay(tmp_path: Path) -> None:
    with SPAWN.Pool(1) as pool:
        pool.starmap(ask, [(tmp_path / "all/ended", tmp_path / "made")])
    with SPAWN.Pool(1) as pool:
        pool.starmap(ask, [(tmp_path / "all/running", tmp_path / "made")])
        assert not (tmp_path / "all/ended").exists()
        shared(tmp_path / "all/mine", "x", dict)
        assert sorted(path.name for path in (tmp_path / "all").iterdir()) == ["mine", "running"]


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "x" * 101, 3])
def test_a_name_is_no_path(tmp_path: Path, name: str) -> None:
    with pytest.raises(FunctionError, match="a name has letters"):
        shared(tmp_path / "all/launch", name, dict)


def test_a_folder_of_somebody_else_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing.os, "getuid", lambda: os.geteuid() + 1)
    with pytest.raises(FunctionError, match="belongs to somebody else"):
        shared(tmp_path / "all/launch", "x", dict)
