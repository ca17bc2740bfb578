"""Who keeps objects, and what it says when it does not.

Where a store is, and who one is there, comes from the usual environment variables of the process that asks, and goes
nowhere else: what travels to workers is the address of a location.
"""

import os
import re
from datetime import timedelta
from functools import cache
from typing import Any

_CONNECT, _ANSWER = 2.0, 8.0
_ATTEMPTS = 2
"""A question takes some five seconds where nobody listens; some twenty where somebody does and is silent."""


@cache
def connect(scheme: str, bucket: str) -> Any:
    """The pyarrow FileSystem of a bucket, as this process's environment has it."""
    from pyarrow import fs

    if scheme == "gs":
        limit, emulator = timedelta(seconds=2 * _ANSWER), os.environ.get("STORAGE_EMULATOR_HOST")
        if emulator:
            protocol, _, host = emulator.rpartition("://")
            return fs.GcsFileSystem(
                anonymous=True, scheme=protocol or "http", endpoint_override=host, retry_time_limit=limit
            )
        return fs.GcsFileSystem(retry_time_limit=limit)
    # pyarrow 26: keys, tokens, profiles and AWS_REGION are looked up by S3FileSystem itself, the endpoint is not.
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if not endpoint and not region:
        region = fs.resolve_s3_region(bucket)
    options: dict[str, Any] = {
        "endpoint_override": endpoint,
        "region": region,
        "connect_timeout": _CONNECT,
        "request_timeout": _ANSWER,
        "retry_strategy": fs.AwsStandardS3RetryStrategy(max_attempts=_ATTEMPTS),
        "allow_delayed_open": True,  # a small object is one request instead of three
        # Else an upload that failed would raise nothing before the next call (pyarrow.fs.S3FileSystem).
        "background_writes": False,
    }
    return fs.S3FileSystem(**options)


NO_BUCKET = "there is no such bucket; create it, or name another one"
_REFUSED = "access denied; check the credentials of this process (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a \
profile, or a role; for gs:// GOOGLE_APPLICATION_CREDENTIALS), and that they may read, write, list and delete there"
_AWAY = "the store does not answer; check the network, and AWS_ENDPOINT_URL if it is not Amazon's"
_ANSWERS = {
    "NO_SUCH_BUCKET": NO_BUCKET,
    "NOT_FOUND": NO_BUCKET,
    "HTTP status 301": "the bucket is in another region; set AWS_DEFAULT_REGION to that one",
    "HTTP status 400": "the store refuses the request; check AWS_DEFAULT_REGION, and whether a token has expired",
    "HTTP status 403": _REFUSED,
    "OAuth2": _REFUSED,
    "NETWORK_CONNECTION": _AWAY,
    "UNAVAILABLE": _AWAY,
    **dict.fromkeys(
        ("ACCESS_DENIED", "INVALID_ACCESS_KEY_ID", "INVALID_CLIENT_TOKEN_ID", "SIGNATURE_DOES_NOT_MATCH",
         "INVALID_SIGNATURE", "MISSING_AUTHENTICATION_TOKEN", "UNRECOGNIZED_CLIENT", "PERMISSION_DENIED",
         "UNAUTHENTICATED"),
        _REFUSED,
    ),
}  # fmt: skip
"""What stores say, as Arrow words it, and what that means here; the first that is met."""


def explain(message: str) -> tuple[str, bool]:
    """An error of pyarrow's in a few words, and whether it may pass by itself."""
    for code, reason in _ANSWERS.items():
        if code in message:
            return reason, reason is _AWAY
    return re.sub(r"\s*\(Request ID: .*", "", message.partition("\n")[0])[:200], True
