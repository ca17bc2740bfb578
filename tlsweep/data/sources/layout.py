"""Which folders of a data set are its splits, and which are classes: told by their names and by what they hold."""

import os
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from tlsweep.data.sources.walking import holds_images, list_folder, spelled_on_disk
from tlsweep.errors import DataError
from tlsweep.text import listed, one_line

Split = Literal["train", "val", "test"]
LAYOUT = "wanted: train/CLASS/*.jpg (and val/, test/ alike), or CLASS/*.jpg"
_SPLITS = {
    "train": r"train(?:ing)?s?|trainval|trn|learn(?:ing)?",
    "val": r"val(?:id(?:ation|ate|ating)?)?s?|dev(?:el(?:opment)?)?",
    "test": r"test(?:ing)?s?|tst",
}
"""What people call the splits, without case, digits and punctuation."""
_EVALUATION = r"eval(?:uation)?s?|holdout"
"""A folder for validation or for the test: the other one tells which."""
_FILLER = r"(?:data(?:sets?)?|(?:sub)?sets?|images?|imgs?|pictures?|pics?|photos?|samples?|splits?|files?|folders?)"
_WHOLE = {split: re.compile(f"{_FILLER}*(?:{words}){_FILLER}*") for split, words in _SPLITS.items()}
_EVALUATION_WHOLE = re.compile(f"{_FILLER}*(?:{_EVALUATION}){_FILLER}*")
_ALIKE = 0.5
"""Two folders are alike if they share this part of all sub-folders that they have."""
_WRITE = "data.splits: {train: NAME, val: NAME, test: NAME}"


def shown_class(folder: str) -> str:
    """A class's name from its folder's: é is one letter or two by the system that wrote it (NFC and NFD)."""
    return one_line(unicodedata.normalize("NFC", folder))


def split_called(name: str) -> str | None:
    """Tell `train`, `val` or `test` where a folder's whole name says so: Training, test_set, VAL-images, train2017."""
    letters = re.sub(r"[\W\d_]", "", unicodedata.normalize("NFKC", name).casefold())
    return next((split for split, pattern in _WHOLE.items() if pattern.fullmatch(letters)), None)


