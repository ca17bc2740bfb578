"""A sweep that is resumed with more trials, epochs or budget; and with a clock that was set back."""

import itertools
import re
import time
import zlib
from collections import Counter
from pathlib import Path

import pytest
from simulated_sweep import SimulatedSweep, assert_complete
from sudden_death import Killed, killed_at

from tlsweep.errors import SpecError
from tlsweep.store import Status
from tlsweep.store.tables import read_table

pytestmark = pytest.mark.usefixtures("instant_disk")

RANDOM = ("search.trials=5",)
STOPPING = ("search.strategy=asha", "search.trials=7", "search.reduction_factor=2", "train.epochs=8")
PROMOTION = (*STOPPING, "search.form=promotion")
PBT = ("search.strategy=pbt", "search.population=4", "search.quantile=0.5", "train.epochs=5")
SYNCHRONOUS = (*PBT, "search.synchronous=true", "search.interval=2")
FOR_WANT_OF_BUDGET = '"out_of_budget": true'


def decided(sweep: SimulatedSweep) -> list[str]:
    """Without ends that a larger budget has undone."""
    return [one for one in sweep.history() if FOR_WANT_OF_BUDGET not in one]


@pytest.mark.usefixtures("no_tables")
@pytest.mark.parametrize("search", [RANDOM, STOPPING, PROMOTION, SYNCHRONOUS])
def test_a_budget_that_grows_decides_as_one_that_was_there_from_the_beginning(
    tmp_path: Path, search: tuple[str, ...]
) -> None:
    whole = SimulatedSweep(tmp_path / "whole", *search)
    whole.launch()
    for first in (1, 4, 9):
        sweep = SimulatedSweep(tmp_path / f"{first}", *search, f"budget.epochs={first}")
        assert sweep.launch().reports == first
        sweep.extend(f"budget.epochs={first + 3}")
        assert sweep.launch().reports == first + 3
        assert_complete(sweep)
        sweep.extend("budget.epochs=null")
        sweep.launch()
        assert decided(sweep) == whole.history(), first
        assert sweep.outcome() == whole.outcome(), first


@pytest.mark.usefixtures("no_tables")
def test_trials_that_are_added_are_those_of_a_sweep_that_had_them_from_the_beginning(tmp_path: Path) -> None:
    whole, sweep = SimulatedSweep(tmp_path / "whole", *RANDOM), SimulatedSweep(tmp_path / "sweep", "search.trials=2")
    whole.launch()
    sweep.launch()
    sweep.extend(*RANDOM)
    sweep.launch()
    assert sweep.history() == whole.history()
    assert sweep.outcome() == whole.outcome()


@pytest.mark.usefixtures("no_tables")
@pytest.mark.parametrize("search", [RANDOM, STOPPING, PROMOTION, PBT, SYNCHRONOUS])
@pytest.mark.parametrize("slots", [1, 3])
def test_trials_that_were_trained_to_the_end_go_on_when_there_are_more_epochs(
    tmp_path: Path, search: tuple[str, ...], slots: int
) -> None:
    sweep = SimulatedSweep(tmp_path / "sweep", *search, slots=slots)
    state = sweep.launch()
    kept = {one.trial for one in state.trials.values() if one.trail and one.trail[-1].path in sweep.files()}
    finished = {one.trial for one in state.trials.values() if one.status is Status.FINISHED} & kept
    assert finished
    sweep.extend(f"train.epochs={sweep.spec.train.epochs + 3}")
    with pytest.raises(Killed), killed_at(2, "after"):
        sweep.launch()
    state = sweep.launch()
    assert_complete(sweep)
    (resumed, *_) = (one["details"] for one in sweep.records() if one.get("kind") == "resumed")
    assert finished == set(resumed["reopened"])
    assert resumed["extended"]["train.epochs"] == {"from": sweep.spec.train.epochs - 3, "to": sweep.spec.train.epochs}
    ended = [state.trials[trial] for trial in finished]
    assert all(one.epoch > sweep.spec.train.epochs - 3 for one in ended)
    assert all(one.epoch == sweep.spec.train.epochs or "diverged" in str(one.reason) for one in ended)


