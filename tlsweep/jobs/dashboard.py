"""The HTTP of a Ray cluster's dashboard, with its errors in our words."""

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tlsweep.cluster.auth_token import token_refused, use_token
from tlsweep.errors import ResourceError
from tlsweep.text import one_line

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

ADDRESS = "RAY_API_SERVER_ADDRESS"
"""The variable that names a dashboard for Ray's own commands."""
ANSWER_SECONDS = 20.0
"""No answer within this time is none."""


class Unreachable(ResourceError):
    """The dashboard does not answer, or not as one does."""


class UnknownJob(ResourceError):
    """There is no such job on the cluster."""


class Dashboard:
    """The Ray cluster whose dashboard answers at a URL. No request takes longer than ANSWER_SECONDS."""

    def __init__(self, url: str) -> None:
        """Connect to the dashboard at a URL.

        Raises:
            ResourceError: the URL is none of a dashboard, nothing answers there, or it refuses this user's token.
        """
        self.url = checked_url(url)
        try:
            with self.asking():
                self.client = _client(self.url)
        except Unreachable as error:
            raise ResourceError(
                f"{error}; wanted is what 'ray start --head' prints as its "
                "dashboard, for example http://10.0.0.1:8265; --dashboard-host decides who reaches it"
            ) from None

    def open_log(self, node: str, file: str, *, lines: int, follow: bool) -> Any:
        """A response (of requests) with a file in the log folder of a node; `follow`: it does not end."""
        import requests

        return requests.get(
            f"{self.url}/api/v0/logs/{'stream' if follow else 'file'}",
            params={"node_id": node, "filename": file, "lines": str(lines)} | ({"interval": "0.25"} if follow else {}),
            headers=self.client._headers,
            stream=True,
            # A log that is followed may be silent for an hour: there only the connection has a limit.
            timeout=(ANSWER_SECONDS, None if follow else ANSWER_SECONDS),
        )

    def python(self) -> str:
        """The Python that Ray runs with on the head node, which need not be the `python` of its search path."""
        response = self.client._do_request("GET", "/nodes?view=summary")
        nodes = response.json()["data"]["summary"] if response.ok else []
        for node in nodes:
            found = re.search(r"--python_worker_command=(\S+)", " ".join(node.get("cmdline") or ()))
            if found and node.get("raylet", {}).get("isHeadNode"):
                return found[1]
        return "python"

    @contextmanager
    def asking(self, job: str | None = None) -> Iterator[None]:
        """The errors of Ray's client as ours."""
        import requests
        from ray.exceptions import AuthenticationError

        try:
            yield
        except AuthenticationError:
            raise token_refused(self.url) from None
        except (requests.RequestException, ConnectionError) as error:
            raise Unreachable(f"no Ray dashboard answers at '{self.url}' ({_reason(error)})") from None
        # Ray's client raises RuntimeError for whatever it did not ask for (dashboard/modules/dashboard_sdk.py,
        # `_raise_error`).
        except RuntimeError as error:
            if job is not None and "status code 404" in str(error):
                raise UnknownJob(
                    f"there is no job '{job}' at '{self.url}'; 'tlsweep status --on {self.url}' lists them"
                ) from None
            raise Unreachable(f"'{self.url}' answers, but: {str(error).strip().splitlines()[-1]}") from None


def _reason(error: Exception) -> str:
    """What went wrong with a request, in two or three words: the whole text of `requests` is no help to anybody."""
    known = ("Connection refused", "Name or service not known", "timed out", "No route to host", "unreachable")
    text = f"{error} {error.__context__}"  # Ray's client raises an error of its own in place of the telling one
    return next((reason.lower() for reason in known if reason in text), "no connection")


def checked_url(url: str) -> str:
    """The URL without what does not belong to it.

    Raises:
        ResourceError: it cannot be a dashboard's.
    """
    try:
        parts = urlsplit(url)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port not in (0, 6379)
    except ValueError:  # brackets without an IPv6 address, a port that is none
        sound = False
    if not sound:
        raise ResourceError(
            f"'{one_line(url)}' is no address to submit to; wanted is that of the dashboard, http://HOST:8265 "
            "(6379 and ray://HOST:10001 are doors for Ray's own processes)"
        )
    if parts.username or parts.password:
        raise ResourceError(
            f"the address of '{parts.hostname}' holds a password; Ray takes a token (RAY_AUTH_TOKEN_PATH)"
        )
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"


def _client(url: str) -> "JobSubmissionClient":
    """Ray's client, made to give up on a server that does not answer, and to keep its chatter to itself."""
    from ray.job_submission import JobSubmissionClient

    logger = logging.getLogger("ray")
    logger.handlers, logger.propagate = [logging.NullHandler()], False
    use_token()

    class Client(JobSubmissionClient):
        def _do_request(self, method: str, endpoint: str, **options: Any) -> Any:
            # An upload may take its time; what counts is that the other side answers at all.
            return super()._do_request(method, endpoint, **{"timeout": ANSWER_SECONDS} | options)

    # Ray lets this variable, and RAY_ADDRESS, win over the address that it is given (dashboard/utils.py). It asks only
    # now; later commands of this process must not take this cluster for the one that their user named.
    before = os.environ.get(ADDRESS)
    os.environ[ADDRESS] = url
    try:
        return Client(url)
    finally:
        if before is None:
            del os.environ[ADDRESS]
        else:
            os.environ[ADDRESS] = before
