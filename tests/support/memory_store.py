"""Object storage in memory, for what needs many of them or no server."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from pyarrow import fs

from tlsweep.store import ObjectPath, objects


@contextmanager
def store_in_memory(scheme: str = "s3") -> Iterator[ObjectPath]:
    """A bucket that answers at once."""
    files = fs.PyFileSystem(fs.FSSpecHandler(MemoryFileSystem()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(objects, "connect", lambda scheme, bucket: files)
        patch.setattr(MemoryFileSystem, "store", {})
        patch.setattr(MemoryFileSystem, "pseudo_dirs", [""])
        yield ObjectPath(f"{scheme}://memory")
