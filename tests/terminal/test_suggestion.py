"""`check --suggest`: what cannot be written is told before anything is measured, and nothing wrong is left behind."""

from pathlib import Path

import pytest

import tlsweep.planning
from tlsweep.cli.planning import check
from tlsweep.errors import SpecError
from tlsweep.planning.suggested_spec import rehearse_suggestion, write_suggestion
from tlsweep.planning.suggestion import Suggestion

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
