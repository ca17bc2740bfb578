"""Object storage (s3://, gs://) as the part of pathlib that the files of a sweep need, on pyarrow.fs.

An object appears whole or not at all: each write is one upload.
"""

import errno
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from tlsweep.files import StorageError
from tlsweep.store.stores import NO_BUCKET, connect, explain

_T = TypeVar("_T")

PATIENCE = 60.0
"""Seconds that a store may be away, or refuse for a reason that passes, before that is an error."""
_LONGEST_PAUSE = 5.0


class ObjectStoreError(StorageError):
    """The store is away, or refuses. `location` is the URI."""


class FileFacts(NamedTuple):
    """What a listing tells of a file."""

    size: int
    """Bytes."""
    changed: float
    """The time at which it was written, in seconds since 1970, by the clock of the store."""


@dataclass(frozen=True, order=True)
class ObjectPath:
    """A location on object storage; made from text by `to_location`."""

    uri: str
    """scheme://bucket/prefix, without a slash at its end."""

    def __str__(self) -> str:
        return self.uri

    def __truediv__(self, name: str) -> "ObjectPath":
        return ObjectPath(f"{self.uri}/{name}")

    @property
    def scheme(self) -> str:
        return self.uri.partition("://")[0]

    @property
    def bucket(self) -> "ObjectPath":
        """The location of the whole bucket."""
        return ObjectPath("/".join(self.uri.split("/", 3)[:3]))

    @property
    def name(self) -> str:
        return self.uri.rpartition("/")[2]

    @property
    def parent(self) -> "ObjectPath":
        if self == self.bucket:
            return self
        return ObjectPath(self.uri.rpartition("/")[0])

    def exists(self, *, patience: float | None = None) -> bool:
        """Whether there is such an object, or any below it."""
        from pyarrow.fs import FileType

        return self._ask(lambda store, key: bool(store.get_file_info(key).type != FileType.NotFound), patience)

    def read_bytes(self, *, patience: float | None = None) -> bytes:
        """Read the whole object.

        Args:
            patience: seconds that the store may be away; default: PATIENCE.

        Raises:
            FileNotFoundError: there is none.
            ObjectStoreError: the store is away or refuses.
        """

        def get(store: Any, key: str) -> bytes:
            with store.open_input_stream(key) as stream:
                content: bytes = stream.readall()
            return content

        return self._ask(get, patience)

    def read_text(self, encoding: str = "utf-8") -> str:
        """The whole object as text."""
        return self.read_bytes().decode(encoding)

    def write_bytes(self, content: bytes, *, patience: float | None = None) -> None:
        """Put the object there, whole; one that was there is replaced.

        Args:
            content: what it holds.
            patience: seconds that the store may be away; default: PATIENCE.

        Raises:
            ObjectStoreError: the store is away or refuses.
        """

        def put(store: Any, key: str) -> None:
            try:
                with store.open_output_stream(key) as stream:
                    stream.write(content)
            except FileNotFoundError:  # Google's store has this for a bucket that is not there
                raise ObjectStoreError(NO_BUCKET, self.uri) from None

        self._ask(put, patience)

    def unlink(self, missing_ok: bool = False) -> None:
        """Remove the object."""

        def delete(store: Any, key: str) -> None:
            try:
                store.delete_file(key)
            except FileNotFoundError:
                if not missing_ok:
                    raise

        self._ask(delete)

    def remove_all(self) -> None:
        """Remove all objects below this location, in batches."""

        def delete(store: Any, key: str) -> None:
            with suppress(FileNotFoundError):
                store.delete_dir(key)

        self._ask(delete)

    def children(self) -> list[str]:
        """Names of what lies directly below, prefixes too."""
        # pyarrow 26 sees prefixes that no object marks on S3, not on Google's store.
        if self.scheme == "gs":
            return list({name.partition("/")[0] for name in self.files()})
        return [info.base_name for info in self._list(recursive=False)]

    def files(self) -> dict[str, FileFacts]:
        """Every object below, by its path relative to this location: one request for each thousand."""
        above = f"{self.uri.partition('://')[2]}/"
        return {
            info.path.partition(above)[2]: FileFacts(info.size, (info.mtime_ns or 0) / 1e9)
            for info in self._list(recursive=True)
            if info.is_file
        }

    def _list(self, *, recursive: bool) -> list[Any]:
        from pyarrow.fs import FileSelector

        def ask(store: Any, key: str) -> list[Any]:
            found: list[Any] = store.get_file_info(FileSelector(key, allow_not_found=True, recursive=recursive))
            return found

        return self._ask(ask)

    def _ask(self, question: Callable[[Any, str], _T], patience: float | None = None) -> _T:
        """What the store answers; asked again while it is away."""
        end, pause = time.monotonic() + (PATIENCE if patience is None else patience), 0.5
        while True:
            try:
                return question(connect(self.scheme, self.bucket.name), self.uri.partition("://")[2])
            except FileNotFoundError:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self.uri) from None
            except ObjectStoreError:
                raise
            # pyarrow 26 raises OSError for all that a store answers, and has its code in the text alone.
            except OSError as error:
                reason, passes = explain(str(error))
                if not passes or time.monotonic() + pause > end:
                    raise ObjectStoreError(reason, self.uri) from error
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
