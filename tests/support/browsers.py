"""A real browser, without a window."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from selenium.webdriver import Chrome


@contextmanager
def chromium(logs: Mapping[str, str] | None = None) -> "Iterator[Chrome]":
    """Chromium, or the test is skipped. `logs`: which of its logs are kept, and from which level on."""
    from selenium.webdriver import Chrome, ChromeOptions
    from selenium.webdriver.chrome.service import Service

    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not program or not driver:
        pytest.skip("needs the Debian packages chromium and chromium-driver")
    options = ChromeOptions()
    options.binary_location = program
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-background-networking"):
        options.add_argument(argument)
    if logs:
        options.set_capability("goog:loggingPrefs", logs)
    with Chrome(options, Service(driver)) as browser:
        yield browser
