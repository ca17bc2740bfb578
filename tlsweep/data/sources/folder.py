"""Image files in class folders, with or without folders for the splits."""

import hashlib
import os
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from tlsweep.data.items import Found
from tlsweep.errors import DataError
from tlsweep.spec import FolderData

if TYPE_CHECKING:
    from PIL.Image import Image

_SPLIT_FOLDERS = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}
_LAYOUT = "wanted: train/CLASS/*.jpg (and val/, test/ alike), or CLASS/*.jpg"


@dataclass(frozen=True)
class FileItems:
    """Image files, opened with Pillow."""

    root: str
    paths: tuple[str, ...]
    """Relative to `root`."""
    labels: tuple[int, ...]
    thread_safe: bool = field(default=True, init=False)
    collects_errors: bool = field(default=True, init=False)

    @cached_property
    def key(self) -> str:
        """Of paths, sizes and times: reading every byte, to be sure, would take minutes where a set is large.

        The change time is among them because a file's own (mtime) survives archives that keep or flatten it.
        """
        digest = hashlib.sha256(f"folder {Path(self.root).resolve()}".encode())
        for path, label in zip(self.paths, self.labels, strict=True):
            try:
                stat = os.stat(f"{self.root}/{path}")
                state = f"{stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns}"
            except OSError:
                state = "unreadable"  # a broken link, which decoding will report
            digest.update(f"\n{path}\0{label} {state}".encode(errors="surrogateescape"))
        return digest.hexdigest()

    def __len__(self) -> int:
        return len(self.paths)

    def name(self, index: int) -> str:
        return self.paths[index]

    def open(self, index: int) -> "tuple[Image, int]":
        from PIL import Image

        # ImageFolder takes none either: in sets of photographs they are placeholders ("image not found").
        if self.paths[index].lower().endswith(".gif"):
            raise ValueError("GIF is for drawings and animations; if this one is meant, convert it to PNG")
        return Image.open(Path(self.root, self.paths[index])), self.labels[index]


def find_folder(data: FolderData) -> Found:
    """List the files; none is opened.

    Raises:
        DataError: a folder that is missing, empty or laid out otherwise.
    """
    root = Path(data.path).expanduser()
    try:
        splits = _split_folders(root)
        classes = _classes(splits["train"])
        paths: list[str] = []
        labels: list[int] = []
        counts: dict[str, int] = {}
        for split, folder in splits.items():
            files = _files(folder, classes, root)
            paths += [path for path, _ in files]
            labels += [label for _, label in files]
            counts[split] = len(files)
    except OSError as error:
        raise DataError(f"data.path '{data.path}' cannot be read: {error}") from error
    if empty := sorted(set(range(len(classes))).difference(labels[: counts["train"]])):
        raise DataError(
            f"'{splits['train'] / classes[empty[0]]}' holds no files; each class needs training images: add some or "
            "remove the folder"
        )
    items = FileItems(str(root), tuple(paths), tuple(labels))
    return Found(items, counts, classes, skip_bad=data.on_bad_image == "skip")


def _split_folders(root: Path) -> dict[str, Path]:
    if not root.is_dir():
        what = "is a file" if root.exists() else "does not exist"
        raise DataError(f"data.path '{root}' {what}; {_LAYOUT}")
    names = {folder.name for folder in _subfolders(root)}
    splits: dict[str, Path] = {}
    for split, accepted in _SPLIT_FOLDERS.items():
        present = [name for name in accepted if name in names]
        if len(present) > 1:
            raise DataError(f"'{root}' has both {' and '.join(present)}: keep one folder for validation")
        if present:
            splits[split] = root / present[0]
    if not splits:
        return {"train": root}
    if "train" not in splits:
        raise DataError(f"'{root}' has {', '.join(path.name for path in splits.values())} but no train; {_LAYOUT}")
    return splits


def _subfolders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _classes(train: Path) -> tuple[str, ...]:
    classes = tuple(folder.name for folder in _subfolders(train))
    if not classes:
        raise DataError(f"'{train}' has no class folders; {_LAYOUT}")
    if len(classes) == 1:
        raise DataError(f"'{train}' has one class only, '{classes[0]}'; classifying takes at least two; {_LAYOUT}")
    return classes


def _files(folder: Path, classes: tuple[str, ...], root: Path) -> list[tuple[str, int]]:
    """Path relative to `root`, and label, of every regular file that is not hidden."""
    unknown = [path.name for path in _subfolders(folder) if path.name not in classes]
    if unknown:
        raise DataError(
            f"'{folder}' has the class '{unknown[0]}', which the training data lack; they have {_some(classes)}"
        )
    return [
        (path.relative_to(root).as_posix(), label)
        for label, name in enumerate(classes)
        for path in _walk(folder / name)
    ]


def _walk(folder: Path) -> list[Path]:
    """All files below, through links as torchvision's ImageFolder does, without hidden ones."""
    found: list[Path] = []
    for parent, folders, names in os.walk(folder, onerror=_raise_unless_missing, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(parent, name) for name in names if not name.startswith(".")]
    return sorted(found)


def _raise_unless_missing(error: OSError) -> None:
    """A validation folder need not have every class; one that may not be read is another matter."""
    if not isinstance(error, FileNotFoundError):
        raise error


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
