"""Before a sweep starts: a tracker's library is there, and has a place to write to; or one line says what to do."""

import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tlsweep.errors import SpecError
from tlsweep.store import to_location
from tlsweep.tracking import check_trackers, tracked_where
from tlsweep.tracking.libraries import LIBRARIES

if TYPE_CHECKING:
    from in_process import Run

BUCKET = "s3://bucket/sweeps"


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_TRACKING_URI", "WANDB_DIR", "WANDB_MODE", "WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", "/nonexistent")


def available(name: str) -> None:
    if name != "tensorboard":  # whose writer comes with Ray
        pytest.importorskip(LIBRARIES[name].module, reason=f"needs {name}: pip install 'tlsweep[{name}]'")


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_library_that_is_missing_is_named_with_what_installs_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = LIBRARIES[name].module
    for loaded in [loaded for loaded in sys.modules if loaded.startswith("tlsweep.tracking.")]:
        if loaded.endswith(("_files", "_runs")):
            monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.setitem(sys.modules, module, None)  # as if it could not be found
    with pytest.raises(SpecError) as refused:
        check_trackers([name], Path("results"))
    assert str(refused.value).startswith(f"track: {name} needs {module}, which cannot be imported (import of {module}")
    assert str(refused.value).endswith(f"; install it: pip install 'tlsweep[{name}]'")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("verb", ["launch", "check"])
def test_it_is_missed_before_anything_is_read_or_made(
    verb: str, run: "Run", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tlsweep.tracking.libraries.make_tracker", lambda name: import_module("no_such_library"))
    code, out, err = run(verb, "digits", "-o", "track=wandb")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.endswith("install it: pip install 'tlsweep[wandb]'\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "way_out"),
    [
        ("tensorboard", "put the results into a folder"),
        ("mlflow", "set MLFLOW_TRACKING_URI"),
        ("wandb", "set WANDB_DIR"),
    ],
)
def test_a_bucket_takes_no_files_of_trackers(name: str, way_out: str, monkeypatch: pytest.MonkeyPatch) -> None:
    available(name)
    check_trackers([name], Path("results"))
    with pytest.raises(SpecError) as refused:
        check_trackers([name], to_location(BUCKET))
    assert str(refused.value) == (f"track: {name} writes files, and '{BUCKET}' is no folder; {way_out}, or take it out")
    if (elsewhere := LIBRARIES[name].elsewhere) is not None:
        monkeypatch.setenv(elsewhere, "http://127.0.0.1:1")
        check_trackers([name], to_location(BUCKET))
        (said,) = tracked_where([name], BUCKET)
        assert said.endswith("in http://127.0.0.1:1")


def test_wandb_is_never_asked_in_a_way_that_makes_it_ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    available("wandb")

    def said() -> list[str]:
        check_trackers(["wandb"], tmp_path)
        return tracked_where(["wandb"], "results/NAME")

    assert said() == ["wandb: a run for each trial, offline, files in results/NAME/wandb"]
    monkeypatch.setenv("WANDB_MODE", "online")
    with pytest.raises(SpecError, match="nobody has logged in; run wandb login, or set WANDB_MODE=offline"):
        said()
    netrc = tmp_path / "netrc"
    netrc.write_text("machine api.wandb.ai\n  login user\n  password x\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    assert "online" in said()[0]
    monkeypatch.delenv("WANDB_MODE")
    assert "online" in said()[0]
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert "offline" in said()[0]
