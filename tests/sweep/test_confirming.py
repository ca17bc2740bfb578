"""A confirmation trains the winner and its rivals with the same fresh seeds, and says which is better."""

import io
import json
from pathlib import Path

import pytest
import torch
from rich.console import Console
from without_ray import run_sweep

from tlsweep.data import Task, load_task
from tlsweep.models import Weights
from tlsweep.pretrained.starting import beginning
from tlsweep.report import find_best, find_confirmation, load_tables
from tlsweep.report.recipe import confirmation, replayed
from tlsweep.spec import SweepSpec, load_spec
from tlsweep.store import Results
from tlsweep.terminal import print_best, print_outcome
from tlsweep.terminal.page.findings import findings
from tlsweep.training import Transfer, load_exported, souping, unpack
from tlsweep.training.checkpoint import load_checkpoint
from tlsweep.training.networks import new_network

COMMON = [
    "data.labels_per_class=5", "model={name: mlp, args: {hidden: [8]}}", "controls=[]", "train.epochs=3",
]  # fmt: skip


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    return load_task(load_spec("digits", COMMON).data, 0, cache=tmp_path_factory.mktemp("cache"))


def test_the_best_and_controls_are_trained_again_with_the_same_seeds(
    tmp_path: Path, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = load_spec("digits", [*COMMON, "search={strategy: random, trials: 4}"])
    won = run_sweep(tmp_path / "sweep", spec, task, monkeypatch)
    again = load_spec({**confirmation(won, 3, top=3), "train_images": 50})
    first, second, third, _ = (trial.trial for trial in won.state().leaders("main", 4))
    assert again.arms == ("main", second, third, "constant", "hyperrule", "tutorial")
    found = run_sweep(tmp_path / "again", again, load_task(again.data, 0, cache=tmp_path / "cache"), monkeypatch)

    created = {event["arm"]: event["details"]["hyperparameters"] for event in load_tables(found).events
               if event["kind"] == "created"}  # fmt: skip
    values = {trial.trial: trial.hyperparameters for trial in won.state().leaders("main", 4)}
    for arm, trial in (("main", first), (second, second), (third, third)):
        assert {name: created[arm][name] for name in ("lr", "batch_size", "optimizer", "lr_schedule")} == {
            name: values[trial][name] for name in ("lr", "batch_size", "optimizer", "lr_schedule")
        }
    assert created["constant"] == created["main"] | {"lr_schedule": "constant", "warmup_epochs": 0.0}
    assert (created["tutorial"]["lr"], created["tutorial"]["batch_size"]) == (0.001, 4)
    last = {row["arm"]: row["epoch"] for row in found.reports.to_pylist()}
    assert [last[arm] for arm in ("main", second)] == [won.state().trials[trial].best["epoch"]  # type: ignore[index]
                                                       for trial in (first, second)]  # fmt: skip
    assert last["tutorial"] == last["hyperrule"] == last["constant"] == 3

    shown = found.to_pandas("predictions")
    accuracy = (shown.label == shown.predicted).groupby([shown.arm, shown.repeat]).mean().unstack(0)
    verdict = find_confirmation(load_tables(found))
    assert verdict is not None
    assert verdict.claim.test_accuracy == won.state().test["main"]["accuracy"]
    contenders = {contender.result.arm: contender for contender in (verdict.winner, *verdict.rivals)}
    for arm in again.arms:
        assert contenders[arm].by_seed == pytest.approx(accuracy[arm].tolist())
        if arm != "main":
            behind = contenders[arm].behind
            assert behind is not None
            assert behind.value == pytest.approx(float((accuracy["main"] - accuracy[arm]).mean()))
            assert behind.low <= behind.value <= behind.high
    means = [rival.test.value for rival in verdict.rivals]
    assert means == sorted(means, reverse=True)
    for text in (shown_on_screen(found), " ".join(findings(load_tables(found)))):
        assert verdict.verdict[1:] in text  # as a sentence of its own it begins with a capital
        assert verdict.comparison in text
    told = json.loads(json.dumps(find_best(load_tables(found)).as_dict()))["confirmation"]
    assert told["contenders"][0]["arm"] == "main"


def shown_on_screen(results: Results) -> str:
    stream = io.StringIO()
    for show in (print_outcome, print_best):
        show(Console(file=stream, width=400), results)
    return stream.getvalue()


def test_it_hands_over_what_the_sweep_handed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A share of the start: replayed with its own seed the same share; over fresh seeds each network has its own."""
    spec = load_spec("digits", [
        "data.labels_per_class=5", "model.name=mlp", "model.args={hidden: [8]}", "controls=[]", "train.epochs=3",
        "search={strategy: random, trials: 2}", "soup=start", "train.head=zero",
    ])  # fmt: skip
    task = load_task(spec.data, 0, cache=tmp_path / "cache")
    state = dict(new_network(Transfer(task, spec.model, weights=None, seed=10)).module.state_dict())
    weights = {"digits-source": Weights.from_state_dict(state, "made up")}

    def run(name: str, spec: SweepSpec) -> Results:
        task = load_task(spec.data, 0, cache=tmp_path / "cache")
        transfer = Transfer(task, spec.model, weights["digits-source"], 0)
        heads = {("digits-source", None): beginning(transfer, spec.train.settings()).heads}
        return run_sweep(tmp_path / name, spec, task, monkeypatch, weights, heads)

    # What a validation loss cannot tell: so that each network leans, and each by as much as it may.
    monkeypatch.setattr(souping, "LEANING_SHARES", (0.5, 1e-9))
    won = run("sweep", spec)
    soup = won.state().soup
    assert soup is not None
    assert soup["handed_over"]
    assert "With `soup: start` a replay" in won.folder.recipe.read_text()

    replay = run("replay", load_spec(replayed(won.folder.recipe, None)))
    assert replay.state().soup == {**soup, "trials": [{**soup["trials"][0], "trial": "t0000"}]}
    model = "model.safetensors"
    assert (replay.folder.best / model).read_bytes() == (won.folder.best / model).read_bytes()

    again = load_spec({**confirmation(won, 2), "controls": []}, ["search.rivals={}"])
    assert (again.soup, again.arms) == ("start", ("main", "soup"))
    found = run("again", again)
    tables, soup = load_tables(found), found.state().soup
    verdict = find_confirmation(tables)
    assert verdict is not None
    assert soup is not None
    assert verdict.winner.result.arm == "soup"
    assert [rival.result.arm for rival in verdict.rivals] == ["main"]
    assert verdict.claim.test_accuracy == won.state().test["soup"]["accuracy"]
    best = found.state().trials["t0000"].best
    assert best is not None
    first, share = unpack(found.folder.read_checkpoint(best["checkpoint"]), 2)[0], soup["start_shares"][0]
    trained, exported = load_checkpoint(first).tensors, load_exported(found.folder.best)[0].state_dict()
    for name, tensor in exported.items():
        own = (1 - share) * trained[name]
        assert torch.allclose(tensor, own + share * state[name]) or torch.allclose(
            tensor, own
        )  # heads began with zeros
    predicted = found.to_pandas("predictions").query("arm == 'soup'")
    right = (predicted.label == predicted.predicted).groupby(predicted.repeat).mean()
    assert verdict.winner.by_seed == pytest.approx(right.tolist())
    assert "as a mean over 2 networks" in shown_on_screen(found)
    assert found.state().test["soup"]["accuracy"] == pytest.approx(right.mean())
