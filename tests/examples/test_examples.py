"""Loops as people have them become sweepable in a few lines, and are then searched, stopped, bred and resumed."""

import difflib
import random
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pytest
from outcomes import numbers
from without_ray import Killed, run_function_sweep

from tlsweep.planning.function_plan import make_function_plan
from tlsweep.spec import FunctionSpec, load_spec

pytestmark = [
    pytest.mark.filterwarnings(f"ignore:{what}")
    for what in (
        "`is_gradient_checkpointing` is deprecated",  # peft asks transformers for it
        "The `srun` command is available",  # Lightning looks for Slurm
        "The '.*' does not have many workers",
        "`isinstance\\(treespec, LeafSpec\\)` is deprecated",
    )
]
HERE = Path(__file__).parent
LR = {"loguniform": [1e-3, 0.1]}
BATCH_SIZE = {"powers_of_two": [16, 64]}
SEARCHES = {
    "asha": {"strategy": "asha", "trials": 5},
    "pbt": {"strategy": "pbt", "population": 3, "quantile": 0.5},
}


class Example(NamedTuple):
    """A function under this folder, what it is called with, and what it is judged by."""

    function: str
    own: dict[str, Any]
    """Hyperparameters beside lr and batch size; one whose states differ is constant in a PBT, which copies them."""
    judged: dict[str, Any]
    needs: str = "torch"


EXAMPLES = {
    "table": Example("table:train", {"hidden": 16}, {"metric": "malignant_found", "mode": "max"}),
    "text": Example("text:train", {"width": 16}, {}),
    "segmentation": Example("segmentation:train", {"width": 8}, {"metric": "val_dice", "mode": "max"}),
    "module": Example("module:finetune", {"hidden": 16}, {"metric": "val_loss"}, "lightning"),
    "transformer": Example("transformer:finetune", {}, {}, "transformers"),
    "lora": Example("lora:finetune", {"lora_rank": 4}, {"metric": "val_loss"}, "peft"),
}

every_example = pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if found.needs == "torch" else pytest.mark.slow)  # others take seconds to import
        for name, found in EXAMPLES.items()
    ],
)
every_search = pytest.mark.parametrize("search", ["asha", pytest.param("pbt", marks=pytest.mark.slow)])


def example(name: str, search: str, monkeypatch: pytest.MonkeyPatch) -> FunctionSpec:
    found = EXAMPLES[name]
    pytest.importorskip(found.needs)
    monkeypatch.syspath_prepend(HERE)
    own = found.own if search == "pbt" else {key: {"choice": [value // 2, value]} for key, value in found.own.items()}
    space = {"lr": LR, "batch_size": BATCH_SIZE, **own}
    spec = load_spec({"trial": found.function, "space": space, "epochs": 4, "search": SEARCHES[search] | found.judged})
    assert isinstance(spec, FunctionSpec)
    return spec


@pytest.mark.parametrize("name", ["table", "text"])
def test_a_plain_loop_becomes_sweepable_in_fifteen_changed_lines(name: str) -> None:
    plain, sweepable = (
        (HERE / f"{file}.py").read_text(encoding="utf-8").partition("\n\nif __name__")[0].splitlines()
        for file in (f"{name}_plain", name)
    )
    changes = [line for line in difflib.ndiff(plain[1:], sweepable[1:]) if line.startswith("+ ")]
    assert 10 <= len(changes) <= 15


@every_search
@every_example
def test_its_sweep_is_the_same_when_it_is_killed_and_resumed(
    name: str, search: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, chance = example(name, search, monkeypatch), random.Random(0)
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
    plan = make_function_plan(example(name, "asha", monkeypatch), results=tmp_path)
    assert plan.lr == "a changed lr reaches the optimizer after a restore"
