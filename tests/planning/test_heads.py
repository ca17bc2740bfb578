"""`check` says whether frozen layers compute once for all trials, and where not, why."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tlsweep.data import Task
from tlsweep.planning.heads import try_features
from tlsweep.spec import Augment, load_spec
from tlsweep.sweep.heads import KEPT
from tlsweep.sweep.prepare import Prepared
from tlsweep.training import Compute, Transfer
from tlsweep.training.networks import new_network

OWN = """
from torch import nn
from tlsweep.models.plain import cnn

def net(classes, inputs, size):
    return cnn(classes, inputs, size)
"""


def lines(task: Task, train: dict[str, Any], model: dict[str, Any], **section: Any) -> tuple[str, ...]:
    from tlsweep.models import Weights

    data = {"source": "digits", "labels_per_class": 10}
    spec = load_spec({"data": data, "train": train, "model": model, "search": {"strategy": "random"}, **section})
    state = new_network(Transfer(task, spec.model, None, 9)).module.state_dict()
    known = {
        name: Weights.from_state_dict(state, "elsewhere") if name != "none" else None for name in spec.model.origins
    }
    return try_features(spec, Prepared(task, known, {}), Compute("cpu", 1))


CNN = {"name": "cnn", "weights": "cnn.pth", "args": {"dropout": 0.5}}
SOMETIMES = f"{KEPT}; the time below is without that"
EACH = "frozen layers compute in each epoch of"


@pytest.mark.parametrize(
    ("train", "model", "crop", "expected"),
    [
        ({}, CNN, "none", []),
        ({"freeze": "backbone"}, CNN, "none", [KEPT]),
        ({"freeze": {"choice": ["nothing", "gradual"]}}, CNN, "none", [SOMETIMES]),
        ({"freeze": {"choice": ["backbone", "gradual"]}}, CNN, "none", [SOMETIMES]),
        (
            {"freeze": "gradual"},
            CNN,
            "shift",
            [f"{EACH} each trial: training images change at random (data.augment.crop)"],
        ),
        (
            {"freeze": "backbone", "rotation": {"uniform": [0, 10]}},
            CNN,
            "none",
            [f"{EACH} those trials in which training images change at random (train.rotation)"],
        ),
        (
            {"freeze": "backbone"},
            {**CNN, "weights": {"choice": ["a.pth", "none"]}},
            "none",
            [SOMETIMES, f"{EACH} each trial: they have random weights, which are others in each trial"],
        ),
    ],
)
def test_the_line_of_frozen_layers(
    digits: Task, train: dict[str, Any], model: dict[str, Any], crop: str, expected: list[str]
) -> None:
    task = replace(digits, augment=Augment(crop=crop, flip=False))  # type: ignore[arg-type]
    assert list(lines(task, train, model)) == expected


def test_own_code_and_studies(digits: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_net_of_check.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    still = replace(digits, augment=Augment(crop="none", flip=False))
    (line,) = lines(still, {"freeze": "backbone"}, {"name": "own_net_of_check:net", "weights": "a.pth"})
    assert line == f"{EACH} each trial: own_net_of_check:net is own code, which may change"
    assert lines(still, {}, CNN, study="freeze") == (SOMETIMES,)
