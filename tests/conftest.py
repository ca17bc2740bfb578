"""What all tests share."""

import atexit
import os
import sys
import threading
from collections.abc import Generator
from pathlib import Path

import pytest

NO_FAULT_OF_CI = ("needs a CUDA device",)
"""Reasons to skip that hold on every machine that CI has."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With CI set, a test that is skipped for want of something that CI installs or is given has failed."""
    report = yield
    if report.skipped and os.environ.get("CI") and isinstance(report.longrepr, tuple):
        reason = report.longrepr[2].removeprefix("Skipped: ")
        no_data = "TLSWEEP_TEST_DATA" in reason and "TLSWEEP_TEST_DATA" not in os.environ
        if reason not in NO_FAULT_OF_CI and not no_data:
            report.outcome, report.longrepr = "failed", f"skipped in CI: {reason}"
    return report


_status = pytest.StashKey[int]()


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    session.config.stash[_status] = int(exitstatus)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """End as the program does (`tlsweep.__main__`): Ray's threads may not survive C++'s static destructors."""
    if "ray" in sys.modules and _status in config.stash:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        config.get_terminal_writer().flush()
        os._exit(config.stash[_status])


@pytest.fixture(scope="session")
def test_data() -> Path:
    """Real images and weights; where they are missing the test is skipped and says so."""
    folder = os.environ.get("TLSWEEP_TEST_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("TLSWEEP_TEST_DATA does not name the folder of real images and weights")
    return Path(folder).resolve()


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoded images and source-task weights of the tests go to a folder of their own, shared by one session."""
    monkeypatch.setenv("TLSWEEP_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
