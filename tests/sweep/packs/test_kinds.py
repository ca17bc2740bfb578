"""Who is trained beside whom: trials of a kind, spread over all places, as many as there is room for."""

from collections import Counter
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


def test_one_that_failed_in_company_is_alone_until_it_has_got_on(tmp_path: Path) -> None:
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
        stage.placed[trial] = again
        stage.referee.started(trial)
    assert stage.train(first, 0.5)
    stage.referee.placing.give_back(beside[0])  # it waits, and has not got on
    assert stage.referee.assign_beside([first], 1) == []
    stage.placed[beside[0]] = stage.referee.assign() or again
    assert stage.train(beside[0], 0.5)
    stage.referee.placing.give_back(beside[0])
    assert [one.trial for one in stage.referee.assign_beside([first], 1)] == beside[:1]


@pytest.mark.parametrize(
    ("change", "kinds"),
    [
        ("train.mixup={choice: [0, 0.4]}", 2),
        ("train.rotation={choice: [0, 10]}", 1),
        ("train.lr_schedule={choice: [cosine, constant]}", 1),
        ("train.label_smoothing={choice: [0, 0.1]}", 2),
        ("train.optimizer={choice: [sgd, adam]}", 2),
    ],
)
def test_trials_are_of_a_kind_that_can_be_computed_together(tmp_path: Path, change: str, kinds: int) -> None:
    stage = Stage(tmp_path, "search.trials=20", "train.batch_size=8", change)
    _, beside = first_and_beside(stage, 32, 1)
    assert (len(beside) < 19) == (kinds > 1)


def test_what_tpe_draws_is_not_drawn_ahead(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "search.trials=20", "train.batch_size=8", "search.sampler=tpe")
    assert first_and_beside(stage, 32, 1)[1] == []


@pytest.mark.parametrize("places", [1, 2])
def test_other_kinds_and_arms_get_their_turn(tmp_path: Path, places: int) -> None:
    """However many there are of one kind, and though each that ends makes room for another."""
    stage = Stage(
        *(tmp_path, "search.trials=200", "train.batch_size={choice: [8, 16]}", "train.epochs=1"),
        *("controls=[scratch]", "model.weights.data.source=digits"),
    )
    begun: list[str] = []
    rooms = [list[str]() for _ in range(places)]
    for _ in range(150):
        for room in rooms:
            if not room and (first := stage.referee.assign()):
                join(stage, [first.trial], room)
            join(stage, [one.trial for one in stage.referee.assign_beside(room, places)], room)
            begun += [trial for trial in room if trial not in begun]
            if not stage.train(room[0], 0.5):
                room.pop(0)
    kinds = Counter((trial.arm, trial.hyperparameters["batch_size"]) for trial in stage.state.trials.values())
    assert min(kinds[arm, size] for arm in ("main", "scratch") for size in (8, 16)) >= 10
    assert len(begun) > 100


def join(stage: Stage, trials: list[str], room: list[str]) -> None:
    for trial in trials:
        assignment = stage.placed[trial] = stage.referee.placing.assignment(trial)
        stage.referee.started(trial)
        if assignment.tells_room:
            stage.referee.learn_room({trial: 32})
    room += trials


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
