"""The image files that are meant by files, folders and globs."""

import glob
import os
from collections.abc import Iterator, Sequence

from tlsweep.data.sources.walking import LeftOut, Walk, spelled_on_disk
from tlsweep.errors import DataError
from tlsweep.text import one_line


def find_images(named: Sequence[str]) -> list[str]:
    """List files as they are named, those in folders at any depth, each file once; none is opened.

    What is hidden or made by a system is left out of folders. What is no image is found out by decoding.

    Raises:
        DataError: something that is named is not there, or holds no files.
    """
    found: dict[str, None] = {}
    for name in named:
        files = list(_files(name))
        if not files:
            raise DataError(f"the folder '{one_line(name)}' holds no files; name files, folders or globs")
        found.update(dict.fromkeys(files))
    return list(found)


def _files(name: str) -> Iterator[str]:
    """The files of an argument.

    Raises:
        DataError: see above.
    """
    path = spelled_on_disk(os.path.expanduser(name))
    # A file may be called [1].jpg: what is there comes before what is a glob.
    matches = [path] if os.path.lexists(path) else sorted(glob.glob(path, recursive=True))
    if not matches:
        kind = "matches nothing" if glob.has_magic(path) else "does not exist"
        raise DataError(f"'{one_line(name)}' {kind}; name image files, folders or globs")
    for match in matches:
        if os.path.isdir(match):
            yield from _below(match)
        else:
            yield match


def _below(folder: str) -> list[str]:
    """The files of a folder.

    Raises:
        DataError: it cannot be read.
    """
    try:
        (files,) = Walk(folder, LeftOut()).files([""])
    except OSError as error:
        raise DataError(f"'{one_line(folder)}' cannot be read: {error.strerror}") from error
    return [os.path.join(folder, file) for file in files]
