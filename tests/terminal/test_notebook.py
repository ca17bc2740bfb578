"""In a notebook: one cell output that changes in place, whose markup is ours alone."""

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from builders import MARKUP, SweepBuilder, make_spec
from views_of_sweeps import view_of

import tlsweep
from tlsweep.sweep import launch
from tlsweep.terminal import notebook
from tlsweep.terminal.notebook import NotebookView


class Cell:
    """What IPython's `display` shows: each change of it, as text and as HTML."""

    def __init__(self) -> None:
        self.displayed = 0
        self.texts: list[str] = []
        self.pages: list[str] = []

    def display(self, shown: Any, *, display_id: bool) -> "Cell":
        assert display_id  # else there is nothing to change
        self.displayed += 1
        self.update(shown)
        return self

    def update(self, shown: Any) -> None:
        self.texts.append(repr(shown))
        self.pages.append(shown._repr_html_())


@pytest.fixture
def cell(monkeypatch: pytest.MonkeyPatch) -> Cell:
    """A kernel, as far as it is asked for anything: it is no package that these tests need."""
    cell, ipython, display = Cell(), ModuleType("IPython"), ModuleType("IPython.display")
    vars(ipython).update(get_ipython=lambda: SimpleNamespace(kernel=object()), display=display)
    vars(display).update(display=cell.display)
    for name, module in (("IPython", ipython), ("IPython.display", display), ("ipykernel", ModuleType("ipykernel"))):
        monkeypatch.setitem(sys.modules, name, module)
    return cell


def test_the_picture_changes_in_place_and_stays(cell: Cell, tmp_path: Path) -> None:
    builder, now = SweepBuilder(tmp_path, make_spec(controls=[])), 0.0
    with NotebookView(lambda: now) as view:
        view.phase("reading images")
        view.progress(3, 7)
        assert "reading images" in cell.texts[-1]
        view.begin(view_of(builder))
        view.record(builder.create("t0000", 0))
        view.record(builder.report("t0000", 0.5))
        before = len(cell.pages)
        for _ in range(50):  # at once: the notebook keeps each change
            view.record(builder.report("t0000", 0.5))
        assert len(cell.pages) == before
        now = 1.0
        view.record(builder.report("t0000", 0.75))
        assert len(cell.pages) == before + 1
        assert "0.750 (t0000)" in cell.texts[-1]
        view.warn("tracking by mlflow has stopped")
        view.end()
        view.phase("evaluating the winner on the test split")
    assert cell.displayed == 1
    assert cell.texts[-1].splitlines()[-2:] == ["now          done", "warning: tracking by mlflow has stopped"]
    assert max(map(len, cell.texts[-1].splitlines())) <= notebook.WIDTH
    assert cell.pages[-1].startswith("<pre style=")


def test_what_ended_it_is_seen(cell: Cell) -> None:
    with pytest.raises(OSError, match="away"), NotebookView():
        raise OSError("away")
    assert "ended by OSError" in cell.texts[-1]


def test_text_of_others_is_text_in_the_page(cell: Cell, tmp_path: Path) -> None:
    builder = SweepBuilder(tmp_path, make_spec(controls=[]))
    with NotebookView() as view:
        view.phase(MARKUP)
        view.begin(view_of(builder))
        builder.create("t0000", 0)
        view.record(builder.event("stopped", "t0000", reason=MARKUP))
        view.warn(MARKUP)
    for page in cell.pages:
        assert [part for part in ("<script", "<img", "\x1b", "\x07") if part in page] == []
    assert any("&lt;script&gt;" in page for page in cell.pages)


def test_launch_and_resume_have_that_view_in_a_notebook_alone(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []

    def launched(spec: object, *, results: str = "results", observer: object = None) -> str:
        given.append(observer)
        return "results"

    monkeypatch.setattr("tlsweep.sweep.launch", launched)
    assert tlsweep.launch("spec", results="elsewhere") == "results"  # type: ignore[arg-type, comparison-overlap]
    assert isinstance(given.pop(), NotebookView)
    mine = object()
    tlsweep.launch("spec", observer=mine)  # type: ignore[arg-type]
    assert given.pop() is mine
    monkeypatch.setattr(sys.modules["IPython"], "get_ipython", lambda: object())  # IPython in a terminal
    assert tlsweep.launch is launched  # type: ignore[comparison-overlap]
    monkeypatch.delitem(sys.modules, "ipykernel")
    monkeypatch.setattr("tlsweep.sweep.launch", launch)
    assert tlsweep.launch is launch