def _split_within(name: str) -> str | None:
    """The split that one word of a name says: `seg_train`, `flowers-test`."""
    words = re.findall(r"[^\W\d_]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name))
    found = {split for word in words if (split := split_called(word))}
    return found.pop() if len(found) == 1 else None


@dataclass(frozen=True)
class _Folder:
    """A folder directly below the root."""

    root: str
    name: str
    folders: tuple[str, ...]
    images: int

    @property
    def flat(self) -> bool:
        """Holds images and no folders, as a class does."""
        return self.images > 0 and not self.folders

    @cached_property
    def keys(self) -> frozenset[str]:
        """The names of its folders, however they are spelled."""
        return frozenset(unicodedata.normalize("NFC", name).casefold() for name in self.folders)

    def is_like(self, other: "_Folder") -> bool:
        """Holds the same folders, or most: two splits of one data set."""
        shared, everything = len(self.keys & other.keys), len(self.keys | other.keys)
        # A split holds no images of its own; a class that does may have one folder as others have (`more`).
        least = 2 if self.images else 1
        return everything > 1 and shared >= max(least, _ALIKE * everything)

    def __str__(self) -> str:
        return f"'{one_line(self.name)}'"


def find_splits(root: str, written: Mapping[Split, str] | None) -> tuple[dict[str, str], list[str]]:
    """The folder of each split, relative to the root ('' for the root itself), and what to say about it.

    Args:
        root: The data set's folder.
        written: `data.splits`, if the spec has it.

    Raises:
        DataError: It can be read in more than one way, or in none.
    """
    if written is not None:
        return _written(root, written), []
    folders = [_look_at(root, name) for name in list_folder(root).folders]
    named = {split: [folder for folder in folders if split_called(folder.name) == split] for split in _SPLITS}
    if any(folder.folders for folder in named["train"]):
        return _by_name(root, folders, named)
    if any(named.values()):
        return _without_train(root, folders, named)
    return _unnamed(root, folders)


def _look_at(root: str, name: str) -> _Folder:
    listing = list_folder(os.path.join(root, name))
    return _Folder(root, name, listing.folders, len(listing.images))


def _written(root: str, written: Mapping[Split, str]) -> dict[str, str]:
    named = {str(split): _folder_called(root, split, name) for split, name in written.items()}
    folders = [os.path.normpath(name) for name in named.values()]
    if twice := [name for name in folders if folders.count(name) > 1]:
        raise DataError(f"data.splits names '{one_line(twice[0])}' twice; each split has a folder of its own")
    if written and "train" not in written:
        raise DataError("data.splits names no folder for train; {} says that each folder is a class")
    return {split: named[split] for split in _SPLITS if split in named} or {"train": ""}


def _folder_called(root: str, split: str, name: str) -> str:
    """The folder that `data.splits` means, relative to the root."""
    path = spelled_on_disk(os.path.join(root, name))
    if not os.path.isdir(path):
        folders = list_folder(root).folders
        more = ", …" if len(folders) > 5 else ""
        raise DataError(
            f"data.splits.{split}: '{one_line(root)}' has no folder '{one_line(name)}'; it has "
            f"{one_line(', '.join(folders[:5])) or 'none'}{more}"
        )
    if os.path.samefile(path, root):
        raise DataError(
            f"data.splits.{split} is data.path itself; name a folder in it, or write data.splits: {{}} if each is a "
            "class"
        )
    return path.removeprefix(os.path.join(root, "")).rstrip("/")


def _by_name(
    root: str, folders: Sequence[_Folder], named: Mapping[str, list[_Folder]]
) -> tuple[dict[str, str], list[str]]:
    """Find the splits where `train` holds class folders."""
    for split, candidates in named.items():
        if len(candidates) > 1:
            names = " and ".join(folder.name for folder in candidates)
            raise DataError(
                f"'{one_line(root)}' has both {one_line(names)}: keep one folder for {split}, or write {_WRITE}"
            )
    splits = {split: candidates[0] for split, candidates in named.items() if candidates}
    train, rest = splits["train"], [folder for folder in folders if folder not in splits.values()]
    classes = [folder for folder in rest if not folder.is_like(train) and holds_images(os.path.join(root, folder.name))]
    if len(splits) == 1 and len(classes) > 1:
        raise DataError(
            f"'{one_line(root)}': {train} may be a split or, beside {_several(classes)}, a class; write "
            f"data.splits: {{train: {one_line(train.name)}}}, or data.splits: {{}} if each folder is a class"
        )
    splits |= _by_likeness(train, rest, splits)
    unused = [folder for folder in rest if folder not in splits.values()]
    notes = [f"left out: beside {train}, not used: {_several(unused)}; {_WRITE} to use one"] if unused else []
    return {split: _descended(splits[split], split) for split in _SPLITS if split in splits}, notes


def _by_likeness(train: _Folder, rest: Sequence[_Folder], splits: Mapping[str, _Folder]) -> dict[str, _Folder]:
    """What is missing still, among folders that hold the same classes as `train`: `flowers_test`, `eval`."""
    alike = [folder for folder in rest if folder.keys & train.keys]
    found: dict[str, _Folder] = {}
    for split in ("val", "test"):
        candidates = [folder for folder in alike if _split_within(folder.name) == split]
        if split not in splits and len(candidates) == 1:
            found[split] = candidates[0]
    missing = [split for split in ("val", "test") if split not in {**splits, **found}]
    evaluation = [
        folder for folder in alike if _EVALUATION_WHOLE.fullmatch(re.sub(r"[\W\d_]", "", folder.name.casefold()))
    ]
    if evaluation and len(missing) == 2:
        raise DataError(
            f"'{one_line(train.root)}': {evaluation[0]} may be for validation or for the test; call it val or test, or "
            f"write {_WRITE}"
        )
    return found | ({missing[0]: evaluation[0]} if evaluation and missing else {})


def _descended(folder: _Folder, split: str) -> str:
    """Go down to the inner folder of `training_set/training_set/CLASS`, as some archives unpack."""
    path, inner = folder.name, folder
    while len(inner.folders) == 1 and not inner.images and _split_within(inner.folders[0]) == split:
        path = f"{path}/{inner.folders[0]}"
        inner = _look_at(folder.root, path)
    return path


def _without_train(
    root: str, folders: Sequence[_Folder], named: Mapping[str, list[_Folder]]
) -> tuple[dict[str, str], list[str]]:
    """Some folder is called as a split is, but none of them is a `train` that holds class folders."""
    called = [folder for candidates in named.values() for folder in candidates]
    others = [folder for folder in folders if folder not in called]
    if len(called) == 1 and called[0].flat and sum(folder.flat for folder in others) > 1:
        return {"train": ""}, [f"{called[0]} is taken for a class: it holds images, as the folders beside it do"]
    if named["train"]:
        train = f"'{one_line(os.path.join(root, named['train'][0].name))}'"
        loose = f" ({named['train'][0].images:,} images lie directly in it)" if named["train"][0].images else ""
        raise DataError(f"{train} has no class folders{loose}; {LAYOUT}; if it is a class itself: data.splits: {{}}")
    if loosely := _loosely_named(folders):
        return loosely, []
    names = ", ".join(one_line(folder.name) for folder in called)
    raise DataError(
        f"'{one_line(root)}' has {names} but no train; {LAYOUT}; or write {_WRITE}, or data.splits: {{}} if each "
        "folder is a class"
    )


def _unnamed(root: str, folders: Sequence[_Folder]) -> tuple[dict[str, str], list[str]]:
    """Take folders of which none is called as a split is for classes, unless they hold the same folders."""
    if loosely := _loosely_named(folders):
        return loosely, []
    _refuse_flat_splits(root, folders)
    nested = [folder for folder in folders if folder.folders]
    fullest = max(nested, key=lambda folder: len(folder.keys), default=None)
    alike = [folder for folder in nested if fullest and folder.is_like(fullest)]
    if len(alike) < 2 or 2 * len(alike) < len(nested) + sum(folder.flat for folder in folders):
        return {"train": ""}, []
    more = ", …" if len(alike[0].folders) > 3 else ""
    shared = ", ".join(one_line(name) for name in alike[0].folders[:3]) + more
    if all(map(_split_within, alike[0].folders)):
        raise DataError(
            f"'{one_line(root)}' has {_several(alike)} with splits inside ({shared}); "
            "if one of them holds the classes, data.path is to name it; if they are the classes, write train/CLASS"
        )
    raise DataError(
        f"'{one_line(root)}' has the shape of splits, but their names are not understood: {_several(alike)} hold the "
        f"same folders ({shared}); call them train, val and test (train/CLASS), or "
        f"write {_WRITE}, or data.splits: {{}} if each of them is a class"
    )


def _refuse_flat_splits(root: str, folders: Sequence[_Folder]) -> None:
    """Refuse `trainA testA`, `cats_train cats_test` without folders in them: whatever the classes are, not these."""
    called = {_split_within(folder.name) for folder in folders if folder.flat}
    if len(called) > 1 and None not in called and len(folders) == sum(folder.flat for folder in folders):
        raise DataError(
            f"'{one_line(root)}' has {_several(folders)}, which are called like splits and hold no class folders; "
            f"{LAYOUT}; or write data.splits: {{}} if each of them is a class"
        )


def _loosely_named(folders: Sequence[_Folder]) -> dict[str, str]:
    """Find `seg_train` and `seg_test`: names that hold a split's word, of folders with the same classes."""
    named = {
        split: [folder for folder in folders if folder.folders and _split_within(folder.name) == split]
        for split in _SPLITS
    }
    train = named["train"][0] if len(named["train"]) == 1 else None
    others = [folder for split in ("val", "test") for folder in named[split]]
    if train is None or not others or max(map(len, named.values())) > 1:
        return {}
    splits = {split: candidates[0] for split, candidates in named.items() if candidates}
    paths = {split: _descended(folder, split) for split, folder in splits.items()}
    inside = {split: _look_at(train.root, path) for split, path in paths.items()}
    alike = all(folder.keys & inside["train"].keys for folder in inside.values())
    return paths if alike else {}


def _several(folders: Sequence[_Folder]) -> str:
    return listed(list(map(str, folders)), 5)
