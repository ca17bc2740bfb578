"""folds.parquet of sweeps that are killed: a fold over the journal, so no row is missing or doubled."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import simulated_sweep
from simulated_sweep import SimulatedSweep
from sudden_death import Killed, killed_at

from tlsweep.store import Results
from tlsweep.store.schema import FOLDS, METRICS
from tlsweep.sweep.assignment import Assignment

pytestmark = pytest.mark.usefixtures("instant_disk")

KEY = ["trial", "generation", "epoch"]
PBT = ("search.strategy=pbt", "search.population=3", "search.quantile=0.4", "train.epochs=4")


@pytest.fixture(autouse=True)
def two_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every report tells of two networks."""
    plain = simulated_sweep.report_row

    def with_runs(assignment: Assignment, epoch: int, score: float) -> dict[str, Any]:
        row = plain(assignment, epoch, score)
        common = {"repeat": 0, "train_images": 8, "val_images": 4, "samples": 8 * epoch, "step": epoch,
                  "scheduled_lr": 0.1, "train_seconds": 0.5, "eval_seconds": 0.5}  # fmt: skip
        runs = [common | {"fold": fold, **dict.fromkeys(METRICS, score + fold)} for fold in range(2)]
        return row | {"runs": 2, "folds": runs}

    monkeypatch.setattr(simulated_sweep, "report_row", with_runs)


def folds_of(sweep: SimulatedSweep) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Both tables; each report has its two runs."""
    results = Results(sweep.folder)
    folds, reports = results.to_pandas("folds"), results.to_pandas("reports")
    assert list(folds.columns) == list(FOLDS)
    assert (reports.runs == 2).all()
    pairs = folds.groupby(KEY).fold.apply(list)
    assert pairs.map(lambda found: found == [0, 1]).all()
    assert set(pairs.index) == set(reports.set_index(KEY).index)
    return folds, reports


def without_times(folds: pd.DataFrame) -> str:
    return folds.drop(columns=["time", "elapsed", "sweep"]).to_csv(index=False)


@pytest.mark.parametrize("at", range(2, 20, 3))
def test_killed_and_resumed_it_is_the_same_table(tmp_path: Path, at: int) -> None:
    whole = SimulatedSweep(tmp_path / "whole", *PBT)
    whole.launch()
    expected, _ = folds_of(whole)
    assert expected.generation.max() > 0
    sweep = SimulatedSweep(tmp_path / "killed", *PBT)
    with pytest.raises(Killed), killed_at(at, "before"):
        sweep.launch()
    sweep.launch()
    assert without_times(folds_of(sweep)[0]) == without_times(expected)


def test_an_epoch_that_is_trained_again_is_not_told_twice(tmp_path: Path) -> None:
    sweep = SimulatedSweep(tmp_path / "sweep", "search.trials=1", "train.epochs=5", seed=1)
    sweep.launch(steps=7)
    (trial,) = sweep.state().trials.values()
    last = trial.trail[-1].path
    (sweep.folder.path / last).write_bytes(b"damaged")
    sweep.damaged.add(last)
    sweep.launch()
    assert any(one.get("kind") == "repeated" for one in sweep.records())
    folds, reports = folds_of(sweep)
    assert (len(reports), len(folds)) == (5, 10)
    assert (folds.query("fold == 1").val_accuracy.to_numpy() == reports.val_accuracy.to_numpy() + 1).all()


def test_a_sweep_of_single_networks_has_no_such_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    sweep = SimulatedSweep(tmp_path / "sweep", "search.trials=1", "train.epochs=2")
    sweep.launch()
    assert Results(sweep.folder).folds is None
