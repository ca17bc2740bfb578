"""A private Ray starts where its sockets have room, and says in one line where they cannot."""

import os
import pwd
from pathlib import Path

import pytest

from tlsweep.cluster.ray_files import check_home, ray_folder
from tlsweep.data.pixels.cache import default_cache
from tlsweep.errors import ResourceError, ResultsError

LONG = "/tmp/" + "x" * 110


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.delenv("TMPDIR", raising=False)


@pytest.mark.parametrize(
    ("folder", "given"),
    [
        (None, None),
        ("/tmp", None),
        (LONG, "/tmp/ray"),
        ("/tmp/" + "x" * 36, "/tmp/ray"),  # fits into a path, but not with the names of Ray's sockets
        ("/tmp/" + "ü" * 18, "/tmp/ray"),  # bytes count, not characters
        ("/nowhere", "/tmp/ray"),
        ("relative", "/tmp/ray"),
    ],
)
def test_a_temporary_folder_that_ray_cannot_use_gives_way_to_tmp(
    monkeypatch: pytest.MonkeyPatch, folder: str | None, given: str | None
) -> None:
    if folder is not None:
        monkeypatch.setenv("TMPDIR", folder)
    assert ray_folder() == given


@pytest.mark.parametrize(
    ("folder", "told"),
    [
        (LONG, "its 115 bytes leave no room for the names of sockets"),
        ("/tmp/" + "x" * 35, "its 40 bytes leave no room"),
        ("/nowhere", "there is no such folder"),
        ("relative", "it is no absolute path"),
    ],
)
def test_a_folder_that_was_chosen_for_ray_is_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch, folder: str, told: str
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", folder)
    with pytest.raises(ResourceError) as refused:
        ray_folder()
    assert str(refused.value).startswith(f"Ray cannot keep its files in '{folder}': {told}")
    assert str(refused.value).endswith("variable RAY_TMPDIR, of at most 39 bytes, as /tmp is")


def test_what_ray_may_not_write_to_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(ResourceError, match="'/tmp': you may not write there; name another folder"):
        ray_folder()


@pytest.mark.parametrize("home", [None, "relative", "~"])
def test_a_user_without_a_home_is_told_so_before_ray_is_imported(
    monkeypatch: pytest.MonkeyPatch, home: str | None
) -> None:
    def unknown(number: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {number}")

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("TLSWEEP_CACHE")
    monkeypatch.delenv("HOME", raising=False)
    if home is not None:
        monkeypatch.setenv("HOME", home)
    with pytest.raises(ResourceError, match="neither HOME nor /etc/passwd names a home"):
        check_home()
    with pytest.raises(ResultsError, match="set HOME, or TLSWEEP_CACHE to a folder for them"):
        default_cache()
