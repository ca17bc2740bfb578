"""The picture: it fits, shows the right trials, survives change, and leaves the terminal as it was."""

import io
import itertools
import threading
from pathlib import Path

import pytest
from builders import SweepBuilder, make_spec
from rich.console import Console
from views_of_sweeps import view_of

from tlsweep.terminal.board import board
from tlsweep.terminal.live import LiveView
from tlsweep.terminal.progress import Tally, measure

SEARCHED = {
    "lr": {"loguniform": [1e-4, 0.3]},
    "batch_size": {"powers_of_two": [16, 128]},
    "weight_decay": {"loguniform": [1e-6, 1e-2]},
    "label_smoothing": {"uniform": [0, 0.2]},
    "optimizer": {"choice": ["sgd", "adamw"]},
    "epochs": 20,
}


def big_sweep(folder: Path, trials: int = 40) -> SweepBuilder:
    """Two arms of many trials: the first are stopped, the last run."""
    spec = make_spec(search={"strategy": "asha", "trials": trials}, train=SEARCHED)
    builder = SweepBuilder(folder, spec, "a-name-that-is-not-short")
    for number in range(trials):
        for trial in (f"t{number:04d}", f"t{number:04d}-scratch"):
            builder.create(
                trial, number, lr=1.2345678e-5 * (number + 1), label_smoothing=0.123456, weight_decay=1.234e-5
            )
            builder.event("started", trial)
            builder.report(trial, number / trials)
            if number < trials - 2:
                builder.event("stopped", trial, reason="below the best 1/3 at the rung of epoch 1")
    return builder


def draw(builder: SweepBuilder, width: int, height: int, phase: str = "") -> list[str]:
    view = view_of(builder)
    console = Console(file=io.StringIO(), width=width, height=height, record=True)
    progress = measure(view, Tally(80, 110.0), 161.0)
    console.print(board(view, progress, note="n" * 200, phase=phase, width=width, height=height))
    return console.export_text().splitlines()


@pytest.mark.parametrize(("width", "height"), [(80, 24), (160, 40), (100, 12), (80, 50)])
@pytest.mark.parametrize("phase", ["", "evaluating the winner on the test split"])
def test_the_picture_fits_the_terminal(tmp_path: Path, width: int, height: int, phase: str) -> None:
    lines = draw(big_sweep(tmp_path), width, height, phase)
    assert len(lines) < height  # a last line that is full would scroll
    assert height < 20 or len(lines) >= height - 3  # the room is used
    assert max(map(len, lines)) <= width
    table = [line for line in lines if line.startswith(("trial", "t00"))]
    assert not any("…" in line for line in table)
    assert {len(line.rstrip()) for line in table if "running" in line} == {
        len(line.rstrip()) for line in table if "stopped" in line
    } or height < 20
    assert lines[-1].startswith("now" if phase else "progress")


def test_running_trials_come_first_then_the_best(tmp_path: Path) -> None:
    lines = draw(big_sweep(tmp_path), 80, 24)
    shown = [line.split()[0] for line in lines if line.startswith("t00")]
    assert shown[:6] == ["t0039", "t0039-scratch", "t0038", "t0038-scratch", "t0037", "t0037-scratch"]
    assert f"and {80 - len(shown)} more: {80 - len(shown)} stopped" in lines


def test_a_wide_terminal_shows_every_searched_hyperparameter(tmp_path: Path) -> None:
    builder = big_sweep(tmp_path)
    (heading,) = (line for line in draw(builder, 160, 40) if line.startswith("trial"))
    assert all(
        name in heading for name in ("lr", "batch", "weight decay", "label smoothing", "optimizer", "val accuracy")
    )
    (narrow,) = (line for line in draw(builder, 80, 24) if line.startswith("trial"))
    assert "label smoothing" not in narrow


def test_best_so_far_names_both_arms(tmp_path: Path) -> None:
    assert "best so far  main 0.975 (t0039), scratch 0.975 (t0039-scratch)" in draw(big_sweep(tmp_path), 80, 24)


def terminal() -> tuple[Console, io.StringIO]:
    stream = io.StringIO()
    return Console(file=stream, force_terminal=True, width=80, height=24, color_system=None), stream


def test_the_cursor_is_back_after_an_interrupt(tmp_path: Path) -> None:
    console, stream = terminal()
    builder = SweepBuilder(tmp_path)
    view = LiveView(console)

    def interrupted_sweep() -> None:
        with view:
            view.phase("decoding images")
            view.begin(view_of(builder))
            view.record(builder.create("t0000", 0))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted_sweep()
    written = stream.getvalue()
    assert written.count("\x1b[?25l") == 1  # hidden once,
    assert written.rindex("\x1b[?25h") > written.rindex("\x1b[?25l")  # shown at the end
    assert view.resume


def test_it_shows_what_is_being_prepared(tmp_path: Path) -> None:
    console, stream = terminal()
    with LiveView(console) as view:
        view.phase("decoding images")
        view.progress(300, 1000)
        view._live.refresh()
    assert "decoding images" in stream.getvalue()
    assert "300 of 1,000" in stream.getvalue()
    assert view.resume is None


def test_drawing_survives_a_state_that_changes_meanwhile(tmp_path: Path) -> None:
    """The driver's thread creates trials and reports while the picture is drawn again and again."""
    console, _ = terminal()
    builder = SweepBuilder(tmp_path, make_spec(search={"strategy": "random", "trials": 300}, controls=[]))
    view = LiveView(console)
    view.begin(view_of(builder))
    enough = threading.Event()

    def drive() -> None:
        for number in itertools.count():
            view.record(builder.create(f"t{number:04d}", number))
            view.record(builder.event("started", f"t{number:04d}"))
            view.record(builder.report(f"t{number:04d}", 0.5))
            if enough.wait(0.001):
                return

    driver = threading.Thread(target=drive)
    driver.start()
    try:
        while builder.state.reports < 100:
            console.print(view._render())
    finally:
        enough.set()
        driver.join()
    assert view._tally.reports == builder.state.reports


@pytest.mark.parametrize(("width", "height"), [(1, 1), (5, 3), (20, 24), (80, 1)])
def test_a_tiny_terminal_is_no_error(tmp_path: Path, width: int, height: int) -> None:
    assert draw(big_sweep(tmp_path, trials=4), width, height)