@pytest.mark.usefixtures("no_tables")
def test_another_spec_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    sweep = SimulatedSweep(tmp_path / "sweep", *RANDOM)
    sweep.launch(steps=5)
    before = sweep.folder.journal.read_bytes()
    sweep.extend("seed=3")
    with pytest.raises(SpecError, match="seed = 3: the sweep began with 0"):
        sweep.launch()
    assert sweep.folder.journal.read_bytes() == before


@pytest.mark.usefixtures("no_tables")
def test_a_target_that_is_reached_stays_reached(tmp_path: Path) -> None:
    sweep = SimulatedSweep(tmp_path / "sweep", *RANDOM, "budget.target=0.5")
    reports = sweep.launch().reports
    assert reports < 20
    before = sweep.outcome()
    assert sweep.launch().reports == reports
    assert sweep.outcome() == before


@pytest.mark.usefixtures("no_tables")
def test_an_interrupted_arm_without_budget_has_ended_after_the_resume(tmp_path: Path) -> None:
    """Else the sweep would ask to be resumed for ever."""
    settled = 0
    for at in range(20, 40):
        sweep = SimulatedSweep(tmp_path / f"{at}", *PBT, "controls=[no-explore]", "budget.epochs=6")
        state = sweep.launch(steps=at)
        used = Counter(one["arm"] for one in sweep.records() if one["type"] == "report")
        settled += any(one.status is Status.INTERRUPTED and used[one.arm] == 6 for one in state.trials.values())
        assert Status.INTERRUPTED not in {one.status for one in sweep.launch().trials.values()}
    assert settled


def test_the_tables_repeat_the_journal_and_time_never_goes_back_whatever_the_clock_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = itertools.count(1.7e9, -10.0)
    monkeypatch.setattr(time, "time", lambda: next(seconds))
    sweep = SimulatedSweep(tmp_path / "sweep", *PBT, slots=2)
    for at in (5, 9, 14):
        with pytest.raises(Killed), killed_at(at, "after"):
            sweep.launch()
    sweep.launch()
    assert_complete(sweep)
    for kind, table in (("report", "reports"), ("event", "events")):
        rows = read_table(sweep.folder.path, table).to_pylist()
        journal = [one for one in sweep.records() if one["type"] == kind]
        keys = ("trial", "generation", "epoch")
        assert [[row[key] for key in keys] for row in rows] == [[one[key] for key in keys] for one in journal]
        for column in ("time", "elapsed"):
            values = [row[column] for row in rows]
            assert values == sorted(values)
        assert rows[-1]["elapsed"] > 0


@pytest.mark.usefixtures("no_tables")
@pytest.mark.parametrize("search", [RANDOM, PROMOTION, PBT])
def test_a_sweep_that_an_earlier_version_began_goes_on_and_decides_alike(
    tmp_path: Path, search: tuple[str, ...]
) -> None:
    """Its lines do not say which one they follow; they come first, and the new ones follow them."""
    whole, sweep = SimulatedSweep(tmp_path / "whole", *search), SimulatedSweep(tmp_path / "old", *search)
    whole.launch()
    for _ in range(2):
        sweep.launch(steps=6)
        old = []
        for line in (tmp_path / "old/journal.jsonl").read_bytes().splitlines():
            body = re.sub(rb'"follows":"[0-9a-f]{8}",', b"", line[9:])
            old.append(b"%08x %b\n" % (zlib.crc32(body), body))
        (tmp_path / "old/journal.jsonl").write_bytes(b"".join(old))
    sweep.launch()
    assert (sweep.history(), sweep.outcome()) == (whole.history(), whole.outcome())
    assert (tmp_path / "old/journal.jsonl").read_bytes().count(b'"follows"')
