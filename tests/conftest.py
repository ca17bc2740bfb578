"""What all tests share."""

import os
from pathlib import Path

import pytest


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
