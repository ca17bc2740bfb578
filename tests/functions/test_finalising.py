"""What the user's function is given for the winner, and what it is told where it breaks the contract."""

from pathlib import Path
from typing import Any

import pytest
import torch
from own_functions import QUADRATIC

from tlsweep.errors import FunctionError
from tlsweep.functions.finalising import TAKEN, finalise
from tlsweep.functions.states import State, dump_state
from tlsweep.functions.trial import Terms
from tlsweep.spec.function import FINALISED_BY
from tlsweep.store import shapes
from tlsweep.training import Compute

VALUES = {"lr": 0.05, "batch_size": 16, "momentum": 0.5, "scale": 1.25, "form": "a"}


def call(function: str, folder: Path, said: list[str] | None = None) -> dict[str, Any]:
    state = dump_state(State(5, {"weight": torch.tensor([3.0, 4.0])}))
    return finalise(
        Terms(f"own_functions:{function}", QUADRATIC["epochs"], "distance"),
        VALUES,
        7,
        state=state,
        folder=folder,
        share=lambda name, make: make(),
        compute=Compute("cpu", threads=1),
        log=[].append if said is None else said.append,
    )


def test_it_has_the_winners_state_and_values_and_a_folder(tmp_path: Path) -> None:
    said: list[str] = []
    assert call("measures_quadratic", tmp_path, said) == {"distance": 5.0, "scale_of_it": 1.25, "unknown": None}
    assert torch.load(tmp_path / "weight.pt", weights_only=True).tolist() == [3.0, 4.0]
    assert said == ["measured"]


def test_it_may_return_nothing(tmp_path: Path) -> None:
    assert call("reports_nothing", tmp_path) == {}


def test_no_metric_of_a_test_can_be_what_the_journal_has_for_something_else() -> None:
    names = set(shapes._SCHEMAS["evaluated"]["fields"]) - TAKEN  # type: ignore[typeddict-item]
    assert "accuracy" in names
    for name in names:
        details = {"trial": "t0000", FINALISED_BY: "own:test", name: 0.5}
        record = {"type": "event", "kind": "evaluated", "trial": "t0000", "arm": "main", "details": details}
        assert shapes.wrong_value(record) is None, name


BROKEN = {
    "finalises_by_reporting": "trial.report(…) is called, and the sweep is over; return the metrics",
    "finalises_to_a_number": "it returned 0.5; return metrics, such as",
    "finalises_to_text": "where test_distance is 'low'; a metric is one number",
    "finalises_to_nameless": "where 'test distance' is no name for a metric",
    "finalises_to_a_trial": "where 'trial' is no name for a metric",
    "finalises_to_a_trial_of_the_test": "where 'test_trial' is no name for a metric",
    "finalises_to_a_confusion": "where 'confusion' is no name for a metric",
    "finalises_twice_to_a_loss": "where 'loss' is no name for a metric",
    "QUADRATIC": "finalise = own_functions:QUADRATIC: 'QUADRATIC' is no function, but of type dict",
    "is_not_there": "finalise = own_functions:is_not_there: the module has no function 'is_not_there'",
}


@pytest.mark.parametrize("function", BROKEN)
def test_one_line_says_what_is_wrong_with_it(function: str, tmp_path: Path) -> None:
    with pytest.raises(FunctionError) as raised:
        call(function, tmp_path)
    assert BROKEN[function] in str(raised.value)
    assert "\n" not in str(raised.value)
