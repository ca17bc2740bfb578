"""The winner and its recipe."""

import json
from contextlib import closing
from pathlib import Path

import pytest
import yaml
from builders import ENVIRONMENT, SweepBuilder, make_spec, make_sweep

from tlsweep.errors import ResultsError
from tlsweep.report import find_best, lineage, load_tables, recipe, write_recipe
from tlsweep.spec import Hyperparameters, load_spec
from tlsweep.spec.search.hyperrule import hyperrule
from tlsweep.store import Record, journal, lines
from tlsweep.store.lines import Line, decode


def test_a_recipe_is_the_lineage_of_the_winner(tmp_path: Path) -> None:
    results = make_sweep(tmp_path)
    told = recipe(results)
    segments = lineage(load_tables(results).events, "t0001", 1, 4)
    assert told["schedule"] == [
        {"from_epoch": 0, "to_epoch": 1, "trial": "t0000", "number": 0, "lr": 0.01, "batch_size": 32},
        {"from_epoch": 1, "to_epoch": 2, "trial": "t0002", "number": 2, "lr": 0.0125, "batch_size": 32},
        {"from_epoch": 2, "to_epoch": 4, "trial": "t0001", "number": 1, "lr": 0.01, "batch_size": 64},
    ]
    for entry, segment in zip(told["schedule"], segments, strict=True):
        values = {name: entry[name] for name in ("lr", "batch_size")} | told["constants"]
        assert Hyperparameters(**values).model_dump() == segment.hyperparameters
    assert told["data_fingerprint"] == ENVIRONMENT["data"]["fingerprint"]
    assert (told["epochs"], told["seed"], told["reached"]["val_accuracy"]) == (4, 0, 0.95)


def test_another_hyperparameter_that_changed_is_in_the_schedule_not_among_the_constants(tmp_path: Path) -> None:
    builder = SweepBuilder(tmp_path)
    for number in range(2):
        builder.create(f"t{number}", number, momentum=0.9)
    builder.report("t1", 0.5)
    builder.exploit("t0", "t1", 1, momentum=0.8)
    builder.report("t0", 0.7)
    told = recipe(builder.finish())
    assert [entry["momentum"] for entry in told["schedule"]] == [0.9, 0.8]
    assert "momentum" not in told["constants"]


def test_the_written_recipe_reads_back_and_names_data_and_model_of_the_spec(tmp_path: Path) -> None:
    results = make_sweep(tmp_path)
    write_recipe(results.path)
    told = yaml.safe_load(results.folder.recipe.read_text())
    assert told == recipe(results)
    again = load_spec({"data": told["data"], "model": told["model"], "search": {"strategy": "random"}})
    assert (again.data, again.model) == (results.spec.data, results.spec.model)


def test_the_control_s_recipe_starts_from_random_weights(tmp_path: Path) -> None:
    told = recipe(make_sweep(tmp_path), "scratch")
    assert told["trial"] == "t0001-scratch"
    assert told["model"]["weights"] is None


def test_a_recipe_needs_no_parquet(tmp_path: Path) -> None:
    builder = SweepBuilder(tmp_path)
    builder.create("t0000", 0)
    builder.report("t0000", 0.5)
    builder.write_journal()
    write_recipe(builder.folder.path)
    assert yaml.safe_load(builder.folder.recipe.read_text())["trial"] == "t0000"


