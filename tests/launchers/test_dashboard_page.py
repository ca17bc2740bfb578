"""What an operator sees of a submitted sweep in Ray's dashboard, with a browser, and with nothing but the token."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from browsers import chromium
from command_line import Running, command_line, wait_until
from ray_hosts import RayHosts, ray_hosts

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

pytestmark = pytest.mark.slow

OWN_CODE = Path(__file__).parents[1] / "support"
ENDLESS = ["-o", "data.labels_per_class=5", "-o", "model={name: own_code:paced, args: {seconds: 0.05}}",
           "-o", "controls=[]", "-o", "train.epochs=1000", "-o", "train.batch_size=5"]  # fmt: skip
# A page that is being loaded, as after the token, has no body for a moment.
SHOWN = "return document.body ? document.body.innerText : ''"
SIZES = {"desktop": (1400, 1000), "phone": (390, 844)}


def text_of(browser: "Chrome") -> str:
    """What the page shows."""
    return str(browser.execute_script(SHOWN))


def shows(browser: "Chrome", *expected: str) -> None:
    """Wait until the page shows all of it."""
    try:
        wait_until(lambda: all(one in text_of(browser) for one in expected), 30)
    except TimeoutError:
        pytest.fail(f"{browser.current_url} shows no {expected}, but:\n{text_of(browser)}")


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayHosts]:
    with ray_hosts(1, cpus=2) as cluster:
        cluster.start()
        yield cluster


@pytest.fixture(scope="module")
def sweep(cluster: RayHosts) -> Iterator[Running]:
    """One that runs as long as it is looked at."""
    submit = ["submit", "digits", cluster.dashboard, *ENDLESS, "--name", "shown"]
    results = ["--results", str(cluster.shared / "results")]
    with cluster.tlsweep(*submit, *results, host=cluster.head, env=cluster.with_token, cwd=OWN_CODE) as running:
        running.until(lambda: "epochs after" in running.out)
        yield running


@pytest.fixture(scope="module")
def browser() -> "Iterator[Chrome]":
    with chromium() as browser:
        yield browser


def test_pages_of_a_job(cluster: RayHosts, sweep: Running, browser: "Chrome", tmp_path: Path) -> None:
    """The job, its trials' workers as named actors, and its log; nothing of it without the token."""
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    def picture(name: str) -> None:
        """Keep a picture for people, where TLSWEEP_PICTURES names a folder."""
        for size, (width, height) in SIZES.items():
            browser.set_window_size(width, height)
            browser.save_screenshot(Path(os.environ.get("TLSWEEP_PICTURES", tmp_path)) / f"{name}-{size}.png")
        browser.set_window_size(*SIZES["desktop"])

    browser.set_window_size(*SIZES["desktop"])
    browser.get(f"{cluster.dashboard}/#/jobs")
    shows(browser, "Authentication Token Required")
    assert "tlsweep-shown" not in text_of(browser)
    field = browser.find_element(By.CSS_SELECTOR, "[role=dialog] input")
    field.send_keys("0" * 64, Keys.ENTER)
    shows(browser, "existing authentication token is invalid")
    field.send_keys(Keys.CONTROL, "a")
    field.send_keys(cluster.token, Keys.ENTER)
    shows(browser, "tlsweep-shown", "RUNNING")
    picture("jobs")

    browser.find_element(By.LINK_TEXT, "Log").click()
    shows(browser, "tlsweep-shown", "RUNNING", "epochs after")
    browser.find_element(By.XPATH, "//*[text()='Actor Table']").click()
    shows(browser, "shown worker 1", "shown worker 2", "ALIVE")
    picture("job")


def test_the_page_of_a_private_ray_opens_with_what_the_line_says(browser: "Chrome", tmp_path: Path) -> None:
    """Address and command as printed; then job, actors and log are there."""
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    browser.delete_all_cookies()
    browser.set_window_size(*SIZES["desktop"])
    with command_line(tmp_path) as tlsweep:
        shutil.copy(OWN_CODE / "own_code.py", tmp_path)
        with tlsweep.start("launch", "digits", *ENDLESS, "--name", "shown", "--local") as running:
            running.until(lambda: "epochs after" in running.out)
            found = re.search(r"^dashboard at (\S+)\n'ray (\S+)' prints the token", running.out, re.MULTILINE)
            assert found is not None
            ray = str(Path(sys.executable).with_name("ray"))
            token = subprocess.run([ray, found[2]], capture_output=True, text=True, check=True).stdout.strip()
            browser.get(f"{found[1]}/#/actors")
            shows(browser, "Authentication Token Required")
            browser.find_element(By.CSS_SELECTOR, "[role=dialog] input").send_keys(token, Keys.ENTER)
            shows(browser, "shown worker 1", "ALIVE")
            browser.get(f"{found[1]}/#/jobs")
            shows(browser, "RUNNING")
            browser.get(f"{found[1]}/#/logs")
            shows(browser, "Node")
            running.interrupt()
