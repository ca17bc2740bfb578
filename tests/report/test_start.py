"""What trials begin with is a rival of what training makes of it: the winner where no epoch of training is better."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from builders import ENVIRONMENT, SweepBuilder, make_spec
from rich.console import Console

from tlsweep.errors import ResultsError
from tlsweep.report import arm_results, find_best, load_tables, recipe, repair, write_recipe
from tlsweep.report.recipe import confirmation, missing_recipe
from tlsweep.store import Results, read_journal
from tlsweep.store.files import write_json
from tlsweep.store.starts import START, best_start
from tlsweep.sweep.winner.evaluating import _candidates
from tlsweep.terminal import print_best, print_outcome, print_report
from tlsweep.terminal.notable import notable
from tlsweep.terminal.trial import print_start

FIGURES = {"loss": 0.3, "accuracy": 0.88, "precision": 0.9, "recall": 0.9, "f1": 0.9}


def sweep(
    results: Path, accuracy: float, *, ended: bool = True, metric: str = "val_accuracy", controls: Any = ("scratch",)
) -> Results:
    """Two trials that reach 0.8 and 0.7 (a loss of 0.2 and 0.3), and begin at `accuracy` (a loss of 1 minus that)."""
    spec = make_spec(search={"strategy": "random", "trials": 2, "metric": metric}, controls=list(controls))
    builder = SweepBuilder(results, spec)
    start = {f"val_{name}": accuracy for name in FIGURES} | {"val_loss": 1 - accuracy, "val_top5": None}
    environment = {
        **ENVIRONMENT,
        "start": {arm: {"digits-source": start} for arm in ("main", "probe") if arm in spec.arms},
    }
    write_json(builder.folder.environment, environment)
    builder.event("launched", spec=spec.model_dump(mode="json"), environment=environment, data="f", weights="a")
    for trial, reached in (("t0000", 0.8), ("t0001", 0.7), ("t0000-scratch", 0.4)):
        builder.create(trial, int(trial[4]))
        builder.report(trial, reached)
        builder.report(trial, reached - 0.1)
        builder.event("finished", trial)
    if ended:  # as the driver does
        winners = _candidates(builder.state, spec)
        for arm, (winner, *_) in winners.items():
            trial = None if winner.trial == START else winner.trial
            builder.event("evaluated", trial, arm=arm, trial=winner.trial, **FIGURES)
    return builder.finish()


def page(show: Callable[..., None], *args: Any, **options: Any) -> str:
    stream = io.StringIO()
    show(Console(file=stream, width=100), *args, **options)
    return " ".join(stream.getvalue().split())


@pytest.mark.parametrize(
    ("accuracy", "in_turn"),
    [
        (0.85, [START]),
        (0.8, [START]),
        (0.75, ["t0000", START]),  # should t0000 be damaged, t0001 is no better
        (0.7, ["t0000", START]),
        (0.65, ["t0000", "t0001"]),  # should both be damaged, somebody may put a sound copy back
    ],
)
def test_it_comes_before_a_trial_that_it_is_as_good_as(tmp_path: Path, accuracy: float, in_turn: list[str]) -> None:
    results = sweep(tmp_path, accuracy, ended=False)
    assert [winner.trial for winner in _candidates(results.state(), results.spec)["main"]] == in_turn


@pytest.mark.parametrize("metric", ["val_accuracy", "val_loss", "val_f1"])
@pytest.mark.parametrize("ended", [True, False])
@pytest.mark.parametrize(("accuracy", "wins"), [(0.79, False), (0.8, True), (0.85, True)])
def test_it_wins_where_no_epoch_of_training_is_better(
    tmp_path: Path, accuracy: float, wins: bool, ended: bool, metric: str
) -> None:
    results = sweep(tmp_path, accuracy, ended=ended, metric=metric)
    best = find_best(load_tables(results))
    assert (best.trial, best.epoch) == ((START, 0) if wins else ("t0000", 1))
    assert best.result.val["accuracy"] == (accuracy if wins else 0.8)
    told = json.loads(json.dumps(best.as_dict(), allow_nan=False))
    assert told["trial"] == best.trial
    assert bool(told["schedule"]) == bool(told["start"]) == (not wins)
    assert [arm["trial"] for arm in told["arms"]] == [best.trial, "t0000-scratch"]  # random weights know nothing
    if ended:
        assert results.state().test["main"]["trial"] == best.trial
        assert told["test"]["accuracy"] == 0.88


def test_every_page_says_that_nothing_was_trained(tmp_path: Path) -> None:
    results = sweep(tmp_path, 0.85)
    tables = load_tables(results)
    why = "main: no epoch of training is better on validation than what its trials begin with (val accuracy 0.800 at"
    for show in (print_outcome, print_report, print_best):
        assert why in page(show, results)
    assert "main start 0.850 0.880 main after training t0000 0.800" in page(print_outcome, results)
    assert "best of main: start (nothing was trained), val accuracy 0.850" in page(print_outcome, results, short=True)
    assert "best trial start (nothing was trained)" in page(print_best, results)
    told = page(print_start, tables)
    assert "main, digits-source val loss 0.15, val accuracy 0.85" in told
    assert why in told
    record = next(record for record in read_journal(results.folder.journal) if record.get("kind") == "evaluated")
    assert notable(record, results.state()) == "best of main: start (nothing was trained), test accuracy 0.880"
    assert "main: the winner is t0000, val accuracy 0.800" in page(
        print_start, load_tables(sweep(tmp_path / "other", 0.5))
    )


@pytest.mark.parametrize(("head", "said"), [("auto", True), ("random", False)])
def test_pages_say_that_heads_began_otherwise_than_they_should(tmp_path: Path, head: str, said: bool) -> None:
    builder = SweepBuilder(tmp_path, make_spec(train={"epochs": 4, "head": head}, search={"strategy": "random"}))
    beginning = {"begins_with": "random", "why": "as the probe's solution cannot be placed: it is twice as large"}
    write_json(builder.folder.environment, {**ENVIRONMENT, "head": {"digits-source": beginning, "none": beginning}})
    builder.create("t0000", 0)
    builder.report("t0000", 0.8)
    results = builder.finish()
    why = f"heads began with torch's own initialisation, {beginning['why']}"
    for show in (print_outcome, print_report):
        assert page(show, results).count(why) == said


@pytest.mark.parametrize(("accuracy", "winner"), [(0.75, "t0000"), (0.85, START)])
@pytest.mark.parametrize("ended", [True, False])
def test_the_probe_is_an_arm_in_which_nothing_is_trained(
    tmp_path: Path, accuracy: float, winner: str, ended: bool
) -> None:
    results = sweep(tmp_path, accuracy, controls=("scratch", "probe"), ended=ended)
    main, _, probe = arm_results(load_tables(results))
    assert (main.trial, probe.trial, probe.against, probe.trained) == (winner, START, "main", None)
    assert probe.val["accuracy"] == accuracy
    told = page(print_outcome, results)
    assert "probe: nothing was trained; it is what the trials of main begin with" in told
    assert f"probe start {accuracy:.3f} {'0.880' if ended else '-'}" in told
    assert f"gain over probe {max(0.8, accuracy) - accuracy:+.3f}" in told
    assert find_best(load_tables(results)).as_dict()["gain"]["probe"]["of"] == "main"
    assert set(results.state().test) == ({"main", "scratch", "probe"} if ended else set())


def test_its_recipe_has_no_step_is_sound_and_is_not_trained_again(tmp_path: Path) -> None:
    results = sweep(tmp_path, 0.85)
    write_recipe(results.path)
    told = yaml.safe_load(results.folder.recipe.read_text())
    assert told == recipe(results)
    assert (told["trial"], told["schedule"], told["reached"]["epoch"]) == (START, [], 0)
    assert told["reached"]["val_accuracy"] == 0.85
    assert told["model"]["weights"] is not None
    assert missing_recipe(results.folder) is None
    results.folder.recipe.unlink()
    repair(results.folder)
    assert yaml.safe_load(results.folder.recipe.read_text()) == told
    with pytest.raises(ResultsError, match="there is no training to repeat; the network is in best/"):
        confirmation(results, 5)
    results.folder.recipe.write_text(results.folder.recipe.read_text().replace("trial: start", "trial: t0000"))
    assert "is damaged" in str(missing_recipe(results.folder))


def test_it_does_not_compete_with_a_recipe_that_is_trained_again_nor_where_nothing_is_known_of_it() -> None:
    environment = {"start": {"main": {"A": {"val_loss": 0.5, "val_accuracy": 0.7}, "B": {"val_accuracy": 0.8}}}}
    search = make_spec(search={"strategy": "random"}).search
    found = best_start(environment, "main", search)
    assert found is not None
    assert found.weights == "B"
    assert best_start(environment, "scratch", search) is best_start({}, "main", search) is None
    assert best_start(None, "main", search) is None
    assert best_start(environment, "main", search.model_copy(update={"metric": "val_f1"})) is None
    step = {"to_epoch": 4, "values": {"lr": 0.1}}
    again = make_spec(train={"epochs": 4, "lr": 0.1}, search={"strategy": "recipe", "schedule": [step]})
    assert best_start(environment, "main", again.search) is None
