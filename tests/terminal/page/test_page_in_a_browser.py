"""A browser draws every figure of a page, asks nothing of any network, and complains about nothing."""

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from browsers import chromium
from builders import SweepBuilder, make_hostile_sweep, make_spec, make_sweep
from command_line import wait_until
from without_ray import run_sweep

from tlsweep.data import load_task
from tlsweep.report.figures import load
from tlsweep.spec import load_spec
from tlsweep.store import Results, open_results
from tlsweep.terminal.page import make_page
from tlsweep.terminal.page.server import LivePage, address, make_server

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

pytestmark = pytest.mark.slow

REFERENCE = Path(__file__).parents[3] / "results" / "reference"
KEPT = Path(__file__).parents[2] / "support" / "earlier_version" / "finished"
NEXT = "const next = document.querySelector('.chart:not([data-drawn])'); next?.scrollIntoView(); return next"
"""Scrolls to the first figure that is not drawn yet."""
MARKS = ".trace path, .points path, .point path, .hm image, .textpoint text, .js-line"


@pytest.fixture(scope="module")
def browser() -> "Iterator[Chrome]":
    with chromium({"browser": "ALL", "performance": "ALL"}) as browser:
        yield browser


def opened(browser: "Chrome", page: Path, width: int, scheme: str) -> None:
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    size: dict[str, Any] = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get(page.as_uri())


def read_on(browser: "Chrome") -> None:
    """Scroll from figure to figure, each of which is drawn when it comes near."""
    for _ in range(600):
        if not browser.execute_script(NEXT):  # type: ignore[no-untyped-call]
            return
        time.sleep(0.1)
    pytest.fail(f"not drawn: {browser.get_log('browser')}")  # type: ignore[no-untyped-call]


def single(folder: Path) -> Results:
    """A sweep of one trial of one epoch."""
    builder = SweepBuilder(folder, make_spec(search={"strategy": "random", "trials": 1}, controls=[]))
    builder.create("t0000", 0)
    builder.report("t0000", 0.5)
    builder.event("finished", "t0000", reason="trained to the last epoch")
    return builder.finish()


def all_failed(folder: Path) -> Results:
    """A sweep none of whose trials came to the end of an epoch."""
    builder = SweepBuilder(folder, make_spec(controls=[]))
    for number in range(4):
        builder.create(f"t{number:04d}", number)
        builder.event("failed", f"t{number:04d}", reason="ValueError: no", error="Traceback …", fault="user")
    return builder.finish()


def asha_then_pbt(folder: Path, patch: pytest.MonkeyPatch) -> Results:
    """A real one, of digits."""
    search = "search={strategy: asha_then_pbt, trials: 8, population: 4, min_epochs: 1, interval: 1}"
    small = ["data.labels_per_class=5", "model={name: mlp, args: {hidden: [8]}}", "controls=[]", "train.head=auto"]
    spec = load_spec("digits", [search, "train.epochs=6", *small])
    return run_sweep(folder / "both", spec, load_task(spec.data, 0, cache=folder / "cache"), patch)


SWEEPS: dict[str, Callable[[Path, pytest.MonkeyPatch], list[Results]]] = {
    **{
        name: lambda _, __, name=name: [open_results(REFERENCE / name)]  # type: ignore[misc]
        for name in ("digits-seed0", "mnist-to-semeion-few-labels", "ants-bees-pbt")
    },
    "population": lambda folder, _: [make_sweep(folder)],
    "asha_then_pbt": lambda folder, patch: [asha_then_pbt(folder, patch)],
    "hostile": lambda folder, _: [make_hostile_sweep(folder)],
    "images": lambda _, __: [open_results(KEPT)],
    "single": lambda folder, _: [single(folder)],
    "all_failed": lambda folder, _: [all_failed(folder)],
    "two": lambda _, __: [open_results(REFERENCE / "digits-seed0"), open_results(REFERENCE / "digits-seed1")],
}


