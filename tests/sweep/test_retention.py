"""Nothing that is still needed is ever removed, and nothing else stays."""

import math
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from referee_harness import Stage

from tlsweep.sweep.retention import KEPT_TRIALS

SEARCHES = [
    ("search.strategy=random", "search.trials=7"),
    ("search.strategy=asha", "search.trials=9", "search.reduction_factor=2", "train.epochs=8"),
    ("search.strategy=pbt", "search.population=4", "train.epochs=5", "search.quantile=0.5"),
    ("search.strategy=pbt", "search.population=5", "train.epochs=8", "search.interval=2", "search.quantile=0.4"),
]


@pytest.fixture(autouse=True, scope="module")
def no_waiting_for_the_disk() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fdatasync", lambda file: None)
        yield


@pytest.mark.parametrize("search", SEARCHES)
@settings(max_examples=25, deadline=None)
@given(st.data())
def test_whatever_happens_what_is_needed_is_there_and_in_the_end_only_the_best(
    search: tuple[str, ...], data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        stage = Stage(Path(folder) / "sweep", *search)
        stage.create()
        # Members of very different speed: some have not reported when others are half through.
        speeds = data.draw(st.permutations([30, 9, 3, 1, 1, 1, 1, 1, 1]))
        random = data.draw(st.randoms(use_true_random=False))
        while live := stage.live():
            (one,) = random.choices(live, [speeds[trial.number] for trial in live])
            if random.random() < 0.02:
                stage.referee.failed(one.trial, "killed")
            else:
                accuracy = math.nan if random.random() < 0.1 else random.random()
                stage.train(one.trial, accuracy, yields=random.random() < 0.3)
            check_what_is_needed(stage)
            if stage.state.reports > 150:  # exploits may go back for a long time
                break
        stage.referee.close(interrupted=False)
        best = stage.state.leaders("main", KEPT_TRIALS)
        assert stage.files() == {one.best["checkpoint"] for one in best if one.best}
        assert {path.name for path in (stage.folder.path / "checkpoints").iterdir()} == {one.trial for one in best}


def check_what_is_needed(stage: Stage) -> None:
    files, winner = stage.files(), stage.state.winner("main")
    assert {one.restart_checkpoint for one in stage.live() if one.restart_checkpoint} <= files
    assert winner is None or (winner.best is not None and winner.best["checkpoint"] in files)


def test_disk_use_grows_neither_with_epochs_nor_with_trials(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "search.trials=40", "train.epochs=6")
    for trial in stage.create():
        for epoch in range(6):
            stage.train(trial, accuracy=epoch % 4 / 10 + stage.state.trials[trial].number / 100)
            assert len(stage.files()) <= 2 + KEPT_TRIALS
    assert {path.split("/")[1] for path in stage.files()} == {"t0037", "t0038", "t0039"}


def test_each_arm_keeps_its_own_best(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "controls=[scratch]", "model.weights=DEFAULT", "train.epochs=1", "search.trials=5")
    for trial in [*stage.create("main"), *stage.create("scratch")]:
        stage.train(trial, 0.1 if trial.endswith("scratch") else 0.9)
    assert sum("scratch" in path for path in stage.files()) == KEPT_TRIALS
    assert len(stage.files()) == 2 * KEPT_TRIALS


def test_what_dying_workers_leave_is_gone_in_the_end(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    one, two, *_ = stage.create()
    stage.train(one, 0.5)
    stage.train(two, 0.4)
    checkpoints = stage.folder.path / "checkpoints"
    (checkpoints / one / "g0-e0002.pt").touch()  # written, but killed before it was reported
    (checkpoints / two / ".g0-e0002.pt.77.tmp").touch()  # half written
    stage.referee.halt("enough")
    stage.train(two, 0.9)  # comes too late, and does not count
    stage.referee.close(interrupted=False)
    assert stage.files() == {"checkpoints/t0000/g0-e0001.pt", "checkpoints/t0001/g0-e0001.pt"}
