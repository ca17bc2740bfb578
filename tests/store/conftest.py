"""Places to keep files in: a folder, and a bucket of a real S3 server."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from memory_store import store_in_memory
from s3_server import S3Server, s3_server

from tlsweep.store import Location, ObjectPath
from tlsweep.store.stores import connect


@pytest.fixture(scope="session")
def store() -> Iterator[S3Server]:
    with s3_server() as server:
        server.make_bucket("bucket")
        yield server


@pytest.fixture
def bucket(store: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectPath]:
    """A prefix of its own."""
    for name, value in store.environment.items():
        monkeypatch.setenv(name, value)
    connect.cache_clear()
    yield ObjectPath(f"s3://bucket/{uuid4().hex[:8]}")
    connect.cache_clear()


@pytest.fixture(params=["folder", "s3", "gs"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Location]:
    """Everything that holds for one kind of location holds for the others; gs:// has no server here, but a memory."""
    if request.param == "folder":
        yield tmp_path
    elif request.param == "s3":
        yield request.getfixturevalue("bucket")
    else:
        with store_in_memory("gs") as memory:
            yield memory / "prefix"
