"""Averages of the best networks: the same after a kill, handed over only where they are better, and shown as such."""

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from without_ray import run_sweep

from tlsweep.data import Task, load_task
from tlsweep.errors import SpecError
from tlsweep.inference.card import model_card
from tlsweep.models import Weights
from tlsweep.pretrained.starting import beginning
from tlsweep.report import find_best, find_soup, load_tables, tables_by
from tlsweep.spec import SweepSpec, load_spec
from tlsweep.store import Results
from tlsweep.sweep.trainable import Shared
from tlsweep.sweep.winner import evaluating, soup
from tlsweep.terminal import print_best, print_outcome
from tlsweep.terminal.page.findings import findings
from tlsweep.training import Transfer, load_exported, souping
from tlsweep.training.checkpoint import load_checkpoint
from tlsweep.training.networks import new_network
from tlsweep.training.souping import Mix


@pytest.fixture(scope="module")
def spec() -> SweepSpec:
    return load_spec("digits", [
        "data.labels_per_class=5", "model.name=mlp", "model.args={hidden: [8]}", "train.epochs=2", "train.head=zero",
        "search={strategy: random, trials: 4}", "controls=[]", "soup=3",
    ])  # fmt: skip


@pytest.fixture(scope="module")
def task(spec: SweepSpec, tmp_path_factory: pytest.TempPathFactory) -> Task:
    return load_task(spec.data, 0, cache=tmp_path_factory.mktemp("cache"))


class _Killed(BaseException):
    """What nobody catches."""


Sweep = Callable[..., Results]


@pytest.fixture(scope="module")
def begun(spec: SweepSpec, task: Task) -> dict[str, torch.Tensor]:
    """The weights that trials begin with, bar the head."""
    return dict(new_network(Transfer(task, spec.model, weights=None, seed=10)).module.state_dict())


