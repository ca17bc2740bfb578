"""A sweep ranked by another metric than its own: as if it had been searched by that."""

import io
import math
import random
from pathlib import Path

import pytest
from builders import SweepBuilder, make_spec, make_sweep
from rich.console import Console

from tlsweep.errors import ResultsError
from tlsweep.report import find_best, landscape, leaders, tables_by
from tlsweep.spec.metrics import metric_sign
from tlsweep.store import Results, SweepState
from tlsweep.terminal import print_best, print_report


def two_metrics(folder: Path, seed: int = 0) -> SweepBuilder:
    """A sweep searched by accuracy, with figures that do not agree, ties and NaN among them."""
    rng = random.Random(seed)
    builder = SweepBuilder(folder, make_spec(search={"strategy": "random", "trials": 8}, controls=[]))
    for number in range(8):
        builder.create(f"t{number:04d}", number)
        for _ in range(rng.randint(1, 4)):
            loss = rng.choice([0.1, 0.2, math.nan])
            f1, ece = rng.choice([0.3, 0.6, math.nan]), rng.choice([0.01, 0.05])
            builder.report(f"t{number:04d}", rng.random(), loss=loss, f1=f1, val_ece=ece)
    return builder


@pytest.mark.parametrize("metric", ["val_f1", "val_ece", "val_loss", "val_accuracy"])
@pytest.mark.parametrize("seed", range(3))
def test_trials_stand_where_a_search_by_that_metric_would_see_them(tmp_path: Path, metric: str, seed: int) -> None:
    builder = two_metrics(tmp_path, seed)
    tables = tables_by(builder.finish(), metric)
    sweep = SweepState(metric, metric_sign(metric)).replay(builder.records)
    expected = [(trial.trial, trial.best) for trial in sweep.leaders("main", 99)]
    found = [(leader.trial, leader.best_epoch, leader.metrics[metric]) for leader in leaders(tables)]
    assert found == [(trial, best["epoch"], best[metric]) for trial, best in expected if best]
    assert tables.spec.search.metric == metric
    means = [cell.mean for cell in landscape(tables).cells.values() if cell.mean is not None]
    assert all(0 <= mean <= 1 for mean in means)


def pages(results: Results, metric: str) -> str:
    written = io.StringIO()
    for show in (print_best, print_report):
        show(Console(file=written, width=110), results, metric)
    return " ".join(written.getvalue().split())


def test_the_test_is_shown_only_of_the_network_that_met_it(tmp_path: Path) -> None:
    builder = SweepBuilder(tmp_path / "results", make_spec(search={"strategy": "random", "trials": 2}, controls=[]))
    for number, (accuracy, f1, recall) in enumerate([(0.8, 0.5, 0.9), (0.7, 0.6, 0.1)]):
        builder.create(f"t{number:04d}", number)
        builder.report(f"t{number:04d}", accuracy, f1=f1, val_recall=recall)
    builder.event("evaluated", "t0000", trial="t0000", accuracy=0.77)
    results = builder.finish()
    results.folder.best.mkdir()
    same, other = find_best(tables_by(results, "val_recall")), find_best(tables_by(results, "val_f1"))
    assert (same.trial, same.result.test, same.model) == ("t0000", {"accuracy": 0.77}, results.folder.best)
    assert (other.trial, other.result.test, other.model) == ("t0001", {}, None)
    assert (other.as_dict()["metric"], other.as_dict()["searched_by"]) == ("val_f1", "val_accuracy")
    text = pages(results, "val_f1")
    assert "ranked by val f1; the sweep was searched by val accuracy" in text
    assert "Best trials, by val f1; the sweep was searched by val accuracy" in text
    assert "test not evaluated: only the winner by val accuracy meets it" in text
    assert "model not kept: only those of the winner by val accuracy are" in text


def test_a_metric_that_a_sweep_lacks_is_refused_in_one_line(tmp_path: Path) -> None:
    results = make_sweep(tmp_path)
    with pytest.raises(ResultsError, match=r"no report of 'demo' has it.* searched by val_accuracy, and has val_acc"):
        tables_by(results, "val_auroc")
    with pytest.raises(ResultsError, match=r"--metric val_aurok: must be one of .*; did you mean val_auroc\?"):
        tables_by(results, "val_aurok")
    assert tables_by(results, "val_accuracy").searched_by is None
