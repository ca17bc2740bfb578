"""`check --suggest`: what cannot be written is told before anything is measured, and nothing wrong is left behind."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

import tlsweep.planning
import tlsweep.planning.suggestion
import tlsweep.terminal
from tlsweep.cli.planning import check
from tlsweep.errors import SpecError
from tlsweep.observer import Observer
from tlsweep.planning.suggested_spec import rehearse_suggestion, write_suggestion
from tlsweep.planning.suggestion import Suggestion
from tlsweep.terminal.suggestion import print_forecast

RECIPE = "search={strategy: recipe, schedule: [{to_epoch: 1, values: {lr: 0.1}}]}"
ONE_EPOCH = "train={epochs: 1}"
MEASURED = Suggestion((10.0, 20.0), 8, 100, (8, 64), (), (1e-4, 1e-2))


@pytest.fixture(autouse=True)
def nothing_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tlsweep.planning, "make_plan", lambda *_, **__: pytest.fail("it went on to the measuring"))


def test_no_folder_for_it_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="there is no folder '.*nowhere'; make it, or name another"):
        check("digits", tmp_path / "nowhere" / "mine.yaml", suggest=True)


def test_a_spec_that_cannot_have_bounds_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="other bounds for lr, batch_size: .*recipe draws nothing"):
        check("digits", tmp_path / "mine.yaml", override=[RECIPE, ONE_EPOCH], suggest=True)
    spec = tmp_path / "odd.yaml"
    spec.write_text("data: {source: digits}\nsearch: {strategy: random}\nmodel: {args: {day: 2024-13-45}}\n")
    with pytest.raises(SpecError, match="cannot be rewritten"):
        check(str(spec), suggest=True)
    assert list(tmp_path.iterdir()) == [spec]


def test_what_is_no_spec_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="recipe draws nothing"):
        write_suggestion(MEASURED, "digits", [RECIPE, ONE_EPOCH], tmp_path / "mine.yaml")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("strategy", ["random", "grid", "asha", "pbt", "pb2", "asha_then_pbt"])
def test_what_can_be_rehearsed_can_be_written(tmp_path: Path, strategy: str) -> None:
    changes = [f"search.strategy={strategy}"]
    rehearse_suggestion("digits", changes)
    write_suggestion(MEASURED, "digits", changes, tmp_path / "mine.yaml")
    assert "measured by tlsweep check --suggest" in (tmp_path / "mine.yaml").read_text()


@pytest.mark.parametrize(("comment", "told"), [("# Measured on ants: 0.94.", True), ("# My own notes.", False)])
def test_results_of_the_spec_are_told_to_be_of_other_bounds(tmp_path: Path, comment: str, told: bool) -> None:
    spec = tmp_path / "my.yaml"
    spec.write_text(f"{comment}\ndata: {{source: digits}}\nsearch: {{strategy: random}}\n")
    write_suggestion(MEASURED, str(spec), [], tmp_path / "mine.yaml")
    written = (tmp_path / "mine.yaml").read_text()
    assert ("reached within other bounds" in written) == told
    assert comment in written


@pytest.mark.parametrize(("images", "told"), [((100, 900), "10s to 1m30s"), ((100, 100), "about 10s")])
def test_what_measuring_takes_is_told_before_it(
    images: tuple[int, int], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    print_forecast(Console(width=80), images, 0.1)
    assert f"Measuring where to search takes {told}, longer" in " ".join(capsys.readouterr().out.split())


def test_into_a_pipe_go_plan_and_bounds_and_the_steps_go_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def measure(*_: object, observer: Observer, **__: object) -> Suggestion:
        observer.phase("1 of 1: gradient noise scale")
        return MEASURED

    plan = SimpleNamespace(train_images=100, seconds_per_image=0.01)
    monkeypatch.setattr(tlsweep.planning, "make_plan", lambda *_, **__: plan)
    monkeypatch.setattr(tlsweep.terminal, "print_plan", lambda *_: print("the plan"))
    monkeypatch.setattr(tlsweep.planning.suggestion, "suggest", measure)
    check("digits", tmp_path / "mine.yaml", suggest=True)
    out, err = capsys.readouterr()
    assert out.startswith("the plan\n\nnoise scale")
    assert err.strip().startswith("Measuring where to search takes ")
    assert err.endswith("1 of 1: gradient noise scale\n")
