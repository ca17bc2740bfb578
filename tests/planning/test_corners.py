"""`check` tries what may fail in a trial though the first configuration trains, and says which value it was."""

from pathlib import Path
from typing import Any

import pytest
from builders import SweepBuilder

from tlsweep.data import load_task
from tlsweep.errors import ModelError, SweepFailed
from tlsweep.observer import Silence
from tlsweep.planning.corners import corners, try_corners
from tlsweep.planning.plan import make_plan
from tlsweep.spec import SweepSpec, load_spec
from tlsweep.sweep.driver import _raise_if_none_succeeded
from tlsweep.sweep.prepare import prepare

OWN = """
import torch
from torch import nn

class Own(nn.Module):
    def __init__(self, classes, inputs, size, kind):
        super().__init__()
        self.kind = kind
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(inputs * size**2, 8), nn.BatchNorm1d(8), nn.ReLU())
        if kind == "no norm":
            self.body[2] = nn.Identity()
        self.head = nn.Linear(8, classes)
        self.register_buffer("seen", torch.zeros(1), persistent=False)

    def forward(self, images):
        logits = self.head(self.body(images))
        if self.training and self.kind == "pairs":
            return logits.view(-1, 2, logits.shape[1]).flatten(0, 1)
        if self.training and self.kind == "few":
            assert len(images) < 32, "too many"
        if self.training and self.kind == "auxiliary":
            return logits, logits
        if self.training and self.kind == "list":
            return [logits]
        if self.training and self.kind == "mapping":
            return {"out": logits}
        if self.training and self.kind == "mean":
            return logits.mean(0, keepdim=True)
        if self.kind == "counts":
            if self.training:
                self.seen += 1
            return logits * (1 + self.seen)
        if self.kind == "nan":
            return logits * torch.nan
        return logits

def own(classes, inputs, size, kind="plain"):
    return Own(classes, inputs, size, kind)
"""


@pytest.fixture(autouse=True)
def own_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_corners.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("TLSWEEP_CACHE", str(tmp_path / "cache"))


def spec(kind: str = "plain", **train: Any) -> SweepSpec:
    return load_spec(
        {
            "data": {"source": "digits", "labels_per_class": 5},
            "model": {"name": "own_corners:own", "args": {"kind": kind}},
            "train": {"epochs": 2, "batch_size": 8, **train},
            "search": {"strategy": "random", "trials": 3},
        }
    )


@pytest.mark.parametrize(
    ("train", "found"),
    [
        ({}, []),
        ({"batch_size": {"choice": [8]}}, []),
        ({"batch_size": {"powers_of_two": [2, 32]}}, ["train.batch_size = 2", "train.batch_size = 32"]),
        ({"optimizer": {"choice": ["sgd", "adam"]}}, ["train.optimizer = "]),
        ({"freeze": {"choice": ["nothing", "backbone", "gradual"]}}, ["train.freeze = "] * 2),
    ],
)
def test_corners_are_what_the_first_trial_is_not(train: dict[str, Any], found: list[str]) -> None:
    named = [corner for corner, _ in corners(spec(**train), largest=32)]
    drawn = [corner for corner in found if not any(corner in one for one in named)]
    assert len(drawn) <= 1  # the first trial may have drawn one of them
    assert len(named) >= len(found) - 1
    assert not [one for one in named if not any(one.startswith(corner) for corner in found)]


@pytest.mark.parametrize(
    ("kind", "train", "told"),
    [
        ("plain", {"batch_size": {"choice": [1, 8]}}, r"train.batch_size = 1: batch norm has a single value"),
        ("plain", {"batch_size": 1}, r"train.batch_size = 1: batch norm has a single value"),
        (
            "pairs",
            {"batch_size": {"choice": [5, 8]}},
            r"batch_size = 5: a training step of .* fails at .*py:\d+ \(Run",
        ),
        (
            "few",
            {"batch_size": {"choice": [8, 32]}},
            r"batch_size = 32: a training step of .* at .*py:20 .*too many",
        ),
        (
            "auxiliary",
            {},
            r"in training the network gives a tuple of Tensor, Tensor for 8 images; it must give a tensor",
        ),
        ("list", {}, r"in training the network gives a list of Tensor"),
        ("mapping", {}, r"in training the network gives a dict for 8 images"),
        ("mean", {}, r"in training the network gives a tensor of shape \(1, 10\) for 8 images"),
        ("counts", {}, r"after training another network with the same arguments and state dict"),
        ("nan", {}, r"before any training the network gives NaN"),
    ],
)
def test_check_names_the_value_that_does_not_train(kind: str, train: dict[str, Any], told: str) -> None:
    with pytest.raises(ModelError, match=told):
        # The first trial may have drawn the corner itself: both are one line that names it.
        make_plan(spec(kind, **train))


@pytest.mark.parametrize(
    ("kind", "train"),
    [
        ("no norm", {"batch_size": {"choice": [1, 8]}}),
        ("plain", {"batch_size": {"choice": [1, 8]}, "batch_norm": "frozen"}),
        ("plain", {"batch_size": {"choice": [1, 8]}, "freeze": "backbone"}),
        ("plain", {"batch_size": {"choice": [2, 50]}, "optimizer": {"choice": ["sgd", "adamw", "schedule_free_sgd"]}}),
    ],
)
def test_corners_that_train_are_let_be(kind: str, train: dict[str, Any]) -> None:
    wanted = spec(kind, **train)
    prepared = prepare(wanted, load_task(wanted.data, wanted.seed), Silence())
    try_corners(wanted, prepared, seconds_per_image=1e-3)


def test_launch_refuses_a_batch_that_batch_norm_cannot_normalise_before_it_trains() -> None:
    wanted = load_spec(
        {
            "data": {"source": "digits", "labels_per_class": 5},
            "model": {"name": "resnet18"},
            "train": {"epochs": 1, "batch_size": {"choice": [1, 8]}},
            "search": {"strategy": "random", "trials": 3},
        }
    )
    with pytest.raises(ModelError, match="train.batch_size = 1: batch norm has a single value .* images of 8 pixels"):
        prepare(wanted, load_task(wanted.data, wanted.seed), Silence())


def test_check_says_which_layer_is_the_head() -> None:
    assert make_plan(spec()).head == "head"


LEFT = [
    ({"stopped": "diverged: train_loss is nan"}, r"no trial reached a score.*: 2 diverged: train_loss is nan; lower"),
    (
        {"stopped": "the budget is used up"},
        "no trial reached a score.*: 2 the budget is used up; .* give more budget",
    ),
]


@pytest.mark.parametrize(("ends", "told"), LEFT)
def test_a_sweep_without_a_model_does_not_succeed(ends: dict[str, str], told: str, tmp_path: Path) -> None:
    sweep = SweepBuilder(tmp_path)
    for number in range(2):
        sweep.create(f"t{number:04d}", number)
        for kind, reason in ends.items():
            sweep.event(kind, f"t{number:04d}", reason=reason)
    with pytest.raises(SweepFailed, match=told):
        _raise_if_none_succeeded(sweep.state, sweep.folder)
    sweep.create("t0002", 2)
    sweep.report("t0002", 0.5)
    _raise_if_none_succeeded(sweep.state, sweep.folder)
