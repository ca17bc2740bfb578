"""Lines for pipes."""

import io
from pathlib import Path

import pytest
from builders import SweepBuilder, make_spec
from rich.console import Console
from views_of_sweeps import view_of

from tlsweep.terminal.live import LiveView
from tlsweep.terminal.plain import PROGRESS_SECONDS, PlainView, QuietView
from tlsweep.terminal.views import make_view


class Clock:
    """A clock that stands still until it is told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[SweepBuilder, PlainView, io.StringIO, Clock]:
    monkeypatch.chdir(tmp_path)
    builder, stream, clock = SweepBuilder(tmp_path / "results", make_spec(controls=[])), io.StringIO(), Clock()
    return builder, PlainView(stream, clock), stream, clock


def test_one_line_for_each_notable_thing(said: tuple[SweepBuilder, PlainView, io.StringIO, Clock]) -> None:
    builder, view, stream, clock = said
    view.phase("decoding images")
    view.begin(view_of(builder))
    for number, trial in enumerate(("t0000", "t0001", "t0002")):
        view.record(builder.create(trial, number, lr=0.0123456))
        view.record(builder.event("started", trial))
        view.record(builder.report(trial, 0.5 + number / 10))
        clock.now += 1
    view.record(builder.exploit("t0000", "t0002", 1, lr=0.01, batch_size=64))
    view.record(builder.event("stopped", "t0001", reason="diverged: the loss is not a finite number"))
    view.record(builder.event("failed", "t0002", reason="ValueError: [boom]", error="…"))
    view.record(builder.event("finished", "t0000", reason="trained to the last epoch"))
    view.end()
    view.record(builder.event("evaluated", "t0002", accuracy=0.68))
    assert stream.getvalue().splitlines() == [
        "decoding images",
        "sweep demo, pbt: 4 members × 4 epochs, in 2 places",
        "results in results/demo",
        "'tlsweep report demo --serve' shows them in a browser",
        "dashboard at http://127.0.0.1:8265",
        "'ray get-auth-token' prints the token that the dashboard asks for",
        "1 of at most 16 epochs after 0s; 1 running; best 0.500 (t0000)",
        "t0000 took over the weights of t0002 (epoch 1) and goes on with lr 0.01, batch size 64",
        "t0001 stopped after 1 epoch (lr 0.0123, batch size 32, best val accuracy 0.600): "
        "diverged: the loss is not a finite number",
        "t0002 failed after 1 epoch (lr 0.0123, batch size 32, best val accuracy 0.700): ValueError: [boom]",
        "t0000 finished after 1 epoch (lr 0.01, batch size 64, best val accuracy 0.500)",
        "best of main: t0002, test accuracy 0.680",
    ]


def test_progress_is_told_at_most_every_ten_seconds(said: tuple[SweepBuilder, PlainView, io.StringIO, Clock]) -> None:
    builder, view, stream, clock = said
    view.begin(view_of(builder))
    view.record(builder.create("t0000", 0))
    before = len(stream.getvalue().splitlines())
    for _ in range(40):  # one epoch a second
        view.record(builder.report("t0000", 0.5))
        clock.now += 1
    lines = stream.getvalue().splitlines()[before:]
    assert len(lines) == 40 / PROGRESS_SECONDS
    assert lines[1] == "11 of at most 23 epochs after 10s, at most 12s left; 0 running; best 0.500 (t0000)"


def test_preparation_progress_is_told_at_most_every_ten_seconds(
    said: tuple[SweepBuilder, PlainView, io.StringIO, Clock],
) -> None:
    _, view, stream, clock = said
    view.phase("decoding images")
    for done in range(0, 3000, 100):
        view.progress(done, 3000)
        clock.now += 1
    assert stream.getvalue().splitlines()[1:] == [
        "decoding images: 0 of 3,000", "decoding images: 1,000 of 3,000", "decoding images: 2,000 of 3,000",
    ]  # fmt: skip


class Terminal(io.StringIO):
    """A stream that says it is one."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "environment", "quiet", "expected"),
    [
        (Terminal(), {"TERM": "xterm"}, False, LiveView),
        (Terminal(), {"TERM": "xterm"}, True, QuietView),
        (Terminal(), {"TERM": "dumb"}, False, PlainView),
        (io.StringIO(), {"TERM": "xterm"}, False, PlainView),
        (io.StringIO(), {"TERM": "xterm", "FORCE_COLOR": "1"}, False, PlainView),
    ],
)
def test_the_view_suits_where_it_writes(
    stream: io.StringIO, environment: dict[str, str], quiet: bool, expected: type
) -> None:
    console = Console(file=stream, _environ=environment)
    assert type(make_view(console, quiet=quiet)) is expected


def test_quiet_says_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    builder = SweepBuilder(tmp_path)
    with QuietView() as view:
        view.phase("decoding images")
        view.progress(1, 2)
        view.begin(view_of(builder))
        view.record(builder.create("t0000", 0))
        view.end()
    assert capsys.readouterr() == ("", "")
    assert view.resume


def test_what_goes_wrong_beside_the_sweep_is_said_by_every_view(capsys: pytest.CaptureFixture[str]) -> None:
    """And stays to be read: the picture on a terminal vanishes at its end."""
    stream, terminal = io.StringIO(), io.StringIO()
    PlainView(stream).warn("tracking by \x1b[2J has stopped")
    QuietView().warn("tracking by \x1b[2J has stopped")
    with LiveView(Console(file=terminal, force_terminal=True, width=80)) as view:
        view.warn("tracking by \x1b[2J has stopped")
    said = "warning: tracking by \\x1b[2J has stopped"
    assert (stream.getvalue(), capsys.readouterr()) == (f"{said}\n", ("", f"{said}\n"))
    assert said in terminal.getvalue()
