"""Sweeps over federations: clients.parquet, whatever was killed; arms of a study; values of the server in a search."""

import io
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
import simulated_sweep
from rich.console import Console
from simulated_sweep import SimulatedSweep
from sudden_death import Killed, killed_at
from without_ray import run_sweep

from tlsweep.cluster.nodes import Cluster
from tlsweep.data import Task, load_task
from tlsweep.data.federation import clients_of, federation_in
from tlsweep.errors import DataError
from tlsweep.report.best import find_best
from tlsweep.report.tables import load_tables
from tlsweep.spec import DigitsData, ImageSpec, load_spec
from tlsweep.spec.images import require_images
from tlsweep.store import Results
from tlsweep.store.schema import CLIENTS
from tlsweep.sweep.assignment import Assignment
from tlsweep.sweep.environment import environment
from tlsweep.sweep.prepare import clients_by_arm
from tlsweep.terminal.best import print_best
from tlsweep.terminal.outcome import print_outcome
from tlsweep.terminal.report import print_report

KEY = ["trial", "generation", "epoch"]
PBT = ("search.strategy=pbt", "search.population=3", "search.quantile=0.4", "train.epochs=4")


@pytest.fixture
def federations(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every report tells of three clients, of which the first took no part."""
    plain = simulated_sweep.report_row

    def with_clients(assignment: Assignment, epoch: int, score: float) -> dict[str, Any]:
        common = {"fold": 0, "repeat": 0, "train_images": 8, "val_images": 4}
        idle = {"train_loss": None, "train_accuracy": None, "drift": None}
        busy = {"train_loss": 0.5, "train_accuracy": 0.5, "drift": 0.1}
        clients = [common | (busy if at else idle) | {"client": at, "val_accuracy": score + at} for at in range(3)]
        return plain(assignment, epoch, score) | {"by_client": clients}

    monkeypatch.setattr(simulated_sweep, "report_row", with_clients)


def clients_in(sweep: SimulatedSweep) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Both tables; each report has its three clients."""
    results = Results(sweep.folder)
    clients, reports = results.to_pandas("clients"), results.to_pandas("reports")
    assert list(clients.columns) == list(CLIENTS)
    found = clients.groupby(KEY).client.apply(list)
    assert found.map(lambda numbers: numbers == [0, 1, 2]).all()
    assert set(found.index) == set(reports.set_index(KEY).index)
    return clients, reports


@pytest.mark.usefixtures("instant_disk", "federations")
@pytest.mark.parametrize("at", range(2, 20, 6))
def test_killed_and_resumed_it_is_the_same_table(tmp_path: Path, at: int) -> None:
    def plain(clients: pd.DataFrame) -> str:
        return clients.drop(columns=["time", "elapsed", "sweep"]).to_csv(index=False)

    whole = SimulatedSweep(tmp_path / "whole", *PBT)
    whole.launch()
    expected, _ = clients_in(whole)
    assert expected.generation.max() > 0
    assert expected.query("client == 0").drift.isna().all()
    sweep = SimulatedSweep(tmp_path / "killed", *PBT)
    with pytest.raises(Killed), killed_at(at, "before"):
        sweep.launch()
    sweep.launch()
    assert plain(clients_in(sweep)[0]) == plain(expected)


@pytest.mark.usefixtures("instant_disk", "federations")
def test_a_round_that_is_trained_again_is_not_told_twice(tmp_path: Path) -> None:
    sweep = SimulatedSweep(tmp_path / "sweep", "search.trials=1", "train.epochs=5", seed=1)
    sweep.launch(steps=7)
    (trial,) = sweep.state().trials.values()
    last = trial.trail[-1].path
    (sweep.folder.path / last).write_bytes(b"damaged")
    sweep.damaged.add(last)
    sweep.launch()
    assert any(record.get("kind") == "repeated" for record in sweep.records())
    clients, reports = clients_in(sweep)
    assert (len(reports), len(clients)) == (5, 15)


@pytest.mark.usefixtures("instant_disk")
def test_a_sweep_without_clients_has_no_such_table(tmp_path: Path) -> None:
    sweep = SimulatedSweep(tmp_path / "sweep", "search.trials=1", "train.epochs=2")
    sweep.launch()
    assert Results(sweep.folder).clients is None


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Task:
    return load_task(DigitsData(source="digits", labels_per_class=8), 0, cache=tmp_path_factory.mktemp("digits"))


def spec_of(*overrides: str) -> ImageSpec:
    base = {
        "data": {"source": "digits", "labels_per_class": 8},
        "model": {"name": "mlp", "args": {"hidden": [16]}},
        "train": {"epochs": 3, "lr": {"loguniform": [0.01, 0.3]}, "batch_size": 8,
                  "federated": {"clients": 5, "split": {"dirichlet": 0.3}}},
        "search": {"strategy": "random", "trials": 2},
    }  # fmt: skip
    return require_images(load_spec(base, overrides), "a test")


def test_the_worst_client_chooses_the_winner_and_every_arm_has_one(
    tmp_path: Path, digits: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = spec_of("search.metric=val_worst_client", "study=federation")
    results = run_sweep(tmp_path / "sweep", spec, digits, monkeypatch)
    reports, clients = results.to_pandas("reports"), results.to_pandas("clients")
    assert set(reports.arm) == {"main", "central", "iid", "dirichlet-0.1"}
    least = clients.groupby(["arm", *KEY]).val_accuracy.min()
    told = reports.set_index(["arm", *KEY]).val_worst_client
    pd.testing.assert_series_equal(least, told.sort_index(), check_names=False)
    assert set(reports.groupby("epoch").samples.nunique()) == {1}  # as many images in each arm
    trials = results.to_pandas("trials").query("arm == 'main'").set_index("trial")
    assert (trials.best_val_worst_client == told["main"].groupby("trial").max()).all()
    winner = results.winner()
    assert winner is not None
    assert winner.trial == trials.best_val_worst_client.idxmax() or trials.best_val_worst_client.nunique() == 1
    found = find_best(load_tables(results))
    assert found.as_dict()["metric"] == "val_worst_client"
    written = io.StringIO()
    for show in (print_best, print_report, print_outcome):
        show(Console(file=written, width=160), results)
    for told in (*spec.arms, "worst client", "5 clients (dirichlet-0.3), 5 of them in a round, 1 local epoch"):
        assert told in written.getvalue()
    # Who is judged on what: in the arm `central` by the clients of the main one.
    for arm in spec.arms:
        task = replace(digits, federation=federation_in(spec, arm))
        known = clients_of(task)
        first = clients[(clients.arm == arm) & (clients.epoch == 1)].groupby("client").val_images.first()
        assert first.tolist() == known.val_images.tolist()


def test_a_population_mutates_what_the_server_does(
    tmp_path: Path, digits: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = spec_of(
        "search={strategy: pbt, population: 4, quantile: 0.5, mutate: [lr, server_lr, proximal]}",
        "train.server_optimizer=adam", "train.server_lr={loguniform: [0.001, 0.1]}",
        "train.proximal={choice: [0, 0.01, 0.1]}", "train.epochs=4",
    )  # fmt: skip
    results = run_sweep(tmp_path / "sweep", spec, digits, monkeypatch)
    reports = results.to_pandas("reports")
    later = reports.query("generation > 0")
    assert len(later)
    assert later.server_lr.between(0.001, 0.1).all()
    assert set(later.proximal) <= {0, 0.01, 0.1}
    changes = [json.loads(details) for details in results.to_pandas("events").query("kind == 'perturbed'").details]
    assert any({"server_lr", "proximal"} & set(change) for change in changes)
    for (_, _), rows in reports.groupby(["trial", "generation"]):
        assert rows.server_lr.nunique() == 1


def test_several_networks_have_clients_each(tmp_path: Path, digits: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = spec_of("data.repeats=2", "search.trials=1", "train.epochs=2")
    task = load_task(spec.data, spec.seed, cache=tmp_path)
    results = run_sweep(tmp_path / "sweep", spec, task, monkeypatch)
    clients, reports = results.to_pandas("clients"), results.to_pandas("reports")
    folds = results.to_pandas("folds")
    assert len(clients) == 2 * 2 * 5
    least = clients.groupby(["epoch", "repeat"]).val_accuracy.min()
    assert least.tolist() == folds.set_index(["epoch", "repeat"]).val_worst_client.sort_index().tolist()
    assert reports.val_worst_client.tolist() == pytest.approx(least.groupby("epoch").mean().tolist())
    assert reports.val_worst_client_se.tolist() == pytest.approx(least.groupby("epoch").sem().tolist())


def test_the_partition_is_written_down(digits: Task) -> None:
    spec = spec_of("study=federation")
    cluster = cast(Cluster, SimpleNamespace(cpus=1, gpus=0, local=True))
    known = clients_by_arm(spec, digits)
    facts = environment(digits, cluster, {"none": None}, clients=known)["data"]["clients"]
    assert facts.keys() == set(spec.arms)
    assert facts["main"] == facts["central"]
    assert len({told["fingerprint"] for told in facts.values()}) == 3
    for told in facts.values():
        assert sum(told["train_images"]) == digits.size("train")
        assert sum(told["val_images"]) == digits.size("val")
    assert json.loads(json.dumps(facts)) == facts
    assert np.ptp(facts["iid"]["train_images"]) <= 1


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["train.federated.clients=41"], "train.federated.clients = 41: each needs 2 images"),
        (["train.federated.split={classes: 11}"], "must be at most 10, as there are 10 classes and 5 clients"),
        (
            ["study={federation: true, few_labels: [1, 8]}", "train.federated.clients=6"],
            r"^with 1 labels a class \(study.few_labels\): .* and there are 10 to train on; .*, or more labels$",
        ),
    ],
)
def test_more_clients_than_images_are_refused_before_anything_starts(
    digits: Task, overrides: list[str], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        clients_by_arm(spec_of(*overrides), digits)
