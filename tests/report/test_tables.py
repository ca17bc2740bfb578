"""Leaders, arms, failures, totals, landscape: against independent computations."""

import math
import random
from pathlib import Path

import pytest
from builders import SweepBuilder, make_spec, make_sweep

from tlsweep import open_results
from tlsweep.errors import ResultsError
from tlsweep.report import arm_results, failures, find_best, gain, landscape, leaders, load_tables, totals
from tlsweep.report.trial import trial_life
from tlsweep.store import Results


def random_sweep(folder: Path, seed: int, metric: str) -> SweepBuilder:
    """Trials of two arms with random metrics, ties and NaN among them."""
    rng = random.Random(seed)
    builder = SweepBuilder(folder, make_spec(search={"strategy": "random", "trials": 12, "metric": metric}))
    for number in range(12):
        for trial in (f"t{number}", f"t{number}-scratch"):
            builder.create(trial, number, lr=10 ** rng.uniform(-3, -1), batch_size=rng.choice([16, 32]))
            for _ in range(rng.randint(0, 4)):
                value = rng.choice([0.5, 0.7, 0.9, math.nan])
                builder.report(trial, value, loss=rng.choice([0.1, 0.2, math.nan]))
    return builder


@pytest.mark.parametrize("metric", ["val_accuracy", "val_loss"])
@pytest.mark.parametrize("seed", range(5))
def test_leaders_are_those_of_the_state(tmp_path: Path, seed: int, metric: str) -> None:
    builder = random_sweep(tmp_path, seed, metric)
    tables = load_tables(builder.finish())
    for arm in ("main", "scratch"):
        assert [one.trial for one in leaders(tables, arm)] == [one.trial for one in builder.state.leaders(arm, 99)]


@pytest.mark.parametrize("seed", range(5))
def test_landscape_equals_a_pandas_group_by(tmp_path: Path, seed: int) -> None:
    import numpy as np

    results = random_sweep(tmp_path, seed, "val_accuracy").finish()
    grid = landscape(load_tables(results))
    reports = results.to_pandas("reports").query("arm == 'main'")
    runs = reports.groupby(["trial", "generation"]).agg(
        lr=("lr", "first"), batch_size=("batch_size", "first"), best=("val_accuracy", "max")
    )
    runs["row"] = np.floor(2 * np.log10(runs.lr)).astype(int)
    expected = runs.groupby(["row", "batch_size"]).best.agg(["mean", "sem", "count", "size"])
    assert len(grid.cells) == len(expected)
    for (row, column), cell in grid.cells.items():
        low, high = grid.learning_rates[row]
        assert math.isclose(high / low, math.sqrt(10))
        wanted = expected.loc[(round(2 * math.log10(low)), grid.batch_sizes[column])]
        assert (cell.n, cell.diverged) == (wanted["count"], wanted["size"] - wanted["count"])
        assert cell.mean is None if cell.n == 0 else math.isclose(cell.mean or 0, wanted["mean"])
        assert cell.error is None if cell.n < 2 else math.isclose(cell.error or 0, wanted["sem"], abs_tol=1e-12)


@pytest.mark.parametrize("lr", [0.001, 0.01, 0.1, 1e-5])
def test_a_power_of_ten_begins_its_half_decade(tmp_path: Path, lr: float) -> None:
    builder = SweepBuilder(tmp_path)
    builder.create("t0", 0, lr=lr)
    builder.report("t0", 0.5)
    ((low, _),) = landscape(load_tables(builder.finish())).learning_rates
    assert math.isclose(low, lr)


def test_a_leader_has_the_values_of_its_best_epoch_not_of_its_last(tmp_path: Path) -> None:
    builder = SweepBuilder(tmp_path)
    for number, lr in enumerate((0.1, 0.02)):
        builder.create(f"t{number}", number, lr=lr)
    builder.report("t0", 0.9)
    builder.report("t1", 0.8)
    builder.exploit("t0", "t1", 1, lr=0.03)
    builder.report("t0", 0.5)
    best = leaders(load_tables(builder.finish()))[0]
    assert (best.trial, best.hyperparameters["lr"], best.generation, best.best_epoch, best.epochs) == (
        "t0",
        0.1,
        0,
        1,
        2,
    )


