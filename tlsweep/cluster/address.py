"""Which Ray a sweep may join: what an address says, and who answers there."""

import os
import re
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from tlsweep.cluster.auth_token import token_refused, use_token
from tlsweep.errors import ResourceError
from tlsweep.text import one_line

PRIVATE = {"tlsweep.private": "true"}
"""Label of the node of a private Ray, which ends with its sweep."""
ANSWER_SECONDS = 10.0
"""A cluster that has not answered by then does not."""


class NoCluster(ResourceError):
    """An address at which there is nobody who could be joined."""


def cluster_to_join(address: str | None) -> str | None:
    """The cluster to join: `address`, or what RAY_ADDRESS says, or what `ray start` made on this machine; or None.

    `auto` is what `ray start` made here too. Ray itself would take any Ray that runs on this machine, also the private
    one of another sweep, and the sweep would end with it.

    Raises:
        ResourceError: the address is none, nobody answers there, or it is the private Ray of another sweep.
    """
    name, said = ("--address", address) if address is not None else ("RAY_ADDRESS", _of_environment())
    word = None if said is None else said.strip().casefold()
    if word == "local":
        return None
    if said is None or word == "auto":
        return _started_here(required=word == "auto", name=name)
    try:
        host, port = _parsed(said.strip())
        _check_joinable(host, port)
    except NoCluster as error:
        raise ResourceError(f"{name} '{one_line(said)}': {error}") from None
    return _for_ray(host, port)


def _of_environment() -> str | None:
    """What RAY_ADDRESS says; where it is empty nothing, as for Ray: so a shell takes it away for one command."""
    return os.environ.get("RAY_ADDRESS", "").strip() or None


def _started_here(*, required: bool, name: str) -> str | None:
    """The cluster that `ray start` made on this machine last, if it still runs."""
    if found := _recorded():
        try:
            _check_joinable(*_parsed(found))
            return found
        except NoCluster:  # it has ended since; by now anybody may have its port
            pass
    if required:
        raise ResourceError(
            f"{name} 'auto': no cluster of 'ray start --head' runs on this machine (the private Ray of another sweep "
            f"is not joined); start one, or leave {name} out to run on this machine alone"
        )
    return None


def _recorded() -> str | None:
    """The address that `ray start` wrote down here; from this user or root alone, since the folder is open to all."""
    from ray._common.utils import get_ray_address_file

    path = Path(get_ray_address_file(None))
    with suppress(OSError, UnicodeDecodeError):
        if path.stat().st_uid in (os.geteuid(), 0):
            return path.read_text().strip()
    return None


def _parsed(address: str) -> tuple[str, int]:
    """Read host and port from an address.

    Raises:
        NoCluster: it is no address of a cluster.
    """
    if "://" in address:
        raise NoCluster(
            "a sweep is run from a machine of the cluster, by HOST:PORT (10.0.0.1:6379); from another machine submit "
            "it: tlsweep submit SPEC http://HEAD:8265"
        )
    parts = re.fullmatch(r"(?:\[(?P<v6>[0-9a-fA-F:.]+)\]|(?P<host>[^\s:\[\]/@]+)):(?P<port>[0-9]{1,5})", address)
    if parts is None or not 0 < int(parts["port"]) < 65536:
        raise NoCluster("no address of a Ray cluster; write HOST:PORT, for example 10.0.0.1:6379")
    return parts["v6"] or parts["host"], int(parts["port"])


def _for_ray(host: str, port: int) -> str:
    """The address as Ray's own processes know it: this machine is not 127.0.0.1 for them."""
    from ray._common.network_utils import build_address
    from ray._private.services import resolve_ip_for_localhost

    return str(build_address(resolve_ip_for_localhost(host), port))


def _check_joinable(host: str, port: int) -> None:
    """Refuse a cluster that cannot be joined.

    Raises:
        NoCluster: nobody answers, or somebody who cannot be joined.
        ResourceError: the cluster refuses this user's token.
    """
    _check_listening(host, port)
    # gRPC finds no port behind an IPv6 address without brackets (RFC 3986, 3.2.2).
    if PRIVATE.items() <= _head_labels(f"[{host}]:{port}" if ":" in host else f"{host}:{port}").items():
        raise NoCluster(
            "this is the private Ray of another sweep, and ends with it; start a cluster for several sweeps with "
            "'ray start --head', or run on this machine alone with --local"
        )


def _check_listening(host: str, port: int) -> None:
    """Find out whether somebody listens there: Ray itself would try for many seconds, and complain aloud."""
    try:
        # Where a firewall drops packets nothing answers, and Linux would go on trying for two minutes (tcp_syn_retries,
        # man 7 tcp).
        socket.create_connection((host, port), timeout=3).close()
    except (OSError, UnicodeError) as error:  # UnicodeError: no name of a host can be like this
        raise NoCluster(
            f"no Ray cluster answers there ({_reason(error)}); start one with 'ray start --head', or leave the address "
            "out to run on this machine alone"
        ) from None


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer within 3 s"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return "there is no such host"


def _head_labels(address: str) -> Mapping[str, str]:
    """Labels of the head node of a cluster, which is asked without joining it: ray.init would try for 20 seconds.

    Raises:
        ResourceError: it refuses this user's token.
        NoCluster: what answers is no Ray.
    """
    from ray._private.grpc_utils import init_grpc_channel
    from ray.core.generated import gcs_service_pb2, gcs_service_pb2_grpc

    use_token()
    with _refusals_explained(address):
        nodes = gcs_service_pb2_grpc.NodeInfoGcsServiceStub(init_grpc_channel(address)).GetAllNodeInfo(
            gcs_service_pb2.GetAllNodeInfoRequest(), timeout=ANSWER_SECONDS
        )
    return next((dict(node.labels) for node in nodes.node_info_list if node.is_head_node), {})


@contextmanager
def _refusals_explained(address: str) -> Iterator[None]:
    import grpc
    from ray.exceptions import AuthenticationError

    try:
        yield
    except AuthenticationError:  # RAY_AUTH_MODE=token, and no token
        raise token_refused(address) from None
    except grpc.RpcError as error:
        # A wrong token is refused by the cluster, a missing one by Ray in this process (AuthenticationError, above).
        if error.code() == grpc.StatusCode.UNAUTHENTICATED:
            raise token_refused(address) from None
        raise NoCluster(
            f"what answers there is no Ray cluster ({error.code().name.lower().replace('_', ' ')}); wanted is what "
            "'ray start --head' prints, HOST:6379; a dashboard, HOST:8265, is for tlsweep submit"
        ) from None
