"""A worker trains those that it is given side by side, and lets go of them and takes others in as it is told."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest

from tlsweep.data import load_task
from tlsweep.data.views import with_few_labels
from tlsweep.schedulers import DecisionPoints
from tlsweep.spec import ImageSpec, load_spec
from tlsweep.sweep import handover, trainable
from tlsweep.sweep.assignment import Assignment, Message, from_result, room_in
from tlsweep.sweep.handover import Answer
from tlsweep.sweep.packs.place import Place
from tlsweep.sweep.trainable import Shared
from tlsweep.training.packs.company import Company

SPEC = load_spec(
    {
        "data": {"source": "digits", "labels_per_class": 3},
        "model": {"name": "mlp", "args": {"hidden": [8]}},
        "train": {"epochs": 4, "precision": "fp32"},
        "search": {"strategy": "random", "trials": 3},
    }
)
ONE, TWO, THREE = (
    Assignment(name, "main", 0, None, seed, {"lr": 0.1, "batch_size": 8}) for seed, name in enumerate("abc", 1)
)


class _Stopped(BaseException):
    """Ends the function as Tune does."""


@pytest.fixture
def hears(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[dict[str, Any]]]:
    """Trains some in a place, whose driver answers as a function says; what the driver heard."""
    assert isinstance(SPEC, ImageSpec)
    task = with_few_labels(load_task(SPEC.data, 0, cache=tmp_path), 3, 0)
    (tmp_path / "checkpoints").mkdir()
    shared = Shared(SPEC, tmp_path, task, {"none": None}, 0.0)
    monkeypatch.setattr(trainable, "fetch", lambda reference: reference)
    monkeypatch.setattr(trainable, "_with_labels", lambda task, labels, seed: task)
    monkeypatch.setattr(trainable.ray, "get_runtime_context", lambda: SimpleNamespace(get_node_id=lambda: "here"))

    def train(first: list[Assignment], answer: Callable[[dict[str, Any]], Answer | None]) -> list[dict[str, Any]]:
        heard: list[dict[str, Any]] = []

        def report(result: dict[str, Any]) -> None:
            heard.append(result)
            told = answer(result)
            if told is None:
                raise _Stopped
            if told != Answer():
                handover._leave({"leave": told.leave, "join": [one.to_config() for one in told.join]}, None)

        monkeypatch.setattr(trainable.tune, "report", report)
        with pytest.raises(_Stopped):
            Place(shared).occupy(first)
        return heard

    return train


def told_by(heard: list[dict[str, Any]]) -> dict[str, list[Message]]:
    """The messages of each trial."""
    messages = [message for result in heard for message in from_result(result)]
    return {trial: [one for one in messages if one.trial == trial] for trial in {one.trial for one in messages}}


def losses(messages: list[Message]) -> list[float]:
    return [message.figures["train_loss"] for message in messages]


def last_epoch(result: dict[str, Any], *trials: str) -> bool:
    return {message.trial for message in from_result(result) if message.epoch == 4} >= set(trials)


def test_several_are_trained_as_each_would_be_alone(hears: Any) -> None:
    def until_the_end(*trials: str) -> Callable[[dict[str, Any]], Answer | None]:
        return lambda result: None if last_epoch(result, *trials) else Answer()

    together = hears([ONE, TWO, THREE], until_the_end("a", "b", "c"))
    assert [sorted({one.trial for one in from_result(result)}) for result in together] == [["a", "b", "c"]] * 4
    for one in (ONE, TWO, THREE):
        alone = told_by(hears([one], until_the_end(one.trial)))[one.trial]
        assert losses(told_by(together)[one.trial]) == losses(alone)
        assert [message.digest for message in told_by(together)[one.trial]] == [message.digest for message in alone]


def test_who_leaves_is_heard_of_no_more_and_who_joins_is(hears: Any) -> None:
    def answer(result: dict[str, Any]) -> Answer | None:
        epochs = {message.trial: message.epoch for message in from_result(result)}
        if epochs == {"a": 2, "b": 2}:
            return Answer(("a",), (THREE,))
        return None if last_epoch(result, "c") else Answer()

    heard = told_by(hears([ONE, TWO], answer))
    assert [one.epoch for one in heard["a"]] == [1, 2]
    assert [one.epoch for one in heard["c"]] == [1, 2, 3, 4]
    assert [one.epoch for one in heard["b"]][:2] == [1, 2]


def test_it_says_how_many_it_has_room_for_where_that_is_asked(hears: Any) -> None:
    asked = replace(ONE, tells_room=True)

    def answer(result: dict[str, Any]) -> Answer | None:
        return Answer(join=(TWO,)) if room_in(result) else None if last_epoch(result, "b") else Answer()

    heard = hears([asked], answer)
    assert [(room_in(result), from_result(result)) for result in heard[:1]] == [({"a": 32}, [])]
    assert losses(told_by(heard)["a"]) == losses(told_by(hears([ONE, TWO], answer))["a"])


def test_a_trial_goes_on_elsewhere_from_what_was_kept(hears: Any) -> None:
    """With another beside it than before."""
    whole = told_by(hears([ONE], lambda result: None if last_epoch(result, "a") else Answer()))["a"]

    def leaves(result: dict[str, Any]) -> Answer | None:
        return None if any(one.epoch == 2 for one in from_result(result)) else Answer()

    begun = told_by(hears([ONE, TWO], leaves))["a"]
    trail = ((begun[-1].checkpoint, begun[-1].digest, 2),)
    went_on = hears([THREE, replace(ONE, trail=trail)], lambda result: None if last_epoch(result, "a") else Answer())
    assert losses(begun + told_by(went_on)["a"]) == losses(whole)


def test_while_one_waits_for_a_decision_the_others_go_on(hears: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """And it goes on with them when it has its answer, as if it had never waited."""
    asks = replace(ONE, decision_points=DecisionPoints(every=1))
    patient = replace(TWO, decision_points=DecisionPoints())
    went_on, advance = Event(), Company.advance

    def noted(company: Company) -> Any:
        rows = advance(company)
        if "a" not in rows:
            went_on.set()
        return rows

    def answer(result: dict[str, Any]) -> Answer | None:
        epochs = [one.epoch for one in from_result(result) if one.trial == "a"]
        if epochs == [1]:
            assert went_on.wait(60)
        return None if 4 in epochs else Answer()

    monkeypatch.setattr(Company, "advance", noted)
    beside = told_by(hears([asks, patient], answer))
    alone = told_by(hears([asks], lambda result: None if last_epoch(result, "a") else Answer()))
    assert losses(beside["a"]) == losses(alone["a"])
    assert [one.checkpoint is not None for one in beside["a"]] == [True] * 4


def test_no_report_of_one_that_leaves_is_sent_after_that(hears: Any) -> None:
    """Though it may be answered while the others are trained."""
    first = [replace(one, decision_points=DecisionPoints(every=2)) for one in (ONE, TWO, THREE)]

    def answer(result: dict[str, Any]) -> Answer | None:
        trials = {message.trial: message.epoch for message in from_result(result)}
        left.extend(set(trials) & set(left))
        told = Answer(leave=tuple(trial for trial, epoch in trials.items() if trial != "c" and epoch == 2))
        left.extend(told.leave)
        return None if trials.get("c") == 4 else told

    left: list[str] = []
    heard = told_by(hears(first, answer))
    assert sorted(left) == ["a", "b"]
    assert {trial: [one.epoch for one in own] for trial, own in heard.items()} == {
        "a": [1, 2],
        "b": [1, 2],
        "c": [1, 2, 3, 4],
    }