def test_arms_carry_validation_and_test_and_their_gain(tmp_path: Path) -> None:
    arms = arm_results(load_tables(make_sweep(tmp_path)))
    assert [(one.arm, one.trial) for one in arms] == [("main", "t0001"), ("scratch", "t0001-scratch")]
    assert (arms[0].val["accuracy"], arms[0].test["accuracy"]) == (0.95, 0.93)
    assert gain(arms, "scratch", "val", "accuracy") == pytest.approx(0.2)
    assert gain(arms, "scratch", "test", "accuracy") == pytest.approx(0.22)
    assert gain(arms[:1], "scratch", "test", "accuracy") is None


def test_failures_show_the_last_line_of_the_traceback(tmp_path: Path) -> None:
    (one,) = failures(load_tables(make_sweep(tmp_path)))
    assert (one.trial, one.epoch, one.error) == ("t0003-scratch", 0, "ValueError: [boom]")


def test_totals_count_the_tables(tmp_path: Path) -> None:
    results = make_sweep(tmp_path)
    sums, times = totals(load_tables(results)), results.to_pandas("events").time
    assert (sums.trials, sums.epochs) == (8, results.reports.num_rows)
    assert sums.statuses == {"stopped": 5, "finished": 2, "failed": 1}
    assert sums.seconds == (times.max() - times.min()).total_seconds()
    assert sums.device_seconds == pytest.approx(1.5 * sums.epochs)


def test_a_sweep_without_a_report_has_no_winner_and_says_so(tmp_path: Path) -> None:
    builder = SweepBuilder(tmp_path)
    builder.create("t0000", 0)
    tables = load_tables(builder.finish())
    assert leaders(tables) == []
    assert arm_results(tables) == []
    assert landscape(tables).cells == {}
    with pytest.raises(ResultsError, match="no trial of 'demo' has reported"):
        find_best(tables)


def test_tables_that_are_not_there_yet_are_a_user_error(tmp_path: Path) -> None:
    builder = SweepBuilder(tmp_path)
    with pytest.raises(ResultsError, match="has not begun to train"):
        load_tables(Results(builder.folder))


def test_the_trial_that_was_handed_back_is_shown_even_if_a_better_one_could_not_be(tmp_path: Path) -> None:
    """Its checkpoint was damaged; a resume makes the test void, until there is another."""
    builder = SweepBuilder(tmp_path, make_spec(controls=[]))
    for number, accuracy in enumerate((0.9, 0.8)):
        builder.create(f"t000{number}", number)
        builder.report(f"t000{number}", accuracy)
    builder.event("evaluated", "t0001", trial="t0001", accuracy=0.7)
    tables = load_tables(builder.finish())
    (arm,) = arm_results(tables)
    assert (find_best(tables).trial, arm.trial, arm.val["accuracy"], arm.test["accuracy"]) == (
        "t0001",
        "t0001",
        0.8,
        0.7,
    )
    builder.event("resumed", reopened=[], spec={})
    tables = load_tables(builder.finish())
    assert find_best(tables).trial == "t0000"
    assert arm_results(tables)[0].test == {}


REFERENCE = Path(__file__).parents[2] / "results" / "reference"


@pytest.mark.parametrize("name", sorted(path.parent.name for path in REFERENCE.glob("*/trials.parquet")))
def test_every_sweep_that_was_kept_is_read_whole(name: str) -> None:
    results = open_results(REFERENCE / name)
    tables = load_tables(results)
    assert {arm.arm for arm in arm_results(tables)} & {*tables.spec.trained_arms} == {
        trial["arm"] for trial in tables.trials
    }
    for trial in tables.trials:
        trial_life(results, trial["trial"])
