"""Whatever is printed: text of others is shown escaped, and never obeyed by the terminal."""

import io
import json
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from builders import SweepBuilder, make_spec
from rich.console import Console
from rich.text import Text
from views_of_sweeps import view_of

from tlsweep.cli.program import complain
from tlsweep.planning import Plan
from tlsweep.planning.ranking import Ranked, Ranking
from tlsweep.planning.transferability import Scores
from tlsweep.report import find_best, load_tables, trial_life
from tlsweep.spec import ModelSpec
from tlsweep.store import Results
from tlsweep.store.files import write_json
from tlsweep.terminal import draw_outcome, print_best, print_outcome, print_plan, print_ranking, print_report
from tlsweep.terminal.console import SafeConsole, to_json
from tlsweep.terminal.live import LiveView
from tlsweep.terminal.plain import PlainView
from tlsweep.terminal.presets import print_presets
from tlsweep.terminal.remote import print_jobs, stop_job, watch
from tlsweep.terminal.trial import print_trial
from tlsweep.text import one_line

NAMES = [
    "a\x1b]0;owned\x07b\x1b[2J\x9b2Jb",  # codes: the title of the window, a cleared screen
    "a\rb\nb\x08b",  # a line of its own, one that is written over
    "a\x7fb\u202eb\u2028b",  # reversed text, line separators that are none of ASCII
    "a\udceab\x85b",  # bytes that are no UTF-8
    "[red]a[/red]",  # what rich takes for colours
]
MADE_BY_RICH = re.compile(r"\x1b\[(\?25[lh]|\d*[AKm])|\r(?!b)")
OBEYED = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\ud800-\udfff]")

Print = Callable[[Console, str, Path], None]


def sweep(name: str, folder: Path) -> Results:
    """One that has `name` wherever others have a say: classes, errors, reasons, weights, machine, arm of a trial."""
    folder, name = folder / name, one_line(name) if re.search("[\x85\ud800-\udfff]", name) else name  # as stored
    model = {"name": "cnn", "weights": {"choice": [name, "none"]}}
    builder = SweepBuilder(folder, make_spec(model=model, controls=[]))
    for number in (0, 1):
        builder.create(f"t000{number}", number)["details"]["hyperparameters"]["weights"] = name
    builder.report("t0000", 0.75)
    builder.event("failed", "t0001", reason=f"ValueError: {name}", error=f"Traceback:\n  line\nValueError: {name}")
    facts = {"classes": [name, "bee"], "images": {"train": 5}, "fingerprint": name}
    origin = {"origin": name, "sha256": name}
    hardware = {"processor": name, "cpus": 1, "gpus": 0}
    write_json(builder.folder.environment, {"data": facts, "weights": origin, "hardware": hardware})
    figures = {"precision": [0.5, 0.5], "recall": [0.5, 0.5], "f1": [0.5, 0.5], "support": [7, 7]}
    whole = dict.fromkeys(("loss", "accuracy", "precision", "recall", "f1"), 0.5)
    event = {"trial": "t0000", **whole, "per_class": figures, "confusion": [[3, 4], [4, 3]]}
    builder.event("evaluated", "t0000", **event)
    return builder.finish()


def running(name: str, folder: Path, view: Any) -> None:
    """What a view is told while a sweep runs."""
    builder = SweepBuilder(folder, make_spec(controls=[]))
    view.phase(f"reading {name}")
    view.begin(view_of(builder, dashboard=name))
    view.record(builder.create("t0000", 0))
    view.record(builder.report("t0000", 0.5))
    view.record(builder.event("failed", "t0000", reason=f"ValueError: {name}", error=name))


def plain(console: Console, name: str, folder: Path) -> None:
    running(name, folder, PlainView(console.file))


def live(console: Console, name: str, folder: Path) -> None:
    with LiveView(console) as view:
        view.phase(name)
        view._live.refresh()
        running(name, folder, view)
        view._live.refresh()


def outcome_from_elsewhere(console: Console, name: str, folder: Path) -> None:
    """Drawn by a cluster that may be no better than the names."""
    from tlsweep.text import coloured_lines

    drawn = draw_outcome(sweep(name, folder), 100, short=False) + f"\x1b[31m{name}\x1b[0m"
    console.print(Text.from_ansi(coloured_lines(drawn)))


def job(name: str) -> Any:
    return SimpleNamespace(
        id=name, over=False, status="stopped", started=1.0, ended=2.0, results=name, sweep=name, node=None, code=0
    )


