"""Cross-validation and repeats in whole sweeps on a real Ray, under ASHA and in a population."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from completeness import assert_complete
from sklearn.metrics import confusion_matrix

from tlsweep.data import load_task
from tlsweep.spec import SweepSpec, load_spec
from tlsweep.store import Results
from tlsweep.store.schema import METRICS
from tlsweep.sweep import launch

pytestmark = pytest.mark.slow

KEY = ["trial", "generation", "epoch"]
FIGURES = [name for name in METRICS if name.startswith("val_")]


def digits(folds: int, repeats: int, **search: Any) -> SweepSpec:
    return load_spec(
        {
            "data": {"source": "digits", "folds": folds, "repeats": repeats, "labels_per_class": 5},
            "model": {"name": "mlp", "args": {"hidden": [16]}},
            "train": {"epochs": 4, "optimizer": "adam", "lr": {"loguniform": [1e-3, 1e-1]},
                      "batch_size": {"powers_of_two": [4, 16]}},
            "search": search,
        }
    )  # fmt: skip


def assert_rows_of_each_fold(results: Results, folds: int, repeats: int) -> None:
    """One row for each run of each report, whose means and standard errors are what the report says."""
    reports, rows = assert_complete(results), results.to_pandas("folds")
    assert not rows.duplicated([*KEY, "fold", "repeat"]).any()
    assert len(rows) == len(reports) * folds * repeats
    assert set(zip(rows.fold, rows.repeat, strict=True)) == {(f, r) for f in range(folds) for r in range(repeats)}
    grouped, reports = rows.groupby(KEY), reports.set_index(KEY).sort_index()
    assert (reports.runs == folds * repeats).all()
    pd.testing.assert_frame_equal(grouped[list(METRICS)].mean(), reports[list(METRICS)], rtol=1e-12)
    errors = reports[[f"{name}_se" for name in FIGURES]].set_axis(FIGURES, axis=1)
    pd.testing.assert_frame_equal(grouped[FIGURES].sem(), errors, rtol=1e-9)
    trials = results.to_pandas("trials").set_index("trial")
    for trial, row in trials.iterrows():
        best = reports.loc[(trial, row.best_generation, row.best_epoch)]
        assert (row.best_val_accuracy, row.best_val_accuracy_se) == (best.val_accuracy, best.val_accuracy_se)


def assert_every_network_met_the_test(results: Results, runs: int) -> None:
    """The mean counts; what is handed back is the first network, whatever the others reached."""
    import torch

    from tlsweep.data.batches import Batches
    from tlsweep.training import load_exported

    metrics = json.loads((results.folder.best / "metrics.json").read_text())
    test = metrics["test"]
    assert results.state().test["main"] == {"trial": metrics["trial"], **test}
    accuracies = [one["accuracy"] for one in test["folds"]]
    assert len(accuracies) == test["runs"] == runs
    assert test["accuracy"] == pytest.approx(np.mean(accuracies))
    assert test["accuracy_se"] == pytest.approx(np.std(accuracies, ddof=1) / np.sqrt(runs))
    predictions = results.to_pandas("predictions")
    right = (predictions.label == predictions.predicted).groupby([predictions.repeat, predictions.fold]).mean()
    assert right.tolist() == pytest.approx(accuracies)
    assert set(results.to_pandas("hard_images").split) == {"val"}  # judged by networks that were not trained on them
    confusion = confusion_matrix(predictions.label, predictions.predicted, labels=list(map(str, range(10))))
    assert test["confusion"] == confusion.tolist()
    module, _ = load_exported(results.folder.best)
    task = load_task(results.spec.data, results.spec.seed)
    with torch.inference_mode():
        hits = sum(int((module(x).argmax(1) == y).sum()) for x, y in Batches(task).evaluate("test", 64))
    assert hits / task.size("test") == pytest.approx(accuracies[0])


def test_folds_under_asha(ray_address: str, tmp_path: Path) -> None:
    spec = digits(3, 2, strategy="asha", trials=4, reduction_factor=2, min_reports=2)
    results = launch(spec, results=tmp_path, address=ray_address)
    assert set(results.to_pandas("trials").status) == {"stopped", "finished"}
    assert_rows_of_each_fold(results, 3, 2)
    assert_every_network_met_the_test(results, 6)


def test_folds_in_a_population(ray_address: str, tmp_path: Path) -> None:
    results = launch(digits(2, 1, strategy="pbt", population=4), results=tmp_path, address=ray_address)
    assert results.to_pandas("reports").generation.max() > 0
    assert_rows_of_each_fold(results, 2, 1)
    assert_every_network_met_the_test(results, 2)
