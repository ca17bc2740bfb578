"""A folder that was renamed or copied goes on all the same; and what cannot go on is known before anything is done."""

import errno
import os
import re
import shutil
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from another_user import nobody, open_to_all
from builders import make_ended_sweep
from simulated_sweep import BASE, SimulatedSweep

from tlsweep.errors import ResultsError
from tlsweep.report import find_best, load_tables, repair
from tlsweep.report.recipe import confirmation
from tlsweep.spec import SweepSpec, load_spec
from tlsweep.store import Journal, Results, open_results
from tlsweep.store.folder import name_like
from tlsweep.sweep import driver, launch, resume
from tlsweep.sweep.subjects import images

NAMES = ["my sweep (copy)", "..x", "ünï", "a'b", "x" * 250, "%h$(id)"]


def digits(*overrides: str) -> SweepSpec:
    """The digits with a tiny network of random weights."""
    base = {
        "data": {"source": "digits", "labels_per_class": 5},
        "model": {"name": "mlp", "args": {"hidden": [8]}},
        "train": {"epochs": 1, "lr": {"loguniform": [1e-4, 1e-1]}, "batch_size": 8},
        "search": {"strategy": "random", "trials": 2},
    }
    return load_spec(base, overrides)


@pytest.fixture(name="open_to_all")
def reachable(tmp_path: Path) -> Path:
    """A folder that others can reach."""
    open_to_all(tmp_path)
    return tmp_path


def simulated(path: Path) -> Path:
    """A sweep that has ended, which the rules can follow, and whose images have the fingerprint `f`."""
    sweep = SimulatedSweep(path / "demo")
    winner = sweep.launch().winner("main")
    assert winner is not None
    evaluated = {
        "type": "event", "stage": "random", "arm": "main", "trial": winner.trial, "generation": 0, "kind": "evaluated",
        "epoch": winner.epoch, "details": {"trial": winner.trial, "accuracy": 0.5}, "time": 2e9, "elapsed": 1e3,
    }  # fmt: skip
    journal = Journal(path / "demo/journal.jsonl")
    journal.append(evaluated)
    journal.close()
    other = make_ended_sweep(path / "other")
    shutil.copytree(other / "best", path / "demo/best")
    shutil.copy(other / "predictions.parquet", path / "demo")
    shutil.rmtree(path / "other")
    return path / "demo"


@pytest.fixture
def no_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """The images of the synthetic sweep, which only have a fingerprint."""
    monkeypatch.setattr(images, "read_images", lambda *_, **__: SimpleNamespace(fingerprint="f", notes=(), remarks=()))


@pytest.mark.usefixtures("no_images")
@pytest.mark.parametrize("name", NAMES)
def test_a_finished_sweep_whose_folder_was_renamed_is_resumed_and_read(tmp_path: Path, name: str) -> None:
    simulated(tmp_path).rename(tmp_path / name)  # without spec, tables and recipe
    results = resume(name, results=tmp_path)
    assert results.spec.search == load_spec(BASE).search
    assert set(results.reports["sweep"].to_pylist()) == {name}
    assert find_best(load_tables(open_results(name, tmp_path))).trial in {"t0000", "t0001", "t0002", "t0003"}
    assert load_spec(confirmation(results, 2) | {"name": f"{name_like(name)}-confirmed"})
    assert repair(results.folder) == []
    assert resume(name, results=tmp_path).spec == results.spec


@pytest.mark.slow
def test_an_unfinished_sweep_whose_folder_was_copied_goes_on_to_its_end(ray_address: str, tmp_path: Path) -> None:
    name = "my sweep (copy)"
    first = launch(digits("search.trials=2"), results=tmp_path, name="mine", address=ray_address)
    copy = tmp_path / name
    shutil.copytree(str(first.path), copy)
    shutil.rmtree(copy / "best")
    (copy / "reports.parquet").unlink()
    more = digits("search.trials=3")
    results = resume(name, lambda stored: load_spec(stored, ["search.trials=3"]), results=tmp_path, address=ray_address)
    assert (len(results.reports), results.spec.search, results.spec.name) == (3, more.search, "mine")
    assert (copy / "best/model.safetensors").exists()
    shutil.rmtree(copy / "best")  # with nothing left to train
    assert "best/model.json' is missing" in repair(results.folder)[0]
    again = resume(name, results=tmp_path, address=ray_address)
    assert (copy / "best/model.safetensors").exists()
    assert repair(again.folder) == []
    assert len(again.reports) == 3
    assert len(Results(first.folder).reports) == 2  # the copy is another sweep


def stopped_before(monkeypatch: pytest.MonkeyPatch, act: Any) -> str:
    """The error of a launch or resume that reads no images and starts no Ray."""

    def never(*args: Any, **options: Any) -> None:
        raise AssertionError("too late")

    monkeypatch.setattr(images, "read_images", never)
    monkeypatch.setattr(driver, "RayStart", never)
    with pytest.raises(ResultsError) as refused:
        act()
    assert "\n" not in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize(
    ("results", "name", "said"),
    [
        ("file", "mine", "cannot write results to '.*/file/mine': Not a directory; choose a folder"),
        ("file/below", "mine", "cannot write results to .*: Not a directory; choose a folder"),
        ("locked", "mine", "cannot write results to .*: Permission denied; choose a folder"),
        ("locked/below", None, "cannot write results to .*: Permission denied; choose a folder"),
        (".", "x" * 201, "'x+' is no name for a sweep; .* at most 200"),
        (".", "a/b", "'a/b' is no name for a sweep; use letters"),
        (".", "taken", "holds another sweep already; give this one another --name"),
    ],
)
def test_what_cannot_become_a_sweep_is_known_before_images_are_read(
    open_to_all: Path, monkeypatch: pytest.MonkeyPatch, results: str, name: str | None, said: str
) -> None:
    (open_to_all / "file").touch()
    (open_to_all / "locked").mkdir(mode=0o555)
    (open_to_all / "taken").mkdir()
    (open_to_all / "taken/spec.yaml").touch()
    before = sorted(open_to_all.rglob("*"))
    with nobody():
        error = stopped_before(monkeypatch, lambda: launch(digits(), results=open_to_all / results, name=name))
    assert re.search(said, error), error
    assert sorted(open_to_all.rglob("*")) == before


@pytest.mark.parametrize("what", ["read-only", "journal read-only", "full", "a folder for a file", "link"])
def test_a_resume_that_cannot_write_is_refused_before_anything_is_done(
    open_to_all: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    path = make_ended_sweep(open_to_all)
    expected = {
        "read-only": "cannot write to sweep 'demo'",
        "journal read-only": r"cannot write to sweep 'demo' .* Permission denied \('journal.jsonl'\)",
        "full": r"cannot write '.*/\.lock': No space left on device",
        "a folder for a file": "events.parquet' stands where a file of the sweep's belongs; move it",
        "link": "events.parquet' is a link",
    }[what]
    if what == "read-only":
        (path / ".lock").unlink()
        path.chmod(0o555)
    elif what == "journal read-only":
        path.chmod(0o777)
        (path / ".lock").chmod(0o666)
        (path / "journal.jsonl").chmod(0o444)
    elif what == "full":

        def full(file: int, data: bytes) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(os, "write", full)
    else:
        (path / "events.parquet").rename(open_to_all / "away")
        if what == "link":
            (path / "events.parquet").symlink_to(open_to_all / "away")
        else:
            (path / "events.parquet").mkdir()
    with nobody() if "only" in what else nullcontext():
        error = stopped_before(monkeypatch, lambda: resume("demo", results=open_to_all))
    assert re.search(expected, error), error