def test_what_is_known_of_trials_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the end of a sweep its journal has all reports in it, of which a recipe has no use."""

    def noted(line: bytes) -> Line | None:
        seen.append(line)
        return decode(line)

    results = make_sweep(tmp_path)
    state, told = results.state(), recipe(results)
    records = list(journal.read_journal(results.folder.journal))
    results.folder.journal.unlink()
    with closing(journal.Journal(results.folder.journal)) as each_in_a_line:
        for record in records:
            each_in_a_line.append(record)
    seen: list[bytes] = []
    monkeypatch.setattr(journal, "decode", noted)
    monkeypatch.setattr(lines, "decode", noted)
    assert recipe(results, state=state) == told
    assert len(seen) == sum(event["kind"] in ("created", "exploited") for event in load_tables(results).events)


def test_without_a_result_there_is_no_recipe(tmp_path: Path) -> None:
    builder = SweepBuilder(tmp_path)
    builder.create("t0000", 0)
    results = builder.finish()
    write_recipe(results.path)
    assert not results.folder.recipe.exists()
    with pytest.raises(ResultsError, match="there is no recipe"):
        recipe(results)


def test_the_best_of_a_sweep_as_strict_json(tmp_path: Path) -> None:
    results = make_sweep(tmp_path)
    write_recipe(results.path)
    best = find_best(load_tables(results))
    told = json.loads(json.dumps(best.as_dict(), allow_nan=False))
    assert (told["trial"], told["epoch"]) == ("t0001", 4)
    assert (told["start"]["batch_size"], told["end"]["batch_size"]) == (32, 64)
    assert [(entry["from_epoch"], entry["to_epoch"]) for entry in told["schedule"]] == [(0, 1), (1, 2), (2, 4)]
    gain = {"of": "main", "val_accuracy": pytest.approx(0.2), "test_accuracy": pytest.approx(0.22)}
    assert told["gain"]["scratch"] == gain | {"test_interval": None}
    assert [(arm["arm"], arm["pretrained"]) for arm in told["arms"]] == [("main", True), ("scratch", False)]
    assert (told["model"], told["recipe"]) == (None, str(results.folder.recipe))


def test_a_metric_that_is_not_finite_is_null_in_json(tmp_path: Path) -> None:
    builder = SweepBuilder(tmp_path)
    builder.create("t0000", 0)
    builder.report("t0000", 0.5, f1=float("nan"))
    told = find_best(load_tables(builder.finish())).as_dict()
    assert told["validation"]["f1"] is None
    assert told["test"] is None


def starting_from(record: Record, weights: str) -> None:
    """What a real sweep writes beside the hyperparameters."""
    record["details"]["hyperparameters"]["weights"] = weights


@pytest.mark.parametrize(("accuracy", "pretrained"), [(0.9, True), (0.3, False)])
def test_of_weights_that_are_searched_those_of_the_winner_count(
    tmp_path: Path, accuracy: float, pretrained: bool
) -> None:
    spec = make_spec(model={"weights": {"choice": ["none", "a.pth"]}}, search={"strategy": "random"}, controls=[])
    builder = SweepBuilder(tmp_path, spec)
    for number, (weights, reached) in enumerate((("none", 0.5), ("a.pth", accuracy))):
        starting_from(builder.create(f"t000{number}", number), weights)
        builder.report(f"t000{number}", reached)
    told = find_best(load_tables(builder.finish())).as_dict()["arms"]
    assert [(one["trial"], one["pretrained"]) for one in told] == [(f"t000{int(pretrained)}", pretrained)]


def test_the_control_of_weights_that_are_searched_is_not_pretrained(tmp_path: Path) -> None:
    spec = make_spec(model={"weights": {"choice": ["b.pth", "a.pth"]}}, search={"strategy": "random"})
    builder = SweepBuilder(tmp_path, spec)
    for trial, weights in (("t0000", "a.pth"), ("t0000-scratch", "none")):
        starting_from(builder.create(trial, 0), weights)
        builder.report(trial, 0.5)
    told = find_best(load_tables(builder.finish())).as_dict()["arms"]
    assert [one["pretrained"] for one in told] == [True, False]


def test_an_arm_has_the_values_that_its_trial_was_created_with(tmp_path: Path) -> None:
    """After a resume with more epochs the rule would choose others."""
    train = {"lr": {"loguniform": [1e-4, 0.3]}, "epochs": 8}
    spec = make_spec(controls=["hyperrule"], train_images=100, train=train, search={"strategy": "random"})
    builder, used = SweepBuilder(tmp_path, spec), hyperrule(100, 4).model_dump()
    builder.create("t0000", 0)
    builder.create("t0000-hyperrule", 0, **used)
    for trial in ("t0000", "t0000-hyperrule"):
        builder.report(trial, 0.5)
    told = {one["arm"]: one["hyperparameters"] for one in find_best(load_tables(builder.finish())).as_dict()["arms"]}
    assert used != spec.arm("hyperrule").hyperparameters
    assert told == {"main": {}, "hyperrule": used}
