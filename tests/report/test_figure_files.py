"""Every figure of a sweep becomes a file, drawn by a real Chrome; what is missing for that is said in one message."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, get_args

import plotly.io
import pytest
from builders import make_hostile_sweep, make_sweep

from tlsweep.errors import UserError
from tlsweep.report import figures
from tlsweep.report.figures import FIGURES, files, load
from tlsweep.report.figures.files import Format, write_pictures
from tlsweep.store import Results

BEGINS = {"svg": b"<svg", "png": b"\x89PNG", "pdf": b"%PDF"}


@pytest.mark.slow
@pytest.mark.parametrize("form", get_args(Format))
def test_every_figure_becomes_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: Format) -> None:
    if not shutil.which("chromium"):
        pytest.skip("needs the Debian package chromium")
    sweep = make_hostile_sweep(tmp_path)
    if form != "svg":  # which of them it is does not matter to Chrome
        monkeypatch.setattr(figures, "FIGURES", FIGURES[:2])
    places = write_pictures(sweep, tmp_path / "new" / "folder", form)
    titles = [figure.layout.title.text for draw in figures.FIGURES if (figure := draw(load(sweep))) is not None]
    assert len({place.name for place in places}) == len(titles)
    for place, title in zip(places, titles, strict=True):
        content = place.read_bytes()
        assert content.startswith(BEGINS[form])
        assert form != "svg" or title in content.decode()
        assert b"<script" not in content


@pytest.mark.slow
@pytest.mark.parametrize("fail", [Path.unlink, lambda file: file.write_bytes(b"")], ids=["removed", "empty"])
def test_a_figure_that_failed_is_drawn_again_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fail: Callable[[Path], object]
) -> None:
    if not shutil.which("chromium"):
        pytest.skip("needs the Debian package chromium")
    monkeypatch.setattr(figures, "FIGURES", FIGURES[:2])
    write_all = plotly.io.write_images

    def all_but_one(figures: Any, files: list[Path], **options: Any) -> None:
        write_all(figures, files, **options)
        fail(files[0])  # as kaleido does

    monkeypatch.setattr(plotly.io, "write_images", all_but_one)
    sweep, folder = make_hostile_sweep(tmp_path), tmp_path / "pictures"
    folder.mkdir()
    (folder / "learning-curves.svg").write_text("of an earlier time")
    places = write_pictures(sweep, folder, "svg")
    assert folder / "learning-curves.svg" in places
    assert all(place.read_bytes().startswith(b"<svg") for place in places)
    assert sorted(folder.iterdir()) == sorted(places)


def test_a_chrome_that_is_too_slow_is_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_slow(*_: Any, **__: Any) -> NoReturn:
        raise TimeoutError

    monkeypatch.setattr(plotly.io, "write_images", lambda *_, **__: None)
    monkeypatch.setattr(plotly.io, "write_image", too_slow)
    sweep, folder = make_sweep(tmp_path), tmp_path / "pictures"
    folder.mkdir()
    (folder / "learning-curves.svg").write_text("of an earlier time")
    with pytest.raises(UserError, match="Chrome took more than a minute to draw a figure; write them again when"):
        write_pictures(sweep, folder, "svg")
    assert [(file.name, file.read_text()) for file in folder.iterdir()] == [
        ("learning-curves.svg", "of an earlier time")
    ]


def no_kaleido(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(files, "find_spec", lambda name: None)


def no_chrome(patch: pytest.MonkeyPatch) -> None:
    patch.delenv("BROWSER_PATH", raising=False)
    patch.setattr("choreographer.browsers.chromium.Chromium.find_browser", lambda *arguments, **options: None)


@pytest.mark.parametrize(
    ("missing", "folder", "words"),
    [
        (no_kaleido, "new", "kaleido, which is not installed: pip install 'tlsweep[pictures]'"),
        (no_chrome, "new", "a Chrome or Chromium, and none that works was found"),
        (no_chrome, "file", "cannot be written: File exists"),
    ],
)
def test_what_is_missing_is_said_in_one_message(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    missing: Callable[[pytest.MonkeyPatch], None],
    folder: str,
    words: str,
) -> None:
    sweep: Results = make_sweep(tmp_path)
    (tmp_path / "file").touch()
    missing(monkeypatch)
    with pytest.raises(UserError) as caught:
        write_pictures(sweep, tmp_path / folder, "svg")
    assert words in str(caught.value)
