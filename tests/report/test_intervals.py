"""Intervals over test images, against SciPy's bootstrap; gains and learning curves from the predictions of a sweep."""

import io
from pathlib import Path

import numpy as np
import pytest
from builders import SweepBuilder, make_spec
from rich.console import Console
from scipy.stats import bootstrap

from tlsweep.report import ArmResult, arm_results, find_best, learning_curve, load_tables
from tlsweep.report.intervals import bootstrap_mean
from tlsweep.store.tables import rows_to_table, write_table
from tlsweep.terminal.outcome import print_arms

IMAGES = 400


def right(probability: float, seed: int) -> list[int]:
    """Which of the test images a network of such accuracy is right about."""
    return [int(one) for one in np.random.default_rng(seed).random(IMAGES) < probability]


@pytest.mark.parametrize("values", [right(0.9, 0), [a - b for a, b in zip(right(0.9, 0), right(0.7, 1), strict=True)]])
def test_it_agrees_with_scipy(values: list[int]) -> None:
    own = bootstrap_mean(values, 0)
    known = bootstrap(
        (values,), np.mean, method="percentile", n_resamples=10_000, random_state=np.random.default_rng(1)
    )
    assert own.value == pytest.approx(np.mean(values))
    assert own.low == pytest.approx(known.confidence_interval.low, abs=0.006)
    assert own.high == pytest.approx(known.confidence_interval.high, abs=0.006)


def test_one_seed_gives_one_interval() -> None:
    values = right(0.8, 0)
    assert bootstrap_mean(values, 5) == bootstrap_mean(values, 5)
    always = bootstrap_mean([1] * 10, 0)
    assert (always.value, always.low, always.high) == (1, 1, 1)


ACCURACIES = {"main": 0.95, "scratch": 0.8, "labels-5": 0.7, "labels-5-scratch": 0.5}


def few_labels(path: Path, *, handed_back: str = "t0000") -> SweepBuilder:
    """A sweep with four arms of one trial, and the predictions of `handed_back` in each."""
    builder = SweepBuilder(path, make_spec(study={"few_labels": [5, 10]}, search={"strategy": "random", "trials": 1}))
    rows = []
    for seed, (arm, accuracy) in enumerate(ACCURACIES.items()):
        trial = "t0000" if arm == "main" else f"t0000-{arm}"
        builder.create(trial, 0)
        builder.report(trial, accuracy)
        hits = right(accuracy, seed)
        builder.event("evaluated", trial, arm=arm, trial=trial, accuracy=float(np.mean(hits)))
        predicted = trial.replace("t0000", handed_back)
        rows += [
            {"arm": arm, "trial": predicted, "image": at, "label": "a", "predicted": "a" if hit else "b"}
            for at, hit in enumerate(hits)
        ]
    builder.finish()
    write_table(builder.folder.path, "predictions", rows_to_table("predictions", rows))
    return builder


def results(builder: SweepBuilder) -> dict[str, ArmResult]:
    return {one.arm: one for one in arm_results(load_tables(builder.finish()))}


def test_a_gain_is_resampled_over_the_same_images(tmp_path: Path) -> None:
    arms = results(few_labels(tmp_path))
    for control, main in (("scratch", "main"), ("labels-5", "main"), ("labels-5-scratch", "labels-5")):
        order = list(ACCURACIES)
        pairs = zip(*(right(ACCURACIES[arm], order.index(arm)) for arm in (main, control)), strict=True)
        differences = [one - other for one, other in pairs]
        known = bootstrap((differences,), np.mean, method="percentile", random_state=np.random.default_rng(2))
        ahead = arms[control].ahead
        assert ahead is not None
        assert ahead.value == pytest.approx(arms[main].test["accuracy"] - arms[control].test["accuracy"])
        assert ahead.low == pytest.approx(known.confidence_interval.low, abs=0.01)
        assert ahead.high == pytest.approx(known.confidence_interval.high, abs=0.01)
    assert arms["main"].ahead is None


def test_predictions_of_another_trial_than_was_handed_back_do_not_count(tmp_path: Path) -> None:
    arms = results(few_labels(tmp_path, handed_back="t0009"))
    assert [(one.test_accuracy, one.ahead) for one in arms.values()] == [(None, None)] * 4


def test_a_resume_makes_the_predictions_void(tmp_path: Path) -> None:
    builder = few_labels(tmp_path)
    builder.event("resumed", reopened=[], spec={})
    assert results(builder)["main"].test_accuracy is None


def test_the_learning_curve_in_the_report_and_for_machines(tmp_path: Path) -> None:
    tables = load_tables(few_labels(tmp_path).finish())
    arms = arm_results(tables)
    points = learning_curve(tables.spec, arms)
    names = [(one.labels_per_class, *(arm and arm.arm for arm in (one.transfer, one.scratch))) for one in points]
    assert names == [
        (5, "labels-5", "labels-5-scratch"),
        (10, "main", "scratch"),
    ]  # fmt: skip
    told = {one["arm"]: one for one in find_best(tables).as_dict()["arms"]}
    assert [told[arm]["labels_per_class"] for arm in ACCURACIES] == [10, 10, 5, 5]
    assert [told[arm]["pretrained"] for arm in ACCURACIES] == [True, False, True, False]
    console = Console(file=io.StringIO(), width=100, highlight=False)
    print_arms(console, tables, arms)
    lines = [line.strip() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]
    low, high = told["labels-5"]["test_interval"]
    five = next(line for line in lines if line.startswith("5  "))
    assert f"{told['labels-5']['test_accuracy']:.3f} [{low:.3f}, {high:.3f}]" in five
    assert "+0." in five
