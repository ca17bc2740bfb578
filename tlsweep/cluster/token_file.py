"""The file with the token of this user's Rays: made before Ray makes it, and closed to all other users.

Ray 2.60 writes it with the umask's mode, mostly 0644 (`generate_and_save_token`): any other reader of it runs code as
this user.
"""

import os
import secrets
import stat
import sys
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from tlsweep.errors import ResourceError
from tlsweep.text import one_line

NAMED = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
"""Variables that Ray asks before the file."""


def close_token() -> None:
    """See to it that nobody else can read the token that Ray would take from a file.

    Raises:
        ResourceError: somebody else can, and we cannot help it.
    """
    if os.environ.get("RAY_AUTH_TOKEN"):
        return
    path = _path()
    if path is None or not os.path.lexists(path):
        return
    try:
        facts = path.stat()
    except OSError as error:
        raise _unusable(path, f"cannot be read ({error.strerror})") from None
    if not stat.S_ISREG(facts.st_mode):
        raise _unusable(path, "is no plain file")
    named = os.environ.get("RAY_AUTH_TOKEN_PATH")
    if facts.st_uid not in (os.geteuid(), 0) and not named:
        raise _unusable(path, f"belongs to another user (uid {facts.st_uid}), who could act as you")
    if facts.st_mode & 0o077:
        _close(path, facts.st_uid, named=bool(named))
    if not named:
        _close_folder(path.parent)


def make_token() -> bool:
    """Make a token for a private Ray where this user has none; whether it can be read from a file later.

    Where the home cannot be written, the token lives in the environment of this process and of those that it starts.

    Raises:
        ResourceError: the file is there, but is none that only this user can read.
    """
    close_token()
    if any(os.environ.get(name) for name in NAMED):
        return True
    path = _path()
    try:
        if path is not None:
            _write(path)
            return True
    except OSError:
        pass  # a home that cannot be written is no reason not to train
    os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    return False


def _path() -> Path | None:
    """The file in which Ray looks for the token; None where this user has no home."""
    if named := os.environ.get("RAY_AUTH_TOKEN_PATH"):
        return Path(named)
    try:
        return Path.home() / ".ray" / "auth_token"
    except RuntimeError:  # no HOME, no passwd entry
        return None


def _close(path: Path, owner: int, *, named: bool) -> None:
    """Take away what group and others may do, and say so.

    Secrets of containers stay as they are: links to files of root that a group or all may read, on a file system that
    cannot be written (Kubernetes mounts them so).
    """
    if owner == 0 != os.geteuid() and named:
        return
    if path.is_symlink():
        raise _unusable(path, f"is a link to '{one_line(str(path.resolve()))}', which other users can read")
    try:
        path.chmod(0o600)
    except OSError as error:
        raise _unusable(path, f"can be read by other users, and stays so ({error.strerror})") from None
    name = one_line(str(path))
    print(
        f"'{name}', the token of your Ray clusters, could be read by other users; now it is yours alone (mode 600)",
        file=sys.stderr,
        flush=True,
    )


def _close_folder(folder: Path) -> None:
    with suppress(OSError):  # the file's own mode is what counts
        folder.chmod(0o700)


def _write(path: Path) -> None:
    """Write a new token, whole or not at all, unless another launch was faster; an empty file is replaced."""
    path.parent.mkdir(mode=0o700, exist_ok=True)
    _close_folder(path.parent)  # who may write there can put another file into its place
    if path.exists() and not _empty(path):
        return
    temporary = path.with_name(f".{path.name}.{uuid4().hex}.tmp")
    try:
        # Closed to others from its first moment: who opens it before a chmod can read what is written later.
        file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with open(file, "w") as stream:
            stream.write(secrets.token_hex(32))
            stream.flush()
            os.fsync(file)
        if _empty(path):
            os.replace(temporary, path)
        else:
            with suppress(FileExistsError):
                os.link(temporary, path)  # never over a file, unlike a rename: two launches take the same token
    finally:
        temporary.unlink(missing_ok=True)


def _empty(path: Path) -> bool:
    with suppress(OSError):
        return not path.read_text(errors="replace").strip()
    return False


def _unusable(path: Path, why: str) -> ResourceError:
    return ResourceError(
        f"'{one_line(str(path))}', the token of your Ray clusters, {why}; move it away (a new one is made), or name "
        "another file with RAY_AUTH_TOKEN_PATH"
    )
