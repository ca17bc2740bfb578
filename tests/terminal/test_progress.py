"""Epochs and time that a sweep can still take."""

from pathlib import Path
from typing import Any

import pytest
from builders import SweepBuilder, make_spec
from views_of_sweeps import view_of

from tlsweep.terminal.progress import Tally, measure

ASHA = {"strategy": "asha", "trials": 5}
TALLY = Tally(3, first=103.0)


def sweep(folder: Path, **sections: Any) -> SweepBuilder:
    """Five trials of four epochs; two are created, one was stopped after one epoch, one has trained two."""
    builder = SweepBuilder(folder, make_spec(search=ASHA, controls=[], **sections))
    for number in range(2):
        builder.create(f"t{number}", number)
        builder.event("started", f"t{number}")
        builder.report(f"t{number}", 0.5)
    builder.event("stopped", "t0", reason="a rule")
    builder.report("t1", 0.6)
    return builder


def test_a_stopped_trial_needs_no_more_epochs(tmp_path: Path) -> None:
    now = measure(view_of(sweep(tmp_path)), TALLY, 106.0)
    assert (now.done, now.elapsed) == (3, 6.0)
    assert now.at_most == 3 + (4 - 2) + 3 * 4  # what is done, the open trial, those to come
    assert now.left == pytest.approx((2 + 12) * 1.5)  # two more epochs in the three seconds after the first


def test_the_budget_of_epochs_caps_what_is_left(tmp_path: Path) -> None:
    now = measure(view_of(sweep(tmp_path, budget={"epochs": 7})), TALLY, 106.0)
    assert now.at_most == 7
    assert now.left == pytest.approx(4 * 1.5)


def test_the_wall_time_caps_the_time_left(tmp_path: Path) -> None:
    builder = sweep(tmp_path, budget={"wall_time": 10})
    assert builder.state.elapsed == 3.5  # over all launches: not what this one's clock says
    assert measure(view_of(builder), TALLY, 106.0).left == pytest.approx(6.5)
    builder.state.elapsed = 12.0
    assert measure(view_of(builder), TALLY, 150.0).left == 0.0


def test_nothing_is_known_before_the_first_epoch(tmp_path: Path) -> None:
    builder = SweepBuilder(tmp_path)
    now = measure(view_of(builder), Tally(), 101.0)
    assert (now.done, now.at_most, now.left) == (0, 2 * 4 * 4, None)


def test_when_every_trial_has_ended_nothing_is_left(tmp_path: Path) -> None:
    builder = SweepBuilder(tmp_path, make_spec(search={"strategy": "asha", "trials": 1}, controls=[]))
    builder.create("t0", 0)
    builder.report("t0", 0.5)
    builder.event("stopped", "t0", reason="a rule")
    now = measure(view_of(builder), Tally(1, 101.0), 110.0)
    assert (now.done, now.at_most) == (1, 1)


def test_a_tally_counts_the_reports_from_the_first_on(tmp_path: Path) -> None:
    builder, tally = SweepBuilder(tmp_path), Tally()
    tally.add(builder.create("t0", 0), 1.0)
    tally.add(builder.create("t0-scratch", 0), 2.0)
    assert tally == Tally(0, None)
    for now, trial in ((3.0, "t0"), (4.0, "t0-scratch"), (5.0, "t0")):
        tally.add(builder.report(trial, 0.5), now)
    assert tally == Tally(3, 3.0)


def test_what_earlier_launches_trained_is_done_but_says_nothing_about_the_rate(tmp_path: Path) -> None:
    view = view_of(sweep(tmp_path, budget={"wall_time": 100}))
    now = measure(view, Tally(), 106.0)  # three epochs are known, none of them of this launch
    assert now.done == 3
    assert now.left == pytest.approx(100 - view.state.elapsed)
