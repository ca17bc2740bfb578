"""Who is trained beside whom: trials of a kind, spread over all places, as many as there is room for."""

from pathlib import Path

import pytest
from referee_harness import Stage

ALIKE = ("search.trials=20", "train.batch_size={choice: [8, 16]}")


def first_and_beside(stage: Stage, room: int, places: int) -> tuple[str, list[str]]:
    """The trial that comes first, and those that join it once its worker has said how many there is room for."""
    first = stage.referee.assign()
    assert first is not None
    assert first.tells_room
    stage.referee.started(first.trial)
    assert stage.referee.assign_beside([first.trial], places) == []
    stage.referee.learn_room({first.trial: room})
    return first.trial, [one.trial for one in stage.referee.assign_beside([first.trial], places)]


def batch_sizes(stage: Stage) -> dict[str, int]:
    ledger = stage.ledger
    return {f"t{number:04d}": int(ledger.starting_values("main", number)["batch_size"]) for number in range(20)}


@pytest.mark.parametrize(("room", "places"), [(32, 1), (32, 2), (32, 3), (4, 1), (4, 8), (1, 1)])
def test_trials_of_a_kind_share_places_evenly_in_their_order(tmp_path: Path, room: int, places: int) -> None:
    stage = Stage(tmp_path, *ALIKE)
    sizes = batch_sizes(stage)
    first, beside = first_and_beside(stage, room, places)
    alike = [trial for trial, size in sizes.items() if size == sizes[first]]
    assert [first, *beside] == alike[: min(room, -(-len(alike) // places))]


def test_whoever_comes_next_knows_it_already_and_another_kind_is_asked(tmp_path: Path) -> None:
    stage = Stage(tmp_path, *ALIKE)
    sizes = batch_sizes(stage)
    first, beside = first_and_beside(stage, 3, 2)
    others = [trial for trial in sizes if trial not in (first, *beside)]
    for trial in others:
        following = stage.referee.assign()
        assert following is not None
        assert following.trial == trial
        assert following.tells_room == (sizes[trial] != sizes[first])


@pytest.mark.parametrize(("concurrent", "beside"), [(2, 0), (4, 1), (5, 1), (40, 9)])
def test_no_more_than_so_many_trials_run_at_once(tmp_path: Path, concurrent: int, beside: int) -> None:
    stage = Stage(tmp_path, "search.trials=20", "train.batch_size=8", f"resources.concurrent={concurrent}")
    assert len(first_and_beside(stage, 32, 2)[1]) == beside


@pytest.mark.parametrize("change", ["resources.concurrent=1", "train.pack=off", "train.pack=1"])
def test_where_each_is_to_be_alone_nobody_asks(tmp_path: Path, change: str) -> None:
    stage = Stage(tmp_path, "search.trials=20", "train.batch_size=8", change)
    first = stage.referee.assign()
    assert first is not None
    assert not first.tells_room
    stage.referee.learn_room({first.trial: 9})
    assert stage.referee.assign_beside([first.trial], 1) == []


def test_one_that_failed_in_company_is_alone_from_then_on(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "search.trials=4", "train.batch_size=8")
    first, beside = first_and_beside(stage, 32, 1)
    for trial in (first, *beside):
        stage.referee.failed(trial, "Traceback:\n  line\nRuntimeError: died\n", counted=False)
    for trial in (first, *beside):
        again = stage.referee.assign()
        assert again is not None
        assert again.trial == trial
        assert stage.referee.assign_beside([trial], 1) == []
        assert stage.state.trials[trial].failures == 0


def test_who_is_promoted_joins_those_of_its_kind(tmp_path: Path) -> None:
    stage = Stage(
        *(tmp_path, "search.strategy=asha", "search.form=promotion", "search.trials=4", "train.batch_size=8"),
        *("search.reduction_factor=2", "search.min_epochs=1"),
    )
    first, beside = first_and_beside(stage, 32, 1)
    for trial in (first, *beside):
        stage.placed[trial] = stage.referee.placing.assignment(trial)
        stage.referee.started(trial) if trial != first else None
    scores = dict(zip((first, *beside), (0.1, 0.9, 0.5, 0.2), strict=True))
    assert not any(stage.train(trial, score) for trial, score in scores.items())
    best = stage.referee.assign()
    assert best is not None
    joined = [one.trial for one in stage.referee.assign_beside([best.trial], 1)]
    assert [best.trial, *joined] == ["t0001", "t0002"]
    assert [event["trial"] for event in stage.events("promoted")] == ["t0001", "t0002"]
