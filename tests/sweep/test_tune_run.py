"""Tune gets a place for each slot; a worker keeps its own while there is a slot for it and somebody to train."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune import PlacementGroupFactory

from tlsweep.sweep import tune_run
from tlsweep.sweep.assignment import Assignment, trials_in
from tlsweep.sweep.tune_run import TrialQueue


class FakeReferee:
    """Gives out this many trials; its sweep may have been halted."""

    def __init__(self, trials: int, beside: int = 0) -> None:
        """`beside`: how many can be trained with each."""
        self.names = [f"t{number:04d}" for number in range(trials)]
        self.beside = beside
        self.halted = False
        self.ending = self

    def tick(self) -> bool:
        return self.halted

    def assign(self) -> Assignment | None:
        return Assignment(self.names.pop(0), "main", 0, None, 5, {"lr": 0.1}) if self.names else None

    def assign_beside(self, trials: Sequence[str], places: int) -> list[Assignment]:
        return [one for _ in range(self.beside) if (one := self.assign()) is not None]


@pytest.fixture
def places(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A cluster whose slots change; Tune's own part of a trial is left out."""
    monkeypatch.setattr(tune_run, "Stay", lambda run, **given: SimpleNamespace(run=run, **given))
    return SimpleNamespace(slots=2, look=lambda: None)


def queue_on(referee: Any, places: Any) -> TrialQueue:
    queue = TrialQueue(referee, PlacementGroupFactory([{"CPU": 1}]), places)
    queue.add_configurations([SimpleNamespace(spec={"run": "it", "storage": None})])
    return queue


def test_there_is_a_place_for_each_slot_and_a_worker_keeps_its_own(places: Any) -> None:
    queue = queue_on(FakeReferee(9), places)
    first, second = queue.next_trial(), queue.next_trial()
    assert first is not None
    assert second is not None
    assert [trials_in(one.config) for one in (first, second)] == [["t0000"], ["t0001"]]
    assert first.trial_id != second.trial_id
    assert queue.next_trial() is None
    assert [one.trial for one in (*queue.following(), *queue.following())] == ["t0002", "t0003"]
    queue.on_trial_complete(first.trial_id)
    third = queue.next_trial()
    assert third is not None
    assert (trials_in(third.config), third.trial_id not in (first.trial_id, second.trial_id)) == (["t0004"], True)


def test_a_place_is_given_up_where_slots_went_away(places: Any) -> None:
    queue = queue_on(FakeReferee(9), places)
    first = queue.next_trial()
    assert first is not None
    assert queue.next_trial() is not None
    places.slots = 1
    assert not queue.following()
    queue.on_trial_complete(first.trial_id)
    assert queue.following()


@pytest.mark.parametrize("ends", ["halted", "finished", "nobody"])
def test_a_place_is_given_up_where_nobody_is_to_be_trained(places: Any, ends: str) -> None:
    referee = FakeReferee(1 if ends == "nobody" else 9)
    queue = queue_on(referee, places)
    assert queue.next_trial() is not None
    if ends == "finished":
        queue.set_finished()
    referee.halted = ends == "halted"
    assert not queue.following()
    assert queue.next_trial() is None


def test_where_no_slot_is_left_nobody_joins(places: Any) -> None:
    queue = queue_on(FakeReferee(9, beside=2), places)
    places.slots = 0
    assert queue.joining(["t0000"]) == []


def test_a_place_has_those_that_can_be_trained_together_from_its_start(places: Any) -> None:
    queue = queue_on(FakeReferee(9, beside=2), places)
    first = queue.next_trial()
    assert first is not None
    assert trials_in(first.config) == ["t0000", "t0001", "t0002"]
    assert [one.trial for one in queue.joining(["t0000"])] == ["t0003", "t0004"]
    assert [one.trial for one in queue.following()] == ["t0005", "t0006", "t0007"]
