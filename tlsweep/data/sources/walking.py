"""What lies in folders of images: each folder is entered once, and what is left out is counted and named."""

import os
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tlsweep.errors import DataError
from tlsweep.text import one_line

_IMAGES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".gif",
    ".avif", ".heic", ".heif", ".jp2",
)  # fmt: skip
_SYSTEM_FOLDERS = {
    # Synology, QNAP and other NAS; macOS; Jupyter, Python, version control; Windows; file systems; desktops
    "@eadir", "#recycle", "#snapshot", "@recycle", "@recently-snapshot", "@tmp", ".@__thumb", ".snapshot", ".zfs",
    "__macosx", ".appledouble", ".appledb", ".appledesktop", ".documentrevisions-v100", ".fseventsd", ".spotlight-v100",
    ".temporaryitems", ".trashes", "network trash folder", "temporary items",
    ".ipynb_checkpoints", "__pycache__", ".git", ".svn", ".hg", ".dvc", ".venv", ".cache", ".idea", ".vscode",
    "$recycle.bin", "recycler", "recycled", "system volume information", "found.000", "lost+found",
    ".trash", ".thumbnails", ".thumbs", ".xvpics", ".picasaoriginals",
}  # fmt: skip
_SYSTEM_FILES = {
    "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", ".ds_store", ".directory", ".localized", ".picasa.ini",
    ".nomedia", ".gitkeep", ".gitignore", ".gitattributes",
}  # fmt: skip
_SYSTEM_STREAMS = (":zone.identifier", ":encryptable", "@synoeastream", "@synoresource")
"""What a copy makes of what Windows and Synology keep beside a file: `cat.jpg:Zone.Identifier`."""
_LOOKED_AT = 10_000
"""Entries of a hidden folder that are looked at for an image."""

Identity = tuple[int, int]
"""Device and inode: two paths with the same one are the same folder."""


def is_image(name: str) -> bool:
    """Whether a file is called like an image. What is none is found out by decoding."""
    return name.lower().endswith(_IMAGES)


def made_by_a_system(name: str, *, folder: bool) -> bool:
    """Whether an operating system, a NAS or a tool makes entries of this name by itself."""
    lower = name.lower()
    if folder:
        return lower in _SYSTEM_FOLDERS or lower.startswith(".trash-")
    # AppleDouble: what a disk that is not Apple's cannot hold of the file with the same name.
    return lower in _SYSTEM_FILES or lower.startswith("._") or lower.endswith(_SYSTEM_STREAMS)


@dataclass
class LeftOut:
    """What is in the folders and is not used: how many of each kind, and a few names."""

    _counts: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    _names: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def add(self, what: str, name: str) -> None:
        """Count `name`, relative to the data's folder, under a text such as 'folders that systems make'."""
        self._counts[what] += 1
        # A huge tree must not become a huge list.
        if len(self._names[what]) < 5 and name not in self._names[what]:
            self._names[what].append(name)

    def notes(self) -> tuple[str, ...]:
        """One line for each kind."""
        return tuple(f"left out: {count:,} {what}: {self._some(what)}" for what, count in self._counts.items())

    def _some(self, what: str) -> str:
        names = ", ".join(f"'{one_line(name)}'" for name in self._names[what])
        return names + (", …" if self._counts[what] > len(self._names[what]) else "")


@dataclass(frozen=True)
class Listing:
    """The entries of one folder, sorted; what is hidden or made by a system stands apart."""

    folders: tuple[str, ...]
    files: tuple[str, ...]
    hidden: tuple[str, ...]
    """Folders whose names begin with a dot."""
    hidden_files: tuple[str, ...]
    system: tuple[str, ...]
    """Folders and files that systems make."""

    @property
    def images(self) -> tuple[str, ...]:
        """Files that are called like images."""
        return tuple(name for name in self.files if is_image(name))


def list_folder(folder: str) -> Listing:
    """The entries of a folder, links followed."""
    kinds: dict[str, list[str]] = defaultdict(list)
    with os.scandir(folder) as entries:
        for entry in entries:
            kinds[_kind(entry.name, folder=_is_folder(entry))].append(entry.name)
    order = ("folders", "files", "hidden", "hidden_files", "system")
    return Listing(*(tuple(sorted(kinds[kind])) for kind in order))


