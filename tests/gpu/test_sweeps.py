"""Sweeps whose trials share one GPU, four at a time: ASHA and PBT keep what they promise on processors.

Not yet run: no GPU was at hand when they were written.
"""

import json
from pathlib import Path

import pytest
import torch
from completeness import assert_complete

from tlsweep.spec import load_spec
from tlsweep.sweep import launch

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

QUARTERS = (
    "resources.gpus=0.25", "resources.concurrent=4", "model.weights=none", "controls=[]", "data.labels_per_class=10",
)  # fmt: skip


def test_asha_with_four_trials_on_one_gpu(tmp_path: Path) -> None:
    spec = load_spec("digits", (*QUARTERS, "search.strategy=asha", "search.trials=8", "train.epochs=4"))
    results = launch(spec, results=tmp_path, local=True, dashboard=False)
    reports = assert_complete(results)
    assert set(reports.device) == {torch.cuda.get_device_name()}
    assert set(results.to_pandas("trials").status) <= {"stopped", "finished"}
    assert results.state().test["main"]["accuracy"] > 0.1
    assert 1 < at_most_at_once(results.to_pandas("events").kind.tolist()) <= 4


def test_a_population_of_four_on_one_gpu(tmp_path: Path) -> None:
    population = ("search.strategy=pbt", "search.population=4", "search.interval=1", "search.quantile=0.5")
    spec = load_spec("digits", (*QUARTERS, *population, "train.epochs=6"))
    results = launch(spec, results=tmp_path, local=True, dashboard=False)
    reports, events = assert_complete(results), results.to_pandas("events")
    exploits = events[events.kind == "exploited"]
    assert len(exploits) > 0
    for row in exploits.itertuples():
        after = reports[(reports.trial == row.trial) & (reports.generation == row.generation)]
        assert (after.lr == json.loads(row.details)["hyperparameters"]["lr"]).all()


def at_most_at_once(kinds: list[str]) -> int:
    """How many trials ran at the same time."""
    running, most = 0, 0
    for kind in kinds:
        running += {"started": 1, "paused": -1, "stopped": -1, "finished": -1, "failed": -1}.get(kind, 0)
        most = max(most, running)
    return most
