"""The locations of a sweep's files: in a folder, or on object storage; and what differs between the two."""

import os
import re
import shutil
from contextlib import suppress
from pathlib import Path

from tlsweep.errors import ResultsError
from tlsweep.store.objects import FileFacts, ObjectPath

Location = Path | ObjectPath

_URI = re.compile(r"(?P<scheme>s3|gs)://(?P<bucket>[a-z0-9][a-z0-9._-]{1,220}[a-z0-9])(?P<prefix>(/[^/?#]+)*)/*")

STATE = "state.pt"
"""In `best/` of a sweep over a function of the user's own: the winner's state."""


def to_location(text: str | Location) -> Location:
    """A folder (`~` is your home), or a bucket and prefix such as s3://bucket/prefix.

    Raises:
        ResultsError: a URI that is none of a bucket, or that holds more: credentials stay in the environment.
    """
    if isinstance(text, ObjectPath):
        return text
    if isinstance(text, Path) or "://" not in text:
        if re.match(r"(s3|gs):", str(text)):
            raise ResultsError(f"'{text}' is no place for results: a Path eats a slash; give the address as text")
        return Path(os.path.expanduser(text))  # unlike Path.expanduser it takes '~' as it is where no home is known
    if found := _URI.fullmatch(text):
        return ObjectPath(f"{found['scheme']}://{found['bucket']}{found['prefix']}")
    scheme, _, rest = text.partition("://")
    if re.search(r"[@?#]", rest):  # not repeated: what follows may be a secret
        raise ResultsError(
            f"a '{scheme}://' address of results holds more than bucket and prefix; write {scheme}://BUCKET/PREFIX, "
            "and give credentials and endpoint by environment variables (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, …)"
        )
    raise ResultsError(f"'{text}' is no place for results; give a folder, s3://BUCKET/PREFIX or gs://BUCKET/PREFIX")


def absolute(location: Location) -> Location:
    """The same location, whatever the working directory."""
    return location.resolve() if isinstance(location, Path) else location


def as_typed(path: Path) -> Path:
    """A path as one would type it: relative where it lies below the working directory, which may have been removed."""
    whole = path.resolve()
    try:
        return whole.relative_to(Path.cwd())
    except (ValueError, OSError):
        return whole


def children(location: Location) -> list[str]:
    """Names of what lies directly in a folder; none where there is no folder."""
    if isinstance(location, ObjectPath):
        return location.children()
    if location.is_dir():
        return [entry.name for entry in location.iterdir()]
    return []


def files_below(location: Location) -> dict[str, FileFacts]:
    """Every file below a folder, by its path relative to it; on object storage one request for each thousand."""
    if isinstance(location, ObjectPath):
        return location.files()
    found = {}
    for folder, _, names in os.walk(location):  # passes over folders that are removed meanwhile
        for name in names:
            path = Path(folder, name)
            with suppress(OSError):  # removed meanwhile
                facts = path.stat()
                found[path.relative_to(location).as_posix()] = FileFacts(facts.st_size, facts.st_mtime)
    return found


def remove_tree(location: Location) -> None:
    """Remove a folder and all that is in it, as far as that can be done."""
    if isinstance(location, ObjectPath):
        with suppress(OSError):
            location.remove_all()
    else:
        shutil.rmtree(location, ignore_errors=True)
