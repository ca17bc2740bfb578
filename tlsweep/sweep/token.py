"""The token of a Ray cluster: sent wherever this user has one, and one clear line where it does not fit."""

import os

from tlsweep.errors import ResourceError

_WHERE = "~/.ray/auth_token, or name it with RAY_AUTH_TOKEN_PATH or RAY_AUTH_TOKEN"
_WAY_OUT = f"put the cluster's token ('ray get-auth-token' on its head node prints it) into {_WHERE}"


def use_token() -> None:
    """Send this user's token with every request to Ray; `ray start` does the same, ray.init alone would not.

    Raises:
        ResourceError: the file that should hold it cannot be read.
    """
    from ray._private.authentication.authentication_token_setup import maybe_enable_token_auth_if_token_available

    if _has_token():
        maybe_enable_token_auth_if_token_available(warn_if_disabled=False)


def _has_token() -> bool:
    from ray._raylet import AuthenticationTokenLoader  # type: ignore[attr-defined]
    from ray.exceptions import AuthenticationError

    try:
        return bool(AuthenticationTokenLoader.instance().has_token(ignore_auth_mode=True))
    except AuthenticationError:
        path = os.environ.get("RAY_AUTH_TOKEN_PATH")
        raise ResourceError(f"RAY_AUTH_TOKEN_PATH = '{path}': cannot be read, or is empty; {_WAY_OUT}") from None


def token_refused(where: str) -> ResourceError:
    """The error of a cluster that refuses this user: it has no token, or another one."""
    if not _has_token():
        return ResourceError(f"the Ray cluster at '{where}' asks for a token, and there is none here; {_WAY_OUT}")
    known = (name for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH") if os.environ.get(name))
    return ResourceError(
        f"the Ray cluster at '{where}' refuses the token of {next(known, '~/.ray/auth_token')}; {_WAY_OUT}"
    )


def check_token(address: str) -> None:
    """Ask a cluster whether it takes this user's token: ray.init would try for 20 seconds, and complain aloud.

    Args:
        address: HOST:PORT of the head node.

    Raises:
        ResourceError: it does not.
    """
    import grpc
    from ray._private.grpc_utils import init_grpc_channel
    from ray.core.generated import gcs_service_pb2, gcs_service_pb2_grpc
    from ray.exceptions import AuthenticationError

    try:
        channel = init_grpc_channel(address)
        gcs_service_pb2_grpc.NodeInfoGcsServiceStub(channel).GetClusterId(
            gcs_service_pb2.GetClusterIdRequest(), timeout=5
        )
    except AuthenticationError:  # RAY_AUTH_MODE=token, and no token
        raise token_refused(address) from None
    except grpc.RpcError as error:
        if error.code() == grpc.StatusCode.UNAUTHENTICATED:
            raise token_refused(address) from None
