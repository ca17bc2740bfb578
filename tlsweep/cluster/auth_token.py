"""The token of a Ray cluster: sent wherever this user has one, and one clear line where it does not fit."""

import os

from tlsweep.cluster.token_file import NAMED, close_token, make_token
from tlsweep.errors import ResourceError

_WHERE = "~/.ray/auth_token, or name it with RAY_AUTH_TOKEN_PATH or RAY_AUTH_TOKEN"
_WAY_OUT = f"put the cluster's token ('ray get-auth-token' on its head node prints it) into {_WHERE}"


def use_token() -> None:
    """Send this user's token with every request to Ray; `ray start` does the same, ray.init alone would not.

    Raises:
        ResourceError: the file that should hold it cannot be read, or others can read it and we cannot help it.
    """
    from ray._private.authentication.authentication_token_setup import maybe_enable_token_auth_if_token_available

    close_token()
    if _has_token():
        maybe_enable_token_auth_if_token_available(warn_if_disabled=False)


def token_for_private_ray() -> bool:
    """See to it that a private Ray asks for a token that this user alone has; whether a file keeps it.

    Raises:
        ResourceError: others can read the one that is there, and we cannot help it.
    """
    from ray._raylet import AuthenticationTokenLoader  # type: ignore[attr-defined]

    if os.environ.get("RAY_AUTH_MODE", "token").lower() != "token":
        return True  # this user wants none
    kept = make_token()
    AuthenticationTokenLoader.instance().reset_cache()  # it remembers that there was none
    return kept


def _has_token() -> bool:
    from ray._raylet import AuthenticationTokenLoader  # type: ignore[attr-defined]
    from ray.exceptions import AuthenticationError

    try:
        # Whatever the mode is: `use_token` sets it once there is a token (ray 2.60, authentication_token_setup.py).
        return bool(AuthenticationTokenLoader.instance().has_token(ignore_auth_mode=True))
    except AuthenticationError:
        path = os.environ.get("RAY_AUTH_TOKEN_PATH")
        raise ResourceError(f"RAY_AUTH_TOKEN_PATH = '{path}': cannot be read, or is empty; {_WAY_OUT}") from None


def token_refused(where: str) -> ResourceError:
    """The error of a cluster that refuses this user: it has no token, or another one."""
    if not _has_token():
        return ResourceError(f"the Ray cluster at '{where}' asks for a token, and there is none here; {_WAY_OUT}")
    known = (name for name in NAMED if os.environ.get(name))
    return ResourceError(
        f"the Ray cluster at '{where}' refuses the token of {next(known, '~/.ray/auth_token')}; {_WAY_OUT}"
    )
