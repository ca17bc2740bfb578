"""Image files in class folders, with or without folders for the splits."""

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tlsweep.data.image_files import DEFAULT_MAX_PIXELS, open_image
from tlsweep.data.items import Found
from tlsweep.data.sources.layout import LAYOUT, find_splits, shown_class
from tlsweep.data.sources.walking import (
    LeftOut,
    Listing,
    Walk,
    count_left_out,
    holds_images,
    is_image,
    join,
    list_folder,
    spelled_on_disk,
)
from tlsweep.errors import DataError
from tlsweep.spec import FolderData
from tlsweep.text import listed, one_line

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class FileItems:
    """Image files, opened with Pillow."""

    root: str
    paths: tuple[str, ...]
    """Absolute, or relative to `root`."""
    labels: tuple[int, ...]
    max_pixels: int = DEFAULT_MAX_PIXELS
    thread_safe: bool = field(default=True, init=False)
    collects_errors: bool = field(default=True, init=False)

    @cached_property
    def key(self) -> str:
        """A digest of paths, sizes and times: reading every byte, to be sure, would take minutes where a set is large.

        The change time is among them because a file's own (mtime) survives archives that keep or flatten it.
        """
        # fsencode, because a path may hold bytes that are no UTF-8 (PEP 383).
        digest = hashlib.sha256(b"folder " + os.fsencode(Path(self.root).resolve()) + f" {self.max_pixels}".encode())
        for path, label in zip(self.paths, self.labels, strict=True):
            try:
                stat = os.stat(os.path.join(self.root, path))
                state = f"{stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns}"
            except (OSError, ValueError):
                state = "unreadable"  # a broken link, or no path at all, which decoding will report
            digest.update(f"\n{path}\0{label} {state}".encode(errors="surrogateescape"))
        return digest.hexdigest()

    def __len__(self) -> int:
        return len(self.paths)

    def name(self, index: int) -> str:
        return one_line(self.paths[index])

    def open(self, index: int) -> "tuple[Image, int]":
        # ImageFolder takes none either: in sets of photographs they are placeholders ("image not found").
        if self.paths[index].lower().endswith(".gif"):
            raise ValueError("GIF is for drawings and animations; if this one is meant, convert it to PNG")
        return open_image(os.path.join(self.root, self.paths[index]), self.max_pixels), self.labels[index]


class _Start(NamedTuple):
    """A class folder of a split."""

    split: str
    folder: str
    label: int


def find_folder(data: FolderData) -> Found:
    """List the files; none is opened.

    Raises:
        DataError: a folder that is missing, empty or laid out otherwise.
    """
    root = spelled_on_disk(os.path.expanduser(data.path))
    if not os.path.isdir(root):
        what = "is a file" if os.path.exists(root) else "does not exist"
        raise DataError(f"data.path '{one_line(root)}' {what}; {LAYOUT}")
    try:
        return _find(root, data)
    except OSError as error:
        raise DataError(f"data.path '{one_line(data.path)}' cannot be read: {one_line(str(error))}") from error


def _find(root: str, data: FolderData) -> Found:
    _refuse_dead_links(root, "")
    splits, notes = find_splits(root, data.splits)
    for folder in filter(None, splits.values()):
        _refuse_dead_links(root, folder)
    listings = {split: list_folder(os.path.join(root, folder)) for split, folder in splits.items()}
    left_out = LeftOut()
    walk = Walk(root, left_out)
    walk.claim(folder for folder in splits.values() if folder)
    classes = _classes(root, splits["train"], listings["train"])
    starts = [
        _Start(split, join(folder, name), label)
        for split, folder in splits.items()
        for name, label in _labels(root, folder, listings[split], classes, data.splits is not None)
    ]
    walk.claim(start.folder for start in starts)
    if splits["train"]:
        _count_beside(root, "", list_folder(root), "images beside the folders of the splits", left_out)
    for split, folder in splits.items():
        _count_beside(root, folder, listings[split], "images beside the class folders", left_out)
    items, counts = _files(root, starts, walk, data)
    return Found(
        items,
        dict.fromkeys(splits, 0) | counts,
        tuple(classes),
        skip_bad=data.on_bad_image == "skip",
        notes=(*notes, *alike_but_for_case(tuple(classes)), *left_out.notes()),
        folders=listings["train"].folders,
    )


