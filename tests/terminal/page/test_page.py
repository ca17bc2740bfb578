"""The page is one file that loads nothing, and what others wrote stands in it as text."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from builders import SweepBuilder, make_hostile_sweep, make_spec, make_sweep

from tlsweep.report.figures import load
from tlsweep.terminal.page import make_page, write_page
from tlsweep.terminal.page.findings import findings


class Elements(HTMLParser):
    """The elements of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def test_markup_of_others_is_text_and_nothing_is_loaded(tmp_path: Path) -> None:
    page = make_page([load(make_hostile_sweep(tmp_path))])
    found = Elements(page)
    assert [tag for tag, _ in found.tags].count("script") == 3
    assert not {"img", "iframe", "object", "embed"} & {tag for tag, _ in found.tags}
    places = [value for _, attributes in found.tags for name, value in attributes.items() if name in ("src", "href")]
    assert places == ["data:,"]
    assert not any(name.startswith("on") for _, attributes in found.tags for name in attributes)
    policy = next(a["content"] for _, a in found.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy.partition("style-src")[0]
    assert "\x1b" not in page
    data = json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1])  # type: ignore[index]
    assert data["charts"]
    assert "<script" not in json.dumps(data)


def test_the_page_lies_in_the_sweep_and_has_its_findings(tmp_path: Path) -> None:
    first, second = make_sweep(tmp_path, "demo"), make_sweep(tmp_path, "other")
    place = write_page([first])
    assert place == first.path / "report.html"
    page = place.read_text(encoding="utf-8")
    assert len(page.encode()) < 6_000_000
    assert findings(load(first))[0].split(";")[0] in page
    assert "1 trial of 8 failed. t0003-scratch after 0 epochs: ValueError: [boom]" in page
    both = write_page([first, second])
    assert both == first.path / "comparison.html"
    text = both.read_text(encoding="utf-8")
    assert text.count("<header>") == 2
    assert text.index("Best so far over device time") < text.index("Learning curves")


@pytest.mark.parametrize(("low", "high", "said"), [(-0.01, 0.05, True), (0.01, 0.05, False), (-0.05, 0.0, True)])
def test_no_difference_is_claimed_that_the_interval_does_not_show(low: float, high: float, said: bool) -> None:
    from tlsweep.report import ArmResult, Interval
    from tlsweep.terminal.page.findings import _against

    arms = [
        ArmResult("main", "t0", {}, {}),
        ArmResult("scratch", "t1", {}, {}, None, "main", Interval(0.02, low, high)),
    ]
    sentence = _against(arms, arms[1], 478)
    assert ("no difference that this sweep could show" in sentence) is said
    assert "n=478" in sentence


def test_a_sweep_without_results_says_so(tmp_path: Path) -> None:
    builder = SweepBuilder(tmp_path, make_spec(controls=[]))
    builder.create("t0000", 0)
    (only,) = findings(load(builder.finish()))
    assert only.startswith("No trial has completed an epoch")
