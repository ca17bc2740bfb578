"""What every verb says of a sweep over a function of the user's own."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from own_functions import QUADRATIC
from without_ray import run_function_sweep

from tlsweep.spec import FunctionSpec, load_spec

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results folder of a sweep that has ended."""
    folder = tmp_path_factory.mktemp("results")
    spec = load_spec({**QUADRATIC, "name": "mine"})
    assert isinstance(spec, FunctionSpec)
    with pytest.MonkeyPatch.context() as patch:
        run_function_sweep(folder / "mine", spec, patch)
    (folder / "mine.yaml").write_text(yaml.safe_dump(QUADRATIC))
    return folder


SAYS = {
    "best": ("distance", "best/state.pt", "own_functions:quadratic", "scale"),
    "report": ("best distance", "own_functions:quadratic", "What works here"),
    "trial": ("best distance", "why it ended"),
    "columns": ("distance", "start_form", "best_distance"),
}


@pytest.mark.parametrize(("verb", "said"), SAYS.items(), ids=SAYS)
def test_pages_speak_of_its_own_metrics_and_hyperparameters(
    run: Run, results: Path, verb: str, said: tuple[str, ...]
) -> None:
    code, output, errors = run(verb, "mine", "--results", str(results))
    assert code == 0, errors
    for text in said:
        assert text in output
    assert "accuracy" not in output
    assert "test split" not in output


def test_a_trial_is_told_epoch_by_epoch(run: Run, results: Path) -> None:
    code, output, errors = run("trial", "mine", "t0001", "--results", str(results))
    assert code == 0, errors
    assert "Its epochs" in output
    assert "distance" in output


def test_the_page_is_made(run: Run, results: Path) -> None:
    assert run("report", "mine", "--html", "--results", str(results))[0] == 0
    page = (results / "mine/report.html").read_text()
    assert "distance" in page
    assert "has not met the test split" not in page


def test_a_test_of_ones_own_is_shown_where_there_is_one(run: Run, tmp_path: Path) -> None:
    spec = load_spec({**QUADRATIC, "name": "tested", "finalise": "own_functions:measures_quadratic"})
    assert isinstance(spec, FunctionSpec)
    with pytest.MonkeyPatch.context() as patch:
        run_function_sweep(tmp_path / "tested", spec, patch)
    winner = json.loads((tmp_path / "tested/best/metrics.json").read_text())
    for verb, more in (("best", ()), ("trial", (winner["trial"],))):
        code, output, errors = run(verb, "tested", *more, "--results", str(tmp_path))
        assert code == 0, errors
        assert f"distance {winner['test']['distance']:.3f}" in output
        assert "unknown -" in output
        assert "damaged" not in output
    (tmp_path / "tested.yaml").write_text(yaml.safe_dump({**QUADRATIC, "finalise": "own_functions:measures_quadratic"}))
    code, output, errors = run("debug", str(tmp_path / "tested.yaml"), "-o", "epochs=2")
    assert code == 0, errors
    assert output.splitlines()[-1].startswith("test: distance ")


def test_debug_and_check_run_it_here(run: Run, results: Path) -> None:
    code, output, errors = run("debug", str(results / "mine.yaml"), "-o", "epochs=2")
    assert code == 0, errors
    assert output.startswith("epoch 1: distance ")
    code, output, errors = run("check", str(results / "mine.yaml"))
    assert code == 0, errors
    assert "a changed lr reaches the optimizer" in output


def test_debug_ends_where_a_sweep_ends_the_trial(run: Run, results: Path) -> None:
    code, output, errors = run(
        "debug", str(results / "mine.yaml"), "-o", "trial=own_functions:diverges", "-o", "epochs=9"
    )
    assert code == 0, errors
    assert output.splitlines()[1:] == [
        output.splitlines()[1],
        "a sweep ends the trial here: distance or a loss is not a finite number",
    ]


def test_a_traceback_begins_with_the_function(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({**QUADRATIC, "trial": "own_functions:fails"}))
    folders = os.pathsep.join(sys.path)
    done = subprocess.run(
        [sys.executable, "-m", "tlsweep", "debug", "mine.yaml"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": folders},
    )
    assert done.returncode == 1
    assert next(line for line in done.stderr.splitlines() if line.startswith("  File ")).endswith(", in fails")
    assert done.stderr.endswith("ZeroDivisionError: of \\x1b[31mmine\n")


REFUSED = {
    "export": ("export", "mine"),
    "predict": ("predict", "mine", "x.png"),
    "confirm": ("confirm", "mine"),
    "replay": ("replay", "RESULTS/mine"),
    "replay of a name": ("replay", "mine"),
    "rank": ("rank", "RESULTS/mine.yaml"),
    "suggest": ("check", "RESULTS/mine.yaml", "--suggest"),
    "contact sheet": ("check", "RESULTS/mine.yaml", "--contact-sheet", "sheet.png"),
    "another metric": ("best", "mine", "--metric", "val_loss"),
    "study": ("check", "RESULTS/mine.yaml", "--study", "freeze"),
    "controls": ("check", "RESULTS/mine.yaml", "-o", "controls=[scratch]"),
}


@pytest.mark.parametrize("arguments", REFUSED.values(), ids=REFUSED)
def test_what_is_for_networks_of_ours_is_refused_in_one_line(
    run: Run, results: Path, arguments: tuple[str, ...]
) -> None:
    Path("x.png").write_bytes(b"")
    typed = [argument.replace("RESULTS", str(results)) for argument in arguments]
    where = () if arguments[0] in ("check", "rank") else ("--results", str(results))
    code, output, errors = run(*typed, *where)
    message = errors.strip()
    assert (code, output) == (2, ""), message
    assert message.startswith("error: ")
    assert "\n" not in message
    assert "of yours" in message
