"""A browser draws every figure of a page, asks nothing of any network, and complains about nothing."""

import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from browsers import chromium
from builders import SweepBuilder, make_hostile_sweep, make_spec, make_sweep
from command_line import wait_until

from tlsweep.report.figures import load
from tlsweep.store import open_results
from tlsweep.terminal.page import make_page
from tlsweep.terminal.page.server import LivePage, address, make_server

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

pytestmark = pytest.mark.slow

REFERENCE = Path(__file__).parents[3] / "results" / "reference"
KEPT = Path(__file__).parents[2] / "support" / "earlier_version" / "finished"
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
    for _ in range(600):
        if browser.execute_script("return document.body.dataset.drawn"):  # type: ignore[no-untyped-call]
            return
        time.sleep(0.1)
    pytest.fail(f"not drawn: {browser.get_log('browser')}")  # type: ignore[no-untyped-call]


@pytest.mark.parametrize(
    "name", ["digits-seed0", "mnist-to-semeion-few-labels", "population", "hostile", "two", "images"]
)
def test_every_figure_has_marks(browser: "Chrome", tmp_path: Path, name: str) -> None:
    sweeps = {
        "population": lambda: [make_sweep(tmp_path)],
        "hostile": lambda: [make_hostile_sweep(tmp_path)],
        "images": lambda: [open_results(KEPT)],
        "two": lambda: [open_results(REFERENCE / "digits-seed0"), open_results(REFERENCE / "digits-seed1")],
    }.get(name, lambda: [open_results(REFERENCE / name)])()
    page = tmp_path / "report.html"
    page.write_text(make_page([load(sweep) for sweep in sweeps], images=True), encoding="utf-8")
    for width, scheme in ((1280, "light"), (390, "dark")):
        opened(browser, page, width, scheme)
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