@pytest.mark.parametrize("name", SWEEPS)
def test_every_figure_has_marks(browser: "Chrome", tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    sweeps = SWEEPS[name](tmp_path, monkeypatch)
    page = tmp_path / "report.html"
    page.write_text(make_page([load(sweep) for sweep in sweeps], images=True), encoding="utf-8")
    for width, scheme in ((1280, "light"), (390, "dark")):
        opened(browser, page, width, scheme)
        read_on(browser)
        marks = browser.execute_script(  # type: ignore[no-untyped-call]
            "return [...document.querySelectorAll('.chart')].map(chart => chart.querySelectorAll(arguments[0]).length)",
            MARKS,
        )
        assert marks
        assert all(marks), marks
        sizes = browser.execute_script("return [...document.images].map(image => image.naturalWidth)")  # type: ignore[no-untyped-call]
        assert all(sizes)
        assert bool(sizes) == (name == "images")  # of the other sweeps no predictions were kept
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width  # type: ignore[no-untyped-call]
        assert browser.title == " · ".join(sweep.name for sweep in sweeps)
        if folder := os.environ.get("TLSWEEP_PICTURES"):
            browser.save_screenshot(Path(folder) / f"report-{name}-{width}.png")
    assert browser.get_log("browser") == []  # type: ignore[no-untyped-call]
    sent = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]  # type: ignore[no-untyped-call]
    asked = {one["params"]["request"]["url"] for one in sent if one["method"] == "Network.requestWillBeSent"}
    assert {url.split(":")[0] for url in asked} <= {"file", "data", "blob"}


def test_a_chart_tells_what_is_pointed_at_and_shows_more_of_what_is_drawn_around(
    browser: "Chrome", tmp_path: Path
) -> None:
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.by import By

    page = tmp_path / "report.html"
    page.write_text(make_page([load(open_results(REFERENCE / "ants-bees-pbt"))], images=False), encoding="utf-8")
    opened(browser, page, 1280, "light")
    read_on(browser)
    chart = browser.find_element(By.CSS_SELECTOR, ".chart:has(.cartesianlayer)")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", chart)  # type: ignore[no-untyped-call]
    field = chart.find_element(By.CSS_SELECTOR, ".nsewdrag")

    def pointed_at() -> int:
        """Points at places of the chart, until one says something."""
        for across in range(-3, 4):
            for down in range(-3, 4):
                place = across * field.size["width"] // 8, down * field.size["height"] // 8
                ActionChains(browser, duration=0).move_to_element_with_offset(field, *place).perform()
                script = "return arguments[0].querySelectorAll('.hovertext').length"
                wait = time.monotonic() + 0.5
                while time.monotonic() < wait:
                    if found := browser.execute_script(script, chart):  # type: ignore[no-untyped-call]
                        return int(found)
        return 0

    def seen() -> list[float]:
        return list(map(float, browser.execute_script("return arguments[0]._fullLayout.xaxis.range", chart)))  # type: ignore[no-untyped-call]

    assert pointed_at() > 0
    whole = seen()
    corner = -field.size["width"] // 4, -field.size["height"] // 4
    drag = ActionChains(browser).move_to_element_with_offset(field, *corner).click_and_hold()
    drag.move_by_offset(field.size["width"] // 2, field.size["height"] // 2).release().perform()
    wait_until(lambda: seen() != whole)
    assert whole[0] < seen()[0] < seen()[1] < whole[1]
    assert browser.get_log("browser") == []  # type: ignore[no-untyped-call]


def test_figures_far_below_are_drawn_when_they_come_near_or_the_page_is_printed(
    browser: "Chrome", tmp_path: Path
) -> None:
    page = tmp_path / "report.html"
    page.write_text(make_page([load(make_sweep(tmp_path))]), encoding="utf-8")
    opened(browser, page, 390, "light")
    undrawn = "return document.querySelectorAll('.chart:not([data-drawn])').length"
    wait_until(lambda: bool(browser.execute_script("return document.querySelector('[data-drawn]')")))  # type: ignore[no-untyped-call]
    assert browser.execute_script(undrawn) > 0  # type: ignore[no-untyped-call]
    browser.execute_cdp_cmd("Page.printToPDF", {})
    wait_until(lambda: browser.execute_script(undrawn) == 0)  # type: ignore[no-untyped-call]


def test_a_page_that_is_served_shows_what_is_new_and_says_when_nobody_answers(
    browser: "Chrome", tmp_path: Path
) -> None:
    builder = SweepBuilder(tmp_path, make_spec(controls=[]))
    builder.create("t0000", 0)
    builder.report("t0000", 0.5)
    with make_server(LivePage([builder.finish()], None, images=False)) as serving:
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        browser.get(address(serving))

        def says(text: str) -> bool:
            return text in str(browser.execute_script("return document.body.innerText"))  # type: ignore[no-untyped-call]

        def points() -> int:
            return int(browser.execute_script("return document.querySelectorAll('.point').length"))  # type: ignore[no-untyped-call]

        wait_until(lambda: says("val accuracy 0.500") and says("live, as of") and points() > 0)  # of one epoch a point
        builder.report("t0000", 0.625)
        builder.finish()
        wait_until(lambda: says("val accuracy 0.625"))
        assert browser.get_log("browser") == []  # type: ignore[no-untyped-call]
        serving.shutdown()
        thread.join()
    wait_until(lambda: says("tlsweep does not answer any more"))