@pytest.fixture
def run(
    spec: SweepSpec, task: Task, begun: dict[str, torch.Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Sweep:
    """Begins or resumes a sweep in the folder of this name, with fields of its spec changed; this process plays Ray."""
    weights = Weights.from_state_dict(begun, "made up")
    heads = beginning(Transfer(task, spec.model, weights, 0), spec.train.settings()).heads

    def sweep(name: str, **changed: Any) -> Results:
        sources, begins = {"digits-source": weights}, {("digits-source", None): heads}
        return run_sweep(tmp_path / name, spec.model_copy(update=changed), task, monkeypatch, sources, begins)

    return sweep


def always(handed_over: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make an average of two trials and the start, whatever that is worth, and let it win or lose."""
    search, compare = souping.search_mix, soup._Judge.compare
    mix = Mix((0, 2), 0.25)

    def searched(count: int, score: Callable[[Mix], souping.Score]) -> tuple[Mix, dict[Mix, souping.Score]]:
        return mix, search(count, score)[1] | {mix: score(mix)}

    monkeypatch.setattr(souping, "search_mix", searched)
    monkeypatch.setattr(soup._Judge, "compare", lambda *arguments: compare(*arguments) | {"handed_over": handed_over})


def shown(results: Results) -> str:
    stream = io.StringIO()
    for show in (print_outcome, print_best):
        show(Console(file=stream, width=400), results)
    return stream.getvalue()


@pytest.mark.parametrize("handed_over", [True, False])
def test_a_kill_before_it_is_written_down_changes_nothing_and_the_better_one_is_handed_over(
    run: Sweep, monkeypatch: pytest.MonkeyPatch, handed_over: bool
) -> None:
    always(handed_over, monkeypatch)
    whole, write = run("whole"), evaluating.write_table

    def killed(*arguments: Any) -> None:
        raise _Killed

    monkeypatch.setattr(evaluating, "write_table", killed)  # the model is in best/, and nothing is in the journal
    with pytest.raises(_Killed):
        run("killed")
    monkeypatch.setattr(evaluating, "write_table", write)
    resumed = run("killed")
    assert resumed.state().soup == whole.state().soup
    assert resumed.state().test == whole.state().test
    model = "model.safetensors"
    assert (resumed.folder.best / model).read_bytes() == (whole.folder.best / model).read_bytes()

    state, tables = whole.state(), load_tables(whole)
    best, ranked = find_best(tables), state.leaders("main", 3)
    assert state.soup is not None
    assert [part["trial"] for part in state.soup["trials"]] == [ranked[0].trial, ranked[2].trial]
    assert set(state.test) == {"main", "soup"}
    assert {row["arm"] for row in tables.predictions} == {"main", "soup"}
    assert best.result.arm == ("soup" if handed_over else "main")
    assert best.trial == ranked[0].trial
    for metric in ("val_loss", "val_ece"):  # of another winner nobody knows an average
        other = find_best(tables_by(whole, metric))
        assert (other.soup is None) == ((other.trial, other.epoch) != (best.trial, best.epoch))
    metrics = json.loads((whole.folder.best / "metrics.json").read_text())
    assert metrics["trial"] == ("soup" if handed_over else ranked[0].trial)
    assert metrics["test"]["accuracy"] == state.test[best.result.arm]["accuracy"] == best.result.test["accuracy"]
    _, info = load_exported(whole.folder.best)
    made_of = f"the average of the weights of {ranked[0].trial} and {ranked[2].trial} and of what trials begin with"
    found = find_soup(tables)
    assert found is not None
    assert made_of in found.in_words()
    text = shown(whole)
    assert found.in_words() in text
    assert (f"handed over  {made_of}" in text) == handed_over
    assert found.in_words() in " ".join(findings(tables))
    assert (made_of in model_card(tables, best, info, "safetensors", with_preprocessing=False)) == handed_over
    assert ("average" in whole.folder.recipe.read_text()) == handed_over


@pytest.mark.parametrize("shares", [souping.LEANING_SHARES, (0.25,), ()])
def test_the_winner_gets_as_much_of_its_start_as_validation_cannot_tell(
    run: Sweep, begun: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch, shares: tuple[float, ...]
) -> None:
    monkeypatch.setattr(souping, "LEANING_SHARES", shares)
    asked: list[Any] = []
    judged = soup._Judge.losses_and_mistakes
    monkeypatch.setattr(
        soup._Judge, "losses_and_mistakes", lambda *network: asked.append(judged(*network)) or asked[-1]
    )
    results = run("start", soup="start")
    details, tables = results.state().soup, load_tables(results)
    losses, mistakes = ([each[row] - asked[0][row] for each in asked[1:]] for row in (0, 1))
    close = [
        worse.mean() <= worse.std(ddof=1) / len(worse) ** 0.5
        and wrong.mean() <= 2 * wrong.std(ddof=1) / len(wrong) ** 0.5
        for worse, wrong in zip(losses, mistakes, strict=True)
    ]
    found = find_soup(tables)
    assert details is not None
    assert found is not None
    assert found.in_words() in shown(results)
    assert found.in_words() in " ".join(findings(tables))
    if not any(close):
        assert len(close) == len(shares)
        assert not details["handed_over"]
        assert "any share of what trials begin with is worse than none" in found.in_words()
        return
    assert close == [False] * (len(close) - 1) + [True]
    assert details["start_share"] == shares[len(close) - 1]
    best = find_best(tables)
    assert best.result.arm == "soup"
    assert set(results.state().test) == {"main", "soup"}
    assert [part["trial"] for part in details["trials"]] == [results.state().leaders("main", 1)[0].trial]
    network, info = load_exported(results.folder.best)
    report = results.state().trials[best.trial].best
    assert report is not None
    trained = load_checkpoint(results.folder.read_checkpoint(report["checkpoint"])).tensors
    for name, tensor in network.state_dict().items():
        own, start = (1 - found.start_share) * trained[name], found.start_share * begun[name]
        assert torch.allclose(tensor, own + start) or torch.allclose(tensor, own)  # heads began with zeros
    assert found.made_of() in model_card(tables, best, info, "safetensors", with_preprocessing=False)


def test_checkpoints_of_as_many_trials_as_may_be_averaged_are_kept(run: Sweep) -> None:
    """A sweep as it is: the ingredients are among them, and an average is handed over only where it was better."""
    results = run("sweep")
    state, details = results.state(), results.state().soup
    assert details is not None
    kept = {path.parent.name for path in results.folder.checkpoints.rglob("*.pt")}  # type: ignore[union-attr]
    assert kept == {trial.trial for trial in state.leaders("main", 3)}
    assert [part["trial"] for part in details["considered"]] == [trial.trial for trial in state.leaders("main", 3)]
    judged = details.get("judged_on", {"soup": 0, "winner": 0})
    assert details["handed_over"] == (judged["soup"] > judged["winner"])
    metrics = json.loads((results.folder.best / "metrics.json").read_text())
    assert (metrics["trial"] == "soup") == details["handed_over"]
    network, _ = load_exported(results.folder.best)
    assert all(torch.isfinite(tensor).all() for tensor in network.state_dict().values())


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["model.weights=null"], "soup averages networks that were trained from one start, but model.weights are none"),
        (["train.head=random"], "with train.head random the head of each trial begins elsewhere"),
        (["data.folds=3"], "data.folds and data.repeats make several of each"),
        (["soup=1"], "soup = 1: must be a whole number from 2 to 100, or start"),
        (["soup=end"], "soup = 'end': must be"),
    ],
)
def test_what_shares_no_start_is_refused_in_one_message(overrides: list[str], words: str) -> None:
    with pytest.raises(SpecError) as caught:
        load_spec("digits", ["controls=[]", "soup=3", *overrides])
    assert words in str(caught.value)


@pytest.mark.parametrize("overrides", [["model.weights=null"], ["train.head=random"], ["data.folds=3"]])
def test_a_preset_with_a_share_of_the_start_does_without_where_none_is_shared(overrides: list[str]) -> None:
    assert load_spec("digits", ["controls=[]", "soup=start"]).arms[-1] == "soup"
    without = load_spec("digits", ["controls=[]", "soup=start", *overrides])
    assert (without.soup_trials, list(without.arms)) == (0, ["main"])


def test_where_there_is_no_average_a_reason_is_given(spec: SweepSpec, task: Task) -> None:
    network = souping.Ingredient(None, Transfer(task, spec.model, None, 0))
    entry = soup.Entry("t0000", 1, "0" * 64, {}, network)
    shared = Shared(spec, Path(), None, {"digits-source": None}, 0.0)
    leaning = replace(shared, spec=spec.model_copy(update={"soup": "start"}))
    for entries, with_spec, reason in (
        ([], shared, "no checkpoint of a trial"),
        ([entry], shared, "they share no start"),
        ([entry], leaning, "no epoch of training is better than what trials begin with"),
    ):
        made = soup.make_soup(entry, entries, with_spec)
        assert made.network is None
        assert not made.handed_over
        assert reason in made.details["reason"]
