"""Sweeps over a function of the user's own: the numbers and decisions of built-in trials, tables, kills."""

import json
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from outcomes import DECISIONS, numbers
from own_functions import DIGITS, NETWORK, QUADRATIC, digits_task
from without_ray import Killed, run_function_sweep, run_sweep

from tlsweep.errors import FunctionError
from tlsweep.functions.states import load_state
from tlsweep.report.best import find_best
from tlsweep.report.repair import unevaluated
from tlsweep.report.tables import load_tables
from tlsweep.spec import FunctionSpec, ImageSpec, load_spec
from tlsweep.store import Results, read_journal
from tlsweep.sweep.resuming import History
from tlsweep.sweep.subjects.own_function import OwnFunction

pytestmark = pytest.mark.usefixtures("instant_disk")

SPACE = {"lr": {"loguniform": [1e-3, 0.3]}, "batch_size": {"powers_of_two": [4, 32]}}
SEARCHES: dict[str, dict[str, Any]] = {
    "random": {"strategy": "random", "trials": 3},
    "asha": {"strategy": "asha", "trials": 9, "metric": "val_loss"},
    "pbt": {"strategy": "pbt", "population": 4, "couple_lr": "sqrt", "quantile": 0.5},
}


def function_spec(**changes: Any) -> FunctionSpec:
    spec = load_spec({**QUADRATIC, **changes})
    assert isinstance(spec, FunctionSpec)
    return spec


def decided(results: Results) -> list[Any]:
    """What was decided, and the values with which it went on; scores to five digits, and without the columns that only
    built-in trials have."""

    def shown(details: dict[str, Any]) -> dict[str, Any]:
        values, left_out = details.get("hyperparameters", {}), ("hyperparameters", "digest", "checkpoint")
        kept = {name: rounded(value) for name, value in details.items() if name not in left_out}
        return kept | {name: values[name] for name in SPACE if name in values}

    return [
        (event["trial"], event["generation"], event["kind"], event["epoch"], shown(event["details"]))
        for event in read_journal(results.folder.journal)
        if event.get("kind") in ("created", *DECISIONS)
    ]


def rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: rounded(one) for name, one in value.items()}
    return float(f"{value:.5g}") if isinstance(value, float) else value


@pytest.mark.parametrize("search", SEARCHES.values(), ids=SEARCHES)
def test_the_digits_as_a_function_of_ones_own_give_the_built_in_numbers_and_decisions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, search: dict[str, Any]
) -> None:
    """Same network, images, order and optimizer: they differ in the last digits of float32 at most."""
    common = {"search": {"metric": "val_accuracy", **search}}
    train = {"epochs": 6, "lr_schedule": "constant", "optimizer": "sgd", **SPACE}
    images = load_spec({"data": DIGITS, "model": NETWORK | {"weights": None}, "train": train, **common})
    own = load_spec({"trial": "own_functions:digits", "space": SPACE, "epochs": 6, **common})
    assert isinstance(images, ImageSpec)
    assert isinstance(own, FunctionSpec)
    built_in = run_sweep(tmp_path / "images", images, digits_task(), monkeypatch)
    functions = run_function_sweep(tmp_path / "own", own, monkeypatch)
    assert decided(functions) == decided(built_in)
    columns = ["trial", "generation", "parent_trial", "epoch", "lr", "batch_size", "val_loss", "val_accuracy"]
    pd.testing.assert_frame_equal(numbers(functions, "reports")[columns], numbers(built_in, "reports")[columns])
    pd.testing.assert_frame_equal(numbers(functions, "schedule"), numbers(built_in, "schedule"))


def test_tables_have_the_functions_own_columns_behind_those_of_every_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = run_function_sweep(tmp_path / "own", function_spec(), monkeypatch)
    reports, trials = results.reports, results.trials
    assert reports.column_names[-3:] == ["scale", "form", "distance"]
    assert [str(reports.schema.field(name).type) for name in ("scale", "form", "distance")] == [
        "double", "string", "double"
    ]  # fmt: skip
    assert set(reports["form"].to_pylist()) == {"a", "b"}
    for row in trials.to_pylist():
        of_trial = [one for one in reports.to_pylist() if one["trial"] == row["trial"]]
        assert row["best_distance"] == min(one["distance"] for one in of_trial)
        assert row["last_distance"] == of_trial[-1]["distance"]
        assert (row["scale"], row["start_form"]) == (of_trial[0]["scale"], of_trial[0]["form"])


def test_the_winners_state_and_values_are_handed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = run_function_sweep(tmp_path / "own", function_spec(), monkeypatch)
    winner = results.winner()
    assert winner is not None
    assert winner.best is not None
    kept = load_state((results.path / "best/state.pt").read_bytes())
    facts = json.loads((results.path / "best/metrics.json").read_text())
    assert (facts["trial"], facts["epoch"]) == (winner.trial, winner.best["epoch"]) == (facts["trial"], kept.epoch)
    assert kept.content["weight"].norm() == pytest.approx(winner.best["distance"])
    assert facts["validation"] == {"distance": winner.best["distance"]}
    assert facts["hyperparameters"]["scale"] == winner.best["scale"]