def stop(console: Console, name: str, folder: Path) -> None:
    del console
    del folder
    stop_job(SimpleNamespace(stop=lambda one: one, url=name, read=lambda *_: b""), job(name))  # type: ignore[arg-type]


def attach(console: Console, name: str, folder: Path) -> None:
    del console, folder
    over = SimpleNamespace(**(vars(job(name)) | {"over": True}))
    log = f"line of {name}".replace("\n", " ").encode(errors="surrogateescape")
    watch(SimpleNamespace(job=lambda one: over, read=lambda *_: log, url=name), name)  # type: ignore[arg-type]


def status(console: Console, name: str, folder: Path) -> None:
    del folder
    row = {"job": name, "sweep": name, "results": name, "state": name, "exit_code": None, "started": 1.0, "ended": 2.0}
    print_jobs(console, [row | {"trials": {name: 1}, "epochs": 1, "best": {"main": {"trial": name, "x": 0.5}}}], name)
    print_jobs(console, [], name)


PLAN = Plan(
    arms=("main",), trials=1, epochs_at_most=1, train_images=5, val_images=5, test_images=5, classes=(),
    image_shape=(3, 8, 8), model="", weights="", parameters=1, device="cpu", slots=1, seconds_at_most=1.0,
    checkpoint_bytes=1, storage_bytes=1, nodes_checked=0,
)  # fmt: skip


def plan(console: Console, name: str, folder: Path) -> None:
    del folder
    print_plan(console, replace(PLAN, classes=(name, "b"), model=name, weights=name, device=name))


def ranking(console: Console, name: str, folder: Path) -> None:
    del folder
    ranked = Ranked(ModelSpec(name="cnn", weights=name), 5, 5, Scores(*[0.5] * 5), 1.0)
    print_ranking(console, Ranking("probe", 5, 5, 8, (ranked,)))
    print_ranking(console, Ranking("probe", 5, 5, 8, (ranked,)), as_json=True)


PRINTED: dict[str, Print] = {
    "best": lambda console, name, folder: print_best(console, sweep(name, folder)),
    "report": lambda console, name, folder: print_report(console, sweep(name, folder)),
    "outcome": lambda console, name, folder: print_outcome(console, sweep(name, folder)),
    "trial": lambda console, name, folder: print_trial(console, trial_life(sweep(name, folder), "t0001")),
    "short": lambda console, name, folder: print_outcome(console, sweep(name, folder), short=True),
    "json": lambda console, name, folder: print(to_json(find_best(load_tables(sweep(name, folder))).as_dict())),
    "elsewhere": outcome_from_elsewhere,
    "plain": plain,
    "live": live,
    "plan": plan,
    "ranking": ranking,
    "presets": lambda console, name, folder: print_presets(console, {name: f"# {name}"}),
    "status": status,
    "stop": stop,
    "attach": attach,
    "error": lambda console, name, folder: complain(f"error: no class {name}"),
    "anything": lambda console, name, folder: console.print(name, Text(name)),
}


@pytest.mark.parametrize("name", NAMES, ids=ascii)
@pytest.mark.parametrize("what", PRINTED)
def test_names_are_shown_and_not_obeyed(
    what: str, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")  # refuses surrogates, as a terminal's stream does
    console = SafeConsole(stream, width=400, height=50, force_terminal=what == "live", color_system=None)
    monkeypatch.chdir(tmp_path)
    PRINTED[what](console, name, tmp_path / "results")
    stream.flush()
    captured = capsys.readouterr()
    text = stream.buffer.getvalue().decode() + captured.out + captured.err  # type: ignore[attr-defined]
    seen = MADE_BY_RICH.sub("", text)
    assert OBEYED.findall(seen) == []
    as_it_is = what in ("json", "attach", "presets") or (what in ("error", "anything") and "\n" in name)
    dropped_by_rich = what == "anything" and re.search("[\x07\x08\r]", name)
    assert as_it_is or dropped_by_rich or one_line(name) in seen


def test_a_traceback_of_ours_keeps_its_lines_and_escapes_the_rest(capsys: pytest.CaptureFixture[str]) -> None:
    from tlsweep.cli.program import show_defect

    try:
        raise ZeroDivisionError("in \x1b]0;owned\x07\udcea")
    except ZeroDivisionError:
        show_defect(*sys.exc_info())  # type: ignore[arg-type]
    err = capsys.readouterr().err
    assert err.startswith("Traceback (most recent call last):\n  File ")
    assert err.endswith("ZeroDivisionError: in \\x1b]0;owned\\x07\\xea\n")


def test_json_stays_json() -> None:
    for name in NAMES:
        assert json.loads(to_json({name: name})) == {name: name}
