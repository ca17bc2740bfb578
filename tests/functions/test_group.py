"""One trial in several processes: what they agree on, and how they end."""

import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest
from outcomes import numbers
from own_functions import QUADRATIC
from without_ray import Killed, run_function_sweep

from tlsweep.errors import FunctionError
from tlsweep.functions import FunctionReport, run_function
from tlsweep.functions.group import GroupFailed
from tlsweep.functions.sharing import shared
from tlsweep.functions.trial import Terms
from tlsweep.spec import FunctionSpec, load_spec
from tlsweep.training import Compute

VALUES = {"lr": 0.05, "batch_size": 16, "momentum": 0.5, "scale": 1.0, "form": "a"}
# Each starts two programs that import torch.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def run(
    function: str,
    tmp_path: Path,
    *,
    processes: int = 2,
    resume: bytes | None = None,
    hear: Callable[[FunctionReport], None] = lambda row: None,
    said: list[str] | None = None,
) -> tuple[list[FunctionReport], list[bytes]]:
    rows: list[FunctionReport] = []
    states: list[bytes] = []

    def report(row: FunctionReport, snapshot: Callable[[], Callable[[], bytes]]) -> None:
        rows.append(row)
        states.append(snapshot()())
        hear(row)

    run_function(
        Terms(f"own_functions:{function}", 3, "distance", processes=processes),
        VALUES,
        7,
        report=report,
        share=partial(shared, tmp_path / "shared" / "token"),
        resume=resume,
        compute=Compute("cpu", threads=2),
        log=[].append if said is None else said.append,
    )
    return rows, states


@pytest.fixture
def left_behind() -> Callable[[], set[psutil.Process]]:
    """Return what says which processes this one has that it had not before: other tests keep theirs."""
    before = set(psutil.Process().children())
    return lambda: set(psutil.Process().children()) - before


def distances(rows: list[FunctionReport]) -> list[float]:
    return [row.metrics["distance"] for row in rows]


def test_two_processes_with_half_a_batch_each_are_one_with_the_whole(tmp_path: Path) -> None:
    """As torch says of DistributedDataParallel: gradients are means over processes."""
    said: list[str] = []
    rows, states = run("in_parallel", tmp_path, said=said)
    alone, _ = run("in_parallel", tmp_path, processes=1)
    assert [row.epoch for row in rows] == [1, 2, 3]
    assert distances(rows) == pytest.approx(distances(alone), rel=1e-12)
    assert sorted(said) == ["process 0 of 2 has 1 thread", "process 1 of 2 has 1 thread"]
    again, _ = run("in_parallel", tmp_path, resume=states[0])
    assert distances(again) == distances(rows)[1:]


def test_all_end_where_the_sweep_ends_the_trial(tmp_path: Path, left_behind: Callable[[], set[psutil.Process]]) -> None:
    class Ended(BaseException):
        pass

    def end(row: FunctionReport) -> None:
        if row.epoch == 2:
            raise Ended

    with pytest.raises(Ended):
        run("in_parallel", tmp_path, hear=end)
    assert not left_behind()


BROKEN: dict[str, tuple[type[Exception], str]] = {
    "one_returns_early": (FunctionError, "its processes go through different epochs (one reports 2, one returned)"),
    "one_reports_nothing_new": (FunctionError, "epoch 1 is reported already"),
    "one_raises": (GroupFailed, "process 1 of 2 of the trial failed"),
    "all_break": (GroupFailed, "BdbQuit"),
    "one_dies": (GroupFailed, "process 1 of 2 of the trial died"),
}


@pytest.mark.parametrize("function", BROKEN)
def test_where_one_fails_all_end_and_the_reason_is_said(
    function: str, tmp_path: Path, left_behind: Callable[[], set[psutil.Process]]
) -> None:
    kind, said = BROKEN[function]
    with pytest.raises(kind, match=".") as raised:
        run(function, tmp_path)
    assert said in str(raised.value)
    assert not left_behind()
    if function == "one_raises":
        assert "ZeroDivisionError" in str(raised.value)
        assert "in one_raises" in str(raised.value)


STARTS_TWO = """
import psutil, signal, sys
from pathlib import Path
import test_group
def tell(row):
    print(*(child.pid for child in psutil.Process().children()), flush=True)
    signal.pause()
test_group.run("in_parallel", Path(sys.argv[1]), hear=tell)
"""


def test_they_end_with_the_process_that_started_them(tmp_path: Path) -> None:
    folders = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    with subprocess.Popen(
        [sys.executable, "-c", STARTS_TWO, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": folders},
    ) as parent:
        assert parent.stdout is not None
        children = [psutil.Process(int(pid)) for pid in parent.stdout.readline().split()]
        parent.kill()
    assert len(children) == 2
    assert psutil.wait_procs(children, timeout=60)[1] == []


def test_a_sweep_over_it_is_the_same_when_it_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    search = {**QUADRATIC["search"], "trials": 2, "min_epochs": 1}
    resources: dict[str, Any] = {"processes": 2, "cpus": 2}
    spec = load_spec(
        {**QUADRATIC, "trial": "own_functions:in_parallel", "epochs": 2, "search": search, "resources": resources}
    )
    assert isinstance(spec, FunctionSpec)
    whole = run_function_sweep(tmp_path / "whole", spec, monkeypatch)
    left = iter(range(2, -1, -1))
    with pytest.raises(Killed):
        run_function_sweep(tmp_path / "killed", spec, monkeypatch, lambda: next(left) == 0)
    killed = run_function_sweep(tmp_path / "killed", spec, monkeypatch)
    for table in ("reports", "trials"):
        pd.testing.assert_frame_equal(numbers(killed, table), numbers(whole, table))