def _kind(name: str, *, folder: bool) -> str:
    if made_by_a_system(name, folder=folder):
        return "system"
    if folder:
        return "hidden" if name.startswith(".") else "folders"
    return "hidden_files" if name.startswith(".") else "files"


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself; decoding will report it
        return False


def spelled_on_disk(path: str) -> str:
    """The path with its names as the disk has them: é is one letter or two by the system that wrote it."""
    parent, name = os.path.split(path)
    if os.path.lexists(path) or not name:
        return path
    parent = spelled_on_disk(parent)
    try:
        names = os.listdir(parent or ".")
    except OSError:
        return path
    wanted = unicodedata.normalize("NFC", name)
    same = [entry for entry in names if unicodedata.normalize("NFC", entry) == wanted]
    if len(same) == 1:
        return os.path.join(parent, same[0])
    return path


def count_left_out(listing: Listing, root: str, where: str, left_out: LeftOut) -> None:
    """Count what is hidden and holds images, and what systems make, of the folder `where` (relative to `root`)."""
    for name in listing.hidden:
        if holds_images(os.path.join(root, where, name)):
            left_out.add("hidden folders that hold images (rename them if they are wanted)", join(where, name))
    for name in filter(is_image, listing.hidden_files):
        left_out.add("hidden images (rename them if they are wanted)", join(where, name))
    for name in listing.system:
        left_out.add("folders and files that systems make", join(where, name))


def holds_images(folder: str) -> bool:
    """Whether a folder has an image, at any depth."""
    seen = 0
    for _, folders, names in os.walk(folder):
        if any(map(is_image, names)):
            return True
        seen += len(folders) + len(names)
        if seen > _LOOKED_AT:
            return False
    return False


def join(folder: str, name: str) -> str:
    """A path relative to the data's folder, which itself is ''."""
    return f"{folder}/{name}" if folder else name


class Walk:
    """Lists the files below class folders. A folder that a link leads to again, or that holds the data, is left out."""

    def __init__(self, root: str, left_out: LeftOut) -> None:
        self._root, self._left_out = root, left_out
        above = (Path(root).resolve(), *Path(root).resolve().parents)
        self._entered = {_identity(str(folder)): "" for folder in above}

    def claim(self, folders: Iterable[str]) -> None:
        """Say which folders (relative to the root) are splits or classes: no link elsewhere leads into them.

        Raises:
            DataError: two of them are one folder.
        """
        for folder in folders:
            identity = _identity(os.path.join(self._root, folder))
            if identity in self._entered:
                first = self._entered[identity]
                other = f"'{one_line(first)}'" if first else "the folder that holds it"
                raise DataError(
                    f"'{one_line(folder)}' is a link to {other}, so its images would count twice; remove one of them"
                )
            self._entered[identity] = folder

    def files(self, folders: Sequence[str]) -> list[list[str]]:
        """List for each of `folders`, which were claimed, the files below it, relative to the root, sorted as paths."""
        found: list[list[str]] = [[] for _ in folders]
        # Links wait until all that is no link has been entered: a folder belongs where it is.
        links: list[tuple[int, str]] = []
        for at, folder in enumerate(folders):
            found[at] += self._below(folder, at, links)
        while links:
            at, folder = links.pop(0)
            if self._enter(folder):
                found[at] += self._below(folder, at, links)
        for files in found:
            files.sort(key=lambda path: path.split("/"))
        return found

    def _below(self, start: str, at: int, links: list[tuple[int, str]]) -> Iterator[str]:
        waiting = [start]
        while waiting:
            folder = waiting.pop()
            listing = list_folder(os.path.join(self._root, folder))
            count_left_out(listing, self._root, folder, self._left_out)
            yield from (join(folder, name) for name in listing.files)
            for path in (join(folder, name) for name in listing.folders):
                if os.path.islink(os.path.join(self._root, path)):
                    links.append((at, path))
                elif self._enter(path):
                    waiting.append(path)

    def _enter(self, folder: str) -> bool:
        identity = _identity(os.path.join(self._root, folder))
        if identity in self._entered:
            self._left_out.add("links to folders that are read already", folder)
            return False
        self._entered[identity] = folder
        return True


def _identity(folder: str) -> Identity:
    stat = os.stat(folder)
    return stat.st_dev, stat.st_ino
