"""Where files of a sweep lie: in a folder, or on object storage; and what differs between the two."""

import os
import re
import shutil
from contextlib import suppress
from pathlib import Path

from tlsweep.errors import ResultsError
from tlsweep.store.objects import FileFacts, ObjectPath

Place = Path | ObjectPath

_URI = re.compile(r"(?P<scheme>s3|gs)://(?P<bucket>[a-z0-9][a-z0-9._-]{1,220}[a-z0-9])(?P<prefix>(/[^/?#]+)*)/*")


def to_place(text: str | Place) -> Place:
    """A folder, or a bucket and prefix such as s3://bucket/prefix.

    Raises:
        ResultsError: a URI that is none of a bucket, or that holds more: credentials stay in the environment.
    """
    if isinstance(text, ObjectPath):
        return text
    if isinstance(text, Path) or "://" not in text:
        if re.match(r"(s3|gs):", str(text)):
            raise ResultsError(f"'{text}' is no place for results: a Path eats a slash; give the address as text")
        return Path(text)
    if found := _URI.fullmatch(text):
        return ObjectPath(f"{found['scheme']}://{found['bucket']}{found['prefix']}")
    scheme, _, rest = text.partition("://")
    if re.search(r"[@?#]", rest):  # not repeated: what follows may be a secret
        raise ResultsError(
            f"a '{scheme}://' address of results holds more than bucket and prefix; write {scheme}://BUCKET/PREFIX, "
            "and give credentials and endpoint by environment variables (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, …)"
        )
    raise ResultsError(f"'{text}' is no place for results; give a folder, s3://BUCKET/PREFIX or gs://BUCKET/PREFIX")


def absolute(place: Place) -> Place:
    """The same place, whatever the working directory."""
    return place.resolve() if isinstance(place, Path) else place


def children(place: Place) -> list[str]:
    """Names of what lies directly in a folder; none where there is no folder."""
    if isinstance(place, ObjectPath):
        return place.children()
    return [one.name for one in place.iterdir()] if place.is_dir() else []


def files_below(place: Place) -> dict[str, FileFacts]:
    """Every file below a folder, by its path relative to it; on object storage one request for each thousand."""
    if isinstance(place, ObjectPath):
        return place.files()
    found = {}
    for folder, _, names in os.walk(place):  # passes over folders that are removed meanwhile
        for name in names:
            path = Path(folder, name)
            with suppress(OSError):  # removed meanwhile
                facts = path.stat()
                found[path.relative_to(place).as_posix()] = FileFacts(facts.st_size, facts.st_mtime)
    return found


def remove_tree(place: Place) -> None:
    """Remove a folder and all that is in it, as far as that can be done."""
    if isinstance(place, ObjectPath):
        with suppress(OSError):
            place.remove_all()
    else:
        shutil.rmtree(place, ignore_errors=True)
