"""The token of this user's Rays is this user's alone, by whatever it is made and whatever lies there."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tlsweep.cluster.token_file import close_token, make_token
from tlsweep.errors import ResourceError

SECRET = "5" * 64


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One without a token."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.setenv(name, "x")  # so that what is set meanwhile is undone
        monkeypatch.delenv(name)
    before = os.umask(0o022)
    yield tmp_path
    os.umask(before)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def write(home: Path, text: str = SECRET, permissions: int = 0o600) -> Path:
    path = home / ".ray" / "auth_token"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(permissions)
    return path


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_a_new_one_is_readable_by_its_owner_alone(home: Path, umask: int) -> None:
    os.umask(umask)
    assert make_token()
    token = home / ".ray" / "auth_token"
    assert (mode(token), mode(token.parent)) == (0o600, 0o700)
    assert re.fullmatch("[0-9a-f]{64}", token.read_text())
    assert [path.name for path in token.parent.iterdir()] == ["auth_token"]


@pytest.mark.parametrize("permissions", [0o777, 0o775, 0o755, 0o1777])
def test_a_folder_that_was_there_is_closed_for_a_new_one(home: Path, permissions: int) -> None:
    (home / ".ray").mkdir()
    (home / ".ray").chmod(permissions)
    assert make_token()
    assert (mode(home / ".ray" / "auth_token"), mode(home / ".ray")) == (0o600, 0o700)


def test_launches_at_once_have_the_same_one(home: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        tokens = [pool.submit(lambda: (make_token(), (home / ".ray/auth_token").read_text())) for _ in range(32)]
    assert len({one.result()[1] for one in tokens}) == 1


@pytest.mark.parametrize("permissions", [0o644, 0o640, 0o666, 0o604])
def test_one_that_others_can_read_is_mended_with_a_word(
    home: Path, capsys: pytest.CaptureFixture[str], permissions: int
) -> None:
    token = write(home, permissions=permissions)
    assert make_token()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"'{token}', the token of your Ray clusters, could be read by other users")
    assert SECRET not in line
    assert (mode(token), mode(token.parent), token.read_text()) == (0o600, 0o700, SECRET)
    assert make_token()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("named", [True, False])
def test_a_named_file_is_mended_too(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], named: bool
) -> None:
    token = home / "elsewhere"
    token.write_text(SECRET)
    token.chmod(0o644)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH" if named else "RAY_AUTH_TOKEN", str(token))
    assert make_token()
    assert mode(token) == (0o600 if named else 0o644)
    assert bool(capsys.readouterr().err) == named
    assert not (home / ".ray").exists()


def test_an_empty_one_is_written_anew(home: Path) -> None:
    token = write(home, "\n")
    assert make_token()
    assert (len(token.read_text()), mode(token)) == (64, 0o600)


def link_to_open_file(home: Path) -> None:
    target = home / "shared"
    target.write_text(SECRET)
    target.chmod(0o644)
    (home / ".ray").mkdir()
    (home / ".ray/auth_token").symlink_to(target)


def link_to_nothing(home: Path) -> None:
    (home / ".ray").mkdir()
    (home / ".ray/auth_token").symlink_to(home / "absent")


def folder(home: Path) -> None:
    (home / ".ray/auth_token").mkdir(parents=True)


def anothers(home: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a file to another user")
    os.chown(write(home), 65534, 65534)


@pytest.mark.parametrize(
    ("prepare", "told"),
    [
        (link_to_open_file, "is a link to '.*shared', which other users can read"),
        (link_to_nothing, "cannot be read"),
        (folder, "is no plain file"),
        (anothers, r"belongs to another user \(uid 65534\), who could act as you"),
    ],
)
def test_what_cannot_be_mended_is_one_line(home: Path, prepare: Callable[[Path], None], told: str) -> None:
    prepare(home)
    for use in (make_token, close_token):
        with pytest.raises(ResourceError, match=told) as error:
            use()
        assert "\n" not in str(error.value)
        assert "RAY_AUTH_TOKEN_PATH" in str(error.value)
    assert not (home / "absent").exists()


@pytest.mark.parametrize("where", ["a file", "nowhere"])
def test_where_the_home_cannot_be_written_the_token_is_in_memory_alone(
    home: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    (home / "file").touch()
    monkeypatch.setenv("HOME", str(home / "file" if where == "a file" else "/proc/absent"))
    assert not make_token()
    assert re.fullmatch("[0-9a-f]{64}", os.environ["RAY_AUTH_TOKEN"])


def test_another_user_cannot_read_it(home: Path) -> None:
    if os.geteuid() != 0 or not (setpriv := shutil.which("setpriv")):
        pytest.skip("needs root and setpriv")
    make_token()
    for path in (home, *home.parents):  # pytest's own folders are closed
        if path != Path("/") and path.stat().st_uid == os.geteuid() and path != Path("/tmp"):
            path.chmod(path.stat().st_mode | 0o055)
    nobody = [setpriv, "--reuid=65534", "--regid=65534", "--clear-groups"]
    for path in (home / ".ray/auth_token", home / ".ray"):
        read = [*nobody, sys.executable, "-c", f"import os; os.listdir({str(home)!r}); open({str(path)!r})"]
        ended = subprocess.run(read, capture_output=True, text=True)
        assert "Permission denied" in ended.stderr.replace("PermissionError", "Permission denied")