def _refuse_dead_links(root: str, folder: str) -> None:
    """Refuse links to nothing among classes and splits: one whose disk is missing must not just be one class less."""
    for name in list_folder(os.path.join(root, folder)).files:
        path = os.path.join(root, folder, name)
        if not is_image(name) and os.path.islink(path) and not os.path.exists(path):
            raise DataError(
                f"'{one_line(path)}' is a link to '{one_line(os.readlink(path))}', which is not there; if a class or a "
                "split is to be there, see that its disk is mounted, else remove the link"
            )


def alike_but_for_case(classes: tuple[str, ...]) -> list[str]:
    """Note names alike but for case: a and A may be two letters; Cat and cat are mostly one class in two folders."""
    spellings: dict[str, list[str]] = defaultdict(list)
    for name in classes:
        spellings[name.casefold()].append(name)
    twins = tuple(" and ".join(names) for names in spellings.values() if len(names) > 1)
    if twins:
        return [f"class names that differ only in case count as different classes: {listed(twins, 10)}"]
    return []


def _files(root: str, starts: Sequence[_Start], walk: Walk, data: FolderData) -> tuple[FileItems, dict[str, int]]:
    """All files in the order of `starts`, and how many each split has."""
    paths: list[str] = []
    labels: list[int] = []
    counts: Counter[str] = Counter()
    for start, files in zip(starts, walk.files([start.folder for start in starts]), strict=True):
        if start.split == "train" and not files:
            raise DataError(
                f"'{one_line(os.path.join(root, start.folder))}' holds no files; each class needs training images: "
                "add some or remove the folder"
            )
        paths += files
        labels += [start.label] * len(files)
        counts[start.split] += len(files)
    return FileItems(root, tuple(paths), tuple(labels), data.max_pixels), counts


def _count_beside(root: str, folder: str, listing: Listing, what: str, left_out: LeftOut) -> None:
    count_left_out(listing, root, folder, left_out)
    for name in listing.images:
        left_out.add(what, join(folder, name))


def _classes(root: str, train: str, listing: Listing) -> dict[str, int]:
    """The label of each class by its name as it is shown."""
    where = one_line(os.path.join(root, train) if train else root)
    hidden = [name for name in listing.hidden if holds_images(os.path.join(root, train, name))]
    hint = f"; hidden folders hold images ({one_line(', '.join(hidden[:3]))}): rename them" if hidden else ""
    if not listing.folders:
        raise DataError(f"'{where}' has no class folders{hint}; {LAYOUT}")
    classes = _by_shown_name(where, listing)
    if len(classes) == 1:
        only = listing.folders[0]
        if inner := list_folder(os.path.join(root, train, only)).folders:
            hint += f"; is data.path '{one_line(os.path.join(root, train, only))}' meant, with {listed(inner, 10)}?"
        raise DataError(
            f"'{where}' has one class only, '{one_line(only)}'; classifying takes at least two{hint}; {LAYOUT}"
        )
    return {name: label for label, name in enumerate(classes)}


def _by_shown_name(where: str, listing: Listing) -> dict[str, str]:
    """Folder names by the class's name as it is shown, in the order of the folders.

    Raises:
        DataError: two names differ only in what nobody sees.
    """
    classes: dict[str, str] = {}
    seen: dict[str, str] = {}
    for folder in listing.folders:
        name = shown_class(folder)
        if twin := seen.get(name.strip()):
            raise DataError(
                f"'{where}' has two class folders that read '{name.strip()}' ({twin!a} and {folder!a}); put their "
                "images into one, or rename one"
            )
        seen[name.strip()] = folder
        classes[name] = folder
    return classes


def _labels(root: str, folder: str, listing: Listing, classes: dict[str, int], written: bool) -> list[tuple[str, int]]:
    """Class folders of a split and their labels, in the order of these."""
    where = one_line(os.path.join(root, folder) if folder else root)
    if not listing.folders and listing.images:
        way_out = "take it out of data.splits" if written else "move the folder elsewhere"
        raise DataError(
            f"'{where}' holds {len(listing.images):,} images without class folders, so their labels are not known; "
            f"sort them into class folders ({listed(tuple(classes), 10)}), or {way_out}, and a part of train is set "
            "aside instead"
        )
    named = _by_shown_name(where, listing)
    if unknown := [name for name in named if name not in classes]:
        raise DataError(
            f"'{where}' has the class '{unknown[0]}', which the training data lack; they have "
            f"{listed(tuple(classes), 10)}"
        )
    return sorted(((path, classes[name]) for name, path in named.items()), key=lambda entry: entry[1])
