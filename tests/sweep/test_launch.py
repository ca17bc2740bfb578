"""Whole sweeps on a real Ray: rows complete, decisions carried out, nothing leaking, nothing lost."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from completeness import assert_complete

from tlsweep.errors import DataError, ResourceError, ResultsError, SweepFailed
from tlsweep.report import arm_results, load_tables
from tlsweep.spec import SweepSpec, load_spec
from tlsweep.store import Results, read_journal
from tlsweep.store.schema import HYPERPARAMETERS, METRICS
from tlsweep.sweep import launch
from tlsweep.sweep.ledger import Ledger

SUPPORT = Path(__file__).parents[1] / "support"


@pytest.fixture
def own_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start from the folder where own_code.py lies, as its user would."""
    monkeypatch.chdir(SUPPORT)
    monkeypatch.syspath_prepend(SUPPORT)


def digits(*overrides: str) -> SweepSpec:
    """The digits with a small network of random weights, so that trials take a moment."""
    base: dict[str, Any] = {
        "data": {"source": "digits", "labels_per_class": 5},
        "model": {"name": "mlp", "args": {"hidden": [16]}},
        "train": {
            "epochs": 4, "optimizer": "adam", "lr": {"loguniform": [1e-4, 1e-1]},
            "batch_size": {"powers_of_two": [4, 16]},
        },
        "search": {"strategy": "random", "trials": 4},
    }  # fmt: skip
    return load_spec(base, overrides)