def test_a_function_of_ones_own_tests_the_winner_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = function_spec(finalise="own_functions:measures_quadratic")
    results = run_function_sweep(tmp_path / "own", spec, monkeypatch)
    winner = results.winner()
    assert winner is not None
    assert winner.best is not None
    facts = json.loads((results.path / "best/metrics.json").read_text())
    distance = pytest.approx(winner.best["distance"])
    assert facts["test"] == {"distance": distance, "scale_of_it": winner.best["scale"], "unknown": None}
    assert torch.load(results.path / "best/weight.pt", weights_only=True).norm() == distance
    best = find_best(load_tables(results))
    assert best.result.test == pytest.approx(
        {"distance": winner.best["distance"], "scale_of_it": winner.best["scale"], "unknown": math.nan}, nan_ok=True
    )
    assert unevaluated(results.folder, spec, {}) == []
    (results.path / "best/state.pt").write_bytes(b"cut short")
    assert "state.pt" in unevaluated(results.folder, spec, {})[0]


@pytest.mark.parametrize("strategy", ["asha", "pbt"])
def test_killed_ten_times_it_makes_the_same_decisions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, strategy: str
) -> None:
    population = {**SEARCHES["pbt"], "couple_lr": "none", "mutate": ["lr", "scale", "form"]}
    searches = {"asha": QUADRATIC["search"], "pbt": {**population, "metric": "distance", "mode": "min"}}
    spec = function_spec(search=searches[strategy])
    whole = run_function_sweep(tmp_path / "whole", spec, monkeypatch)
    killed = interrupted(tmp_path / "killed", spec, monkeypatch, kills=10)
    assert decided(killed) == decided(whole)
    pd.testing.assert_frame_equal(numbers(killed, "reports"), numbers(whole, "reports"))
    pd.testing.assert_frame_equal(numbers(killed, "trials"), numbers(whole, "trials"))


def interrupted(path: Path, spec: FunctionSpec, patch: pytest.MonkeyPatch, kills: int) -> Results:
    """A sweep that is killed before or after a message again and again, and resumed each time."""
    chance = random.Random(0)

    def after(messages: int) -> Callable[[], bool]:
        left = iter(range(messages, -1, -1))
        return lambda: next(left) == 0

    for _ in range(kills):
        with pytest.raises(Killed):
            run_function_sweep(path, spec, patch, after(chance.randint(1, 3)))
    return run_function_sweep(path, spec, patch)


def test_a_resume_with_more_epochs_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The function is told the new end, and its states are those that it left."""
    few, more = (
        function_spec(epochs=epochs, search={**QUADRATIC["search"], "strategy": "random", "trials": 2})
        for epochs in (3, 5)
    )
    whole = run_function_sweep(tmp_path / "whole", more, monkeypatch)
    run_function_sweep(tmp_path / "extended", few, monkeypatch)
    extended = run_function_sweep(tmp_path / "extended", more, monkeypatch)
    pd.testing.assert_frame_equal(numbers(extended, "reports"), numbers(whole, "reports"))


def test_a_resume_says_that_the_functions_file_has_changed() -> None:
    subject = OwnFunction(function_spec())
    assert subject.check(History([], {}, {})) == ()
    assert subject.check(History([], {"data": subject.fingerprint}, {})) == ()
    (said,) = subject.check(History([], {"data": "another"}, {}))
    assert "has changed since the sweep began" in said


def test_a_callable_object_is_a_function_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = run_function_sweep(tmp_path / "own", function_spec(trial="own_functions:in_part", epochs=2), monkeypatch)
    assert results.winner() is not None


def test_a_metric_that_only_some_epochs_report_widens_the_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = function_spec(trial="own_functions:later_metric", search={**QUADRATIC["search"], "strategy": "random"})
    results = run_function_sweep(tmp_path / "own", spec, monkeypatch)
    late = results.to_pandas("reports").sort_values(["trial", "epoch"])
    assert late[late.epoch <= 5].extra.isna().all()
    assert (late[late.epoch > 5].extra == late[late.epoch > 5].epoch).all()
    assert (results.to_pandas("trials").last_extra == 9).all()


def test_what_diverges_ends_and_never_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    space = {**QUADRATIC["space"], "lr": {"choice": [0.01, 1e30]}}
    spec = function_spec(space=space, search={"strategy": "grid", "points": 2, "metric": "distance", "mode": "min"})
    results = run_function_sweep(tmp_path / "own", spec, monkeypatch)
    trials = results.to_pandas("trials")
    lost = trials[trials.lr > 1]
    assert (lost.status == "stopped").all()
    assert lost.reason.str.startswith("diverged").all()
    assert results.winner() is not None
    assert (lost.best_distance.isna() | (lost.best_distance > trials.best_distance.min())).all()


@pytest.mark.parametrize(("what", "file"), [("state", "state.pt"), ("metrics", "metrics.json")])
def test_what_finalises_cannot_put_something_else_in_the_place_of_what_is_the_sweeps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, file: str
) -> None:
    spec = function_spec(finalise=f"own_functions:finalises_over_the_{what}")
    with pytest.raises(FunctionError, match=f"it wrote {file} into trial.folder"):
        run_function_sweep(tmp_path / "own", spec, monkeypatch)
    assert load_state((tmp_path / "own/best/state.pt").read_bytes()).epoch
