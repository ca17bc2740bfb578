"""Loops as people have them become sweepable in a few lines, and are then searched, stopped, bred and resumed."""

import difflib
import random
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from outcomes import numbers
from without_ray import Killed, run_function_sweep

from tlsweep.planning.function_plan import make_function_plan
from tlsweep.spec import FunctionSpec, load_spec

HERE = Path(__file__).parent
LR = {"loguniform": [1e-4, 0.1]}
EXAMPLES: dict[str, dict[str, Any]] = {
    "table": {
        "trial": "table:train",
        "space": {"lr": LR, "batch_size": {"powers_of_two": [16, 64]}, "hidden": {"choice": [4, 16]}},
        "epochs": 4,
        "search": {"strategy": "asha", "trials": 5, "metric": "malignant_found", "mode": "max"},
    },
    "text": {
        "trial": "text:train",
        "space": {"lr": LR, "batch_size": {"powers_of_two": [16, 64]}, "width": {"choice": [8, 16]}},
        "epochs": 4,
        "search": {"strategy": "pbt", "population": 3, "quantile": 0.5},
    },
}

every_example = pytest.mark.parametrize("name", EXAMPLES)


def example(name: str, monkeypatch: pytest.MonkeyPatch) -> FunctionSpec:
    monkeypatch.syspath_prepend(HERE)
    spec = load_spec(EXAMPLES[name])
    assert isinstance(spec, FunctionSpec)
    return spec


@every_example
def test_a_plain_loop_becomes_sweepable_in_fifteen_changed_lines(name: str) -> None:
    plain, sweepable = (
        (HERE / f"{file}.py").read_text(encoding="utf-8").partition("\n\nif __name__")[0].splitlines()
        for file in (f"{name}_plain", name)
    )
    changes = [line for line in difflib.ndiff(plain[1:], sweepable[1:]) if line.startswith("+ ")]
    assert 10 <= len(changes) <= 15


@every_example
def test_its_sweep_is_the_same_when_it_is_killed_and_resumed(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, chance = example(name, monkeypatch), random.Random(0)
    whole = run_function_sweep(tmp_path / "whole", spec, monkeypatch)
    for _ in range(3):
        left = iter(range(chance.randint(1, 3), -1, -1))
        with pytest.raises(Killed):
            run_function_sweep(tmp_path / "killed", spec, monkeypatch, lambda left=left: next(left) == 0)
    killed = run_function_sweep(tmp_path / "killed", spec, monkeypatch)
    for table in ("reports", "trials"):
        pd.testing.assert_frame_equal(numbers(killed, table), numbers(whole, table))
    assert whole.winner() is not None


@every_example
def test_check_finds_nothing_wrong_with_it(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = make_function_plan(example(name, monkeypatch), results=tmp_path)
    assert plan.lr == "a changed lr reaches the optimizer after a restore"