@pytest.fixture(scope="module")
def asha(ray_address: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[SweepSpec, Results]:
    """A sweep with a control arm."""
    spec = digits("search.strategy=asha", "search.trials=6", "search.reduction_factor=2",
                  "model.weights={data: {source: digits, domain: source}, epochs: 2}", "controls=scratch")  # fmt: skip
    return spec, launch(spec, results=tmp_path_factory.mktemp("asha"), address=ray_address)


def test_asha_with_a_control_arm(asha: tuple[SweepSpec, Results]) -> None:
    spec, results = asha
    reports, trials = assert_complete(results), results.to_pandas("trials")

    assert len(trials) == 12
    assert set(trials.status) == {"stopped", "finished"}
    of_federations = ["val_worst_client"]
    assert reports[of_federations].isna().all().all()
    assert reports[list(METRICS)].drop(columns=of_federations).notna().all().all()
    pairs = trials.pivot_table(index="number", columns="arm", values=["start_lr", "start_batch_size"])
    assert (pairs["start_lr"].main == pairs["start_lr"].scratch).all()
    assert (pairs["start_batch_size"].main == pairs["start_batch_size"].scratch).all()

    state, winner = results.state(), results.winner()
    assert winner is not None
    assert winner.best is not None
    assert winner.best["val_accuracy"] == reports.query("arm == 'main'").val_accuracy.max()
    assert set(state.test) == {"main", "scratch"}
    metrics = json.loads((results.folder.best / "metrics.json").read_text())
    assert metrics["test"]["accuracy"] == state.test["main"]["accuracy"]
    assert sum(map(sum, metrics["test"]["confusion"])) == results.environment["data"]["images"]["test"]
    assert yaml.safe_load(results.folder.recipe.read_text())["trial"] == winner.trial
    assert results.spec == spec.model_copy(update={"name": results.name})
    kept = list((results.path / "checkpoints").rglob("*.pt"))
    start = results.environment["start"]["main"]["digits-source"]["val_accuracy"]
    assert 0.2 < start < winner.best["val_accuracy"]
    assert set(results.environment["start"]) == {"main"}  # from random weights the heads are torch's
    assert "as the source task's images were" in results.environment["normalize"]["digits-source"]
    (arm, _) = arm_results(load_tables(results))
    assert arm.start == {"digits-source": start}
    assert len(kept) <= 12  # of the three best of each arm the best and the last
    assert (results.path / winner.best["checkpoint"]) in kept


def test_the_exported_model_is_the_winner(asha: tuple[SweepSpec, Results]) -> None:
    import torch

    from tlsweep.data import load_task
    from tlsweep.data.batches import Batches
    from tlsweep.training import load_exported

    spec, results = asha
    module, info = load_exported(results.folder.best)
    # Images are normalised as the source task's were, from which the winner starts; the export says how.
    seen = {name: tuple(info.preprocessing[name]) for name in ("mean", "std")}
    task = replace(load_task(spec.data, spec.seed), **seen)
    with torch.inference_mode():
        hits = sum(int((module(x).argmax(1) == y).sum()) for x, y in Batches(task).evaluate("test", 64))
    assert hits / task.size("test") == pytest.approx(results.state().test["main"]["accuracy"])
    assert info.classes == task.classes


@pytest.mark.slow
def test_a_population_larger_than_its_places_keeps_its_workers_and_does_what_the_log_says(
    ray_address: str, tmp_path: Path, own_code: None
) -> None:
    trace = tmp_path / "trace.txt"
    spec = digits(
        "search.strategy=pbt", "search.population=5", "search.interval=2", "search.quantile=0.4", "train.epochs=6",
        "model.name=own_code:traced", f"model.args={{trace: {trace}}}",
    )  # fmt: skip
    results = launch(spec, results=tmp_path, address=ray_address)
    reports, events = assert_complete(results), results.to_pandas("events")
    assert set(results.to_pandas("trials").status) == {"finished"}
    assert reports.groupby("trial").epoch.max().eq(6).all()

    exploits = events[events.kind == "exploited"]
    assert len(exploits) > 0
    for row in exploits.itertuples():
        details = json.loads(row.details)
        after = reports[(reports.trial == row.trial) & (reports.generation == row.generation)]
        for name in HYPERPARAMETERS:
            value = details["hyperparameters"][name]
            assert (after[name].isna() if value is None else after[name] == value).all()
        assert (after.parent_trial == details["donor"]).all()
        donor = reports[
            (reports.trial == details["donor"])
            & (reports.generation == details["donor_generation"])
            & (reports.epoch == details["donor_epoch"])
        ].iloc[0]
        assert after.empty or after.samples.min() == donor.samples + reports.samples.min()
        assert 1e-4 <= details["hyperparameters"]["lr"] <= 1e-1
        assert details["hyperparameters"]["batch_size"] in (4, 8, 16)
    builds = trace.read_text().split()
    assert len(builds) > 5  # members took turns, and were built again each time
    # Two places, the final evaluation, and at most one more where Ray had to replace a worker.
    assert len(set(builds)) <= 4


def test_a_limit_below_the_population_still_trains_it_as_one(ray_address: str, tmp_path: Path) -> None:
    spec = digits(
        "search.strategy=pbt", "search.population=3", "search.interval=1", "search.quantile=0.5",
        "resources.concurrent=1", "train.epochs=3",
    )  # fmt: skip
    results = launch(spec, results=tmp_path, address=ray_address)
    assert_complete(results)
    events = results.to_pandas("events")
    compared = [len(json.loads(row)["scores"]) for row in events[events.kind == "exploited"].details]
    assert max(compared) == 3
    running = 0
    for kind in events.kind:
        running += {"started": 1, "paused": -1, "exploited": -1, "finished": -1}.get(kind, 0)
        assert running <= 1


def numbers(results: Results) -> pd.DataFrame:
    """Everything that must not depend on time and place."""
    frame = results.to_pandas("reports").sort_values(["trial", "generation", "epoch"], ignore_index=True)
    times = ["elapsed", *(name for name in frame if name.endswith("_seconds"))]
    return frame.drop(columns=[*times, "samples_per_second", "time", "node", "sweep"])


@pytest.mark.slow
def test_the_same_seed_gives_the_same_numbers_whichever_worker_ran_it(ray_address: str, tmp_path: Path) -> None:
    spec = digits("search.trials=2", "model.name=cnn", "model.args={dropout: 0.3}", "train.epochs=2")
    one = launch(spec.model_copy(update={"resources": spec.resources.model_copy(update={"concurrent": 1})}),
                 results=tmp_path, address=ray_address)  # fmt: skip
    two = launch(spec, results=tmp_path, address=ray_address)
    pd.testing.assert_frame_equal(numbers(one), numbers(two))
    starts = one.to_pandas("events").query("kind in ('started', 'finished')").kind.tolist()
    assert starts == ["started", "finished"] * 2  # one at a time
    assert (one.name, two.name) == ("spec", "spec-2")


@pytest.mark.slow
def test_a_trial_that_raises_is_retried_or_recorded_and_one_that_diverges_never_wins(
    ray_address: str, tmp_path: Path, own_code: None
) -> None:
    """Of five buildings the second fails, and the fourth and fifth: of one trial once, of another each time."""
    arguments = f"model.args={{trace: {tmp_path}/trace.txt, fail_at: [2, 4, 5]}}"
    spec = digits(
        "model.name=own_code:traced", arguments, "faults.max_failures=1", "resources.concurrent=1",
        "search.strategy=grid", "train.lr={choice: [1e-3, 2e-3, 3e-3, 1e30]}", "train.batch_size=8",
        "train.optimizer=sgd",
    )  # fmt: skip
    results = launch(spec, results=tmp_path, address=ray_address)
    assert_complete(results)
    trials, events = results.to_pandas("trials"), results.to_pandas("events")
    assert sorted(zip(trials.lr, trials.status, trials.failures, strict=True)) == [
        (1e-3, "finished", 0), (2e-3, "finished", 1), (3e-3, "failed", 1), (1e30, "stopped", 0),
    ]  # fmt: skip
    (failed,) = trials[trials.status == "failed"].itertuples()
    life = events[events.trial == failed.trial].kind.tolist()
    assert life == ["created", "started", "retried", "started", "failed"]
    retried = [json.loads(details) for details in events[events.kind == "retried"].details]
    assert len(retried) == 2
    for reason, error in [(failed.reason, failed.error), *((one["reason"], one["error"]) for one in retried)]:
        assert "RuntimeError" in reason
        assert "told to fail" in reason
        assert "own_code.py" in error
    (diverged,) = trials[trials.status == "stopped"].itertuples()
    assert "diverged" in diverged.reason
    assert pd.isna(diverged.best_val_accuracy)
    assert results.winner().hyperparameters["lr"] in (1e-3, 2e-3)  # type: ignore[union-attr]


@pytest.mark.slow
def test_a_sweep_in_which_every_trial_fails_says_so_with_the_first_traceback(
    ray_address: str, tmp_path: Path, own_code: None
) -> None:
    arguments = f"model.args={{trace: {tmp_path}/trace.txt, fail_at: [-1]}}"
    spec = digits("model.name=own_code:traced", arguments, "search.trials=2", "faults.max_failures=0",
                  "resources.concurrent=1")  # fmt: skip
    with pytest.raises(SweepFailed, match=r"all 2 trials failed; the first one \(t0000\)") as caught:
        launch(spec, results=tmp_path, name="it", address=ray_address)
    assert "told to fail" in str(caught.value)
    assert "Traceback" in str(caught.value)
    events = [one for one in read_journal(tmp_path / "it" / "journal.jsonl") if one["type"] == "event"]
    for trial in ("t0000", "t0001"):
        life = [one["kind"] for one in events if one["trial"] == trial]
        assert life == ["created", "started", "failed"]


def test_wall_time_ends_the_sweep_while_trials_run(
    ray_address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def elapsed(ledger: Ledger) -> float:
        """An hour is over as soon as there is a winner, however long that takes here."""
        return 3600.0 if any(one.best for one in ledger.state.trials.values()) else 0.0

    monkeypatch.setattr(Ledger, "elapsed", property(elapsed))
    spec = digits("budget.wall_time=1h", "train.epochs=100000", "train.lr=0.01", "resources.concurrent=1")
    results = launch(spec, results=tmp_path, address=ray_address)
    assert_complete(results)
    assert results.to_pandas("trials").reason.str.contains("the wall time of 3600 s is used up").any()
    assert results.state().test  # there is a winner all the same


def test_what_cannot_run_is_refused_before_it_starts(ray_address: str, tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match=r"resources.gpus = 1: a trial cannot have more than there are \(0\)"):
        launch(digits("resources.gpus=1"), results=tmp_path, address=ray_address)
    with pytest.raises(ResourceError, match="resources.cpus = 64"):
        launch(digits("resources.cpus=64"), results=tmp_path, address=ray_address)
    with pytest.raises(DataError, match="train.batch_size = 64: the training split has only 50 images"):
        launch(digits("train.batch_size={powers_of_two: [4, 64]}"), results=tmp_path, address=ray_address)
    with pytest.raises(ResourceError, match="--address '127.0.0.1:9': no Ray cluster answers there"):
        launch(digits(), results=tmp_path, address="127.0.0.1:9")
    with pytest.raises(ResourceError, match="write HOST:PORT"):
        launch(digits(), results=tmp_path, address="nowhere")
    assert list(tmp_path.iterdir()) == []  # nothing was left behind
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "journal.jsonl").touch()
    with pytest.raises(ResultsError, match="holds another sweep"):
        launch(digits(), results=tmp_path, name="mine", address=ray_address)
