"""A function of the user's own through a real Ray: decided as in one process, whatever processes are killed."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import own_functions
import pandas as pd
import pytest
import yaml
from command_line import CommandLine, command_line, wait_until
from completeness import assert_complete
from outcomes import decisions, numbers
from own_functions import QUADRATIC
from without_ray import run_function_sweep

from tlsweep.errors import FunctionError, SweepFailed
from tlsweep.spec import FunctionSpec, load_spec
from tlsweep.store import Results, SweepFolder, read_journal
from tlsweep.sweep import launch, resume

PBT = {
    "strategy": "pbt",
    "population": 4,
    "quantile": 0.5,
    "metric": "distance",
    "mode": "min",
    "mutate": ["lr", "scale"],
}
SUPPORT = Path(own_functions.__file__).parent


def function_spec(**changes: Any) -> FunctionSpec:
    spec = load_spec({**QUADRATIC, "resources": {"concurrent": 1}, **changes})
    assert isinstance(spec, FunctionSpec)
    return spec


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start from the folder where the functions lie, as their user would."""
    monkeypatch.chdir(SUPPORT)
    monkeypatch.syspath_prepend(SUPPORT)


@pytest.fixture
def tlsweep(tmp_path: Path) -> Iterator[CommandLine]:
    shutil.copy(own_functions.__file__, tmp_path / "own_functions.py")
    with command_line(tmp_path) as commands:
        yield commands


@pytest.mark.slow
@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("search", [QUADRATIC["search"], PBT], ids=["asha", "pbt"])
def test_on_ray_it_is_decided_as_in_one_process(
    ray_address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, search: dict[str, Any]
) -> None:
    spec = function_spec(search=search)
    on_ray = launch(spec, results=tmp_path, name="ray", address=ray_address)
    here = run_function_sweep(tmp_path / "here", spec, monkeypatch)
    assert_complete(on_ray)
    assert decisions(on_ray) == decisions(here)
    pd.testing.assert_frame_equal(numbers(on_ray, "reports"), numbers(here, "reports"))
    assert (on_ray.path / "best/state.pt").read_bytes() == (here.path / "best/state.pt").read_bytes()


@pytest.mark.slow
@pytest.mark.usefixtures("here")
def test_a_worker_that_dies_goes_on_and_a_broken_contract_is_not_tried_again(ray_address: str, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    space = {**QUADRATIC["space"], "marker": str(marker)}
    died = launch(
        function_spec(trial="own_functions:dies_once", space=space, search={**QUADRATIC["search"], "trials": 3}),
        results=tmp_path, name="died", address=ray_address,
    )  # fmt: skip
    assert marker.exists()
    assert_complete(died)
    assert [event["kind"] for event in read_journal(died.folder.journal) if event.get("kind") == "retried"] == [
        "retried"
    ]
    with pytest.raises(SweepFailed, match="lacks distance, which search.metric compares"):
        launch(function_spec(trial="own_functions:no_metric"), results=tmp_path, name="broken", address=ray_address)
    kinds = [event.get("kind") for event in read_journal(tmp_path / "broken/journal.jsonl")]
    assert "retried" not in kinds


@pytest.mark.slow
@pytest.mark.usefixtures("here")
def test_what_finalises_it_is_called_once_for_each_function(ray_address: str, tmp_path: Path) -> None:
    search = {**QUADRATIC["search"], "strategy": "random", "trials": 2}
    found = launch(function_spec(search=search, epochs=2), results=tmp_path, name="mine", address=ray_address)
    recipe = (found.path / "recipe.yaml").read_text()

    def finalised_by(function: str | None) -> list[str]:
        spec = function_spec(search=search, epochs=2, finalise=function)
        resume("mine", spec=spec, results=tmp_path, address=ray_address)
        return [
            event["details"]["by"] for event in read_journal(found.folder.journal) if event.get("kind") == "evaluated"
        ]

    with pytest.raises(FunctionError, match="the trials and best/state.pt are kept"):
        finalised_by("own_functions:finalises_to_text")
    first, second = "own_functions:measures_quadratic", "own_functions:reports_nothing"
    assert finalised_by(first) == finalised_by(first) == [first]
    assert (found.path / "best/weight.pt").exists()
    assert finalised_by(second) == [first, second]
    assert (found.path / "recipe.yaml").read_text() == recipe


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_driver_that_is_killed_changes_nothing(
    ray_address: str, tlsweep: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = {**QUADRATIC, "trial": "own_functions:slow_quadratic", "search": PBT, "resources": {"concurrent": 1}}
    (tlsweep.cwd / "spec.yaml").write_text(yaml.safe_dump(spec))
    folder, command = tlsweep.results / "killed", ["launch", "spec.yaml", "--name", "killed"]
    with tlsweep.start(*command, "--address", ray_address) as running:
        wait_until(lambda: size(folder) > 6 or running.process.poll() is not None)
        running.process.kill()
        running.process.wait()
    ended = tlsweep.run("resume", "killed", "--address", ray_address)
    assert ended.code == 0, ended
    found = Results(SweepFolder(folder))
    whole = load_spec(tlsweep.cwd / "spec.yaml")
    assert isinstance(whole, FunctionSpec)
    expected = run_function_sweep(tlsweep.results / "whole", whole, monkeypatch)
    assert_complete(found)
    assert decisions(found) == decisions(expected)
    for table in ("reports", "trials"):
        pd.testing.assert_frame_equal(numbers(found, table), numbers(expected, table))


def size(folder: Path) -> int:
    """Lines of a sweep's journal."""
    journal = folder / "journal.jsonl"
    return journal.read_bytes().count(b"\n") if journal.exists() else 0
