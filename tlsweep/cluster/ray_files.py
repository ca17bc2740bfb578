"""The folder in which a private Ray keeps its files: a path that its sockets fit into, and that this user may write
to."""

import os

from tlsweep.errors import ResourceError
from tlsweep.text import one_line

_SOCKET = "/ray/session_2026-01-31_23-59-59_123456_4194304/sockets/plasma_store"
"""The longest that Ray 2.60 puts below its folder; the last number is that of a process, 7 digits at most."""
_LIMIT = 107
"""Bytes of the path of a socket: `sun_path` of Linux, less the zero at its end (man 7 unix)."""
_SHORT = "/tmp"


def ray_folder() -> str | None:
    """The folder to give to Ray; None where its own choice (RAY_TMPDIR, TMPDIR, /tmp) is good.

    A TMPDIR that a scheduler has set, as Slurm and batch systems do, gives way to /tmp: the files are small.

    Raises:
        ResourceError: there is no such folder.
    """
    from ray._common.utils import get_default_system_temp_dir

    wanted = get_default_system_temp_dir()
    problem = _problem(wanted)
    if problem is None:
        return None
    if "RAY_TMPDIR" not in os.environ and _problem(_SHORT) is None:
        return f"{_SHORT}/ray"
    raise ResourceError(
        f"Ray cannot keep its files in '{one_line(wanted)}': {problem}; name another folder in the environment "
        f"variable RAY_TMPDIR, of at most {_LIMIT - len(_SOCKET)} bytes, as /tmp is"
    )


def check_home() -> None:
    """Ray 2.60 looks for a home while it is imported (ray/train/constants.py), and raises RuntimeError without one.

    Raises:
        ResourceError: there is none, as in a container with a user of its own.
    """
    if not os.path.isabs(os.path.expanduser("~")):
        raise ResourceError(
            "neither HOME nor /etc/passwd names a home for this user, and Ray needs one; set HOME to a folder that you "
            "may write to"
        )


def _problem(folder: str) -> str | None:
    """Why it cannot be: in words; None where it can."""
    # Bytes, not characters, are what the kernel counts.
    length = len(os.fsencode(folder))
    if length + len(_SOCKET) > _LIMIT:
        return f"its {length} bytes leave no room for the names of sockets"
    if not os.path.isabs(folder):
        return "it is no absolute path"
    if not os.path.isdir(folder):
        return "there is no such folder"
    own = os.path.join(folder, "ray")  # may be another user's
    writable = os.access(own if os.path.exists(own) else folder, os.W_OK | os.X_OK)
    return None if writable else "you may not write there"
