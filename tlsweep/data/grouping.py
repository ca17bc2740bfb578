"""Splits and folds that leave groups whole: what is learnt of a patient, or a video, is not tested on the same one."""

from collections.abc import Iterator, Sequence
from fractions import Fraction

import numpy as np

from tlsweep.data.task import Indices
from tlsweep.errors import DataError
from tlsweep.spec import derive_seed

_FINEST = 10
"""Parts that images are divided into at most, some of which are then set aside."""
_MANY = 2000
"""Groups from which on they are drawn: among so many the classes come out alike, and to stratify 20,000 takes 8 s."""


def set_groups_aside(
    train: Indices, labels: Indices, groups: Indices, count: int, classes: Sequence[str], name: str, seed: int
) -> tuple[Indices, Indices]:
    """Divide `train` into what is left and about `count` indices that are set aside, both sorted.

    Every class is on both sides, and is as frequent on both as whole groups allow.

    Args:
        train: indices into `labels`.
        labels, groups: shape (N,).
        count: how many to set aside; large groups make it more or less.
        classes: names, for messages.
        name: of the split that is made.
        seed: decides which groups are set aside.

    Raises:
        DataError: whole groups cannot be divided so.
    """
    own_labels, own_groups = labels[train], groups[train]
    _check_groups(own_labels, own_groups, classes, 2, f"train and {name} each need one", f"data.{name}_fraction")
    random = derive_seed(seed, "split", name) % 2**32
    for aside in _candidates(own_labels, own_groups, count / len(train), random):
        kept = np.setdiff1d(np.arange(len(train)), aside)
        if all(len(np.unique(own_labels[side])) == len(classes) for side in (kept, aside)):
            return train[kept], train[np.sort(aside)]
    raise DataError(
        f"no part of about {count} images could be set aside for {name} so that no group is divided and all "
        f"{len(classes)} classes are on both sides; give a column of splits, change data.{name}_fraction, or add groups"
    )


def _candidates(labels: Indices, groups: Indices, share: float, seed: int) -> Iterator[Indices]:
    """What may be set aside, the nearest to `share` first: positions in `labels`."""
    from sklearn.model_selection import GroupShuffleSplit, StratifiedGroupKFold

    number = len(np.unique(groups))
    if number > _MANY:
        splitter = GroupShuffleSplit(_FINEST, test_size=share, random_state=seed)
        yield from (aside for _, aside in splitter.split(labels, groups=groups))
        return
    # Some of the parts of a stratified division; where a class is in few groups, no part may have it but a large one.
    for finest in range(min(_FINEST, number, int(np.bincount(labels).min())), 1, -1):
        part = Fraction(share).limit_denominator(finest)
        part = min(max(part, Fraction(1, finest)), Fraction(finest - 1, finest))
        divided = StratifiedGroupKFold(part.denominator, shuffle=True, random_state=seed)
        parts = [aside for _, aside in divided.split(labels, labels, groups)] * 2
        for first in range(part.denominator):
            yield np.concatenate(parts[first : first + part.numerator])


def group_folds(
    pool: Indices, labels: Indices, groups: Indices, folds: int, classes: Sequence[str], seed: int
) -> Iterator[tuple[Indices, Indices]]:
    """Yield training and validation of the folds of scikit-learn's `StratifiedGroupKFold`, shuffled with the seed.

    Args:
        pool: indices into `labels` of all who take part.
        labels, groups: shape (N,).
        folds: how many.
        classes: names, for the message.
        seed: modulo 2**32 scikit-learn's.

    Raises:
        DataError: a fold would lack a class.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    own_labels, own_groups = labels[pool], groups[pool]
    _check_groups(own_labels, own_groups, classes, folds, f"each of {folds} folds needs one", "data.folds")
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed % 2**32)
    for fold, (train, val) in enumerate(splitter.split(pool, own_labels, own_groups)):
        if missing := np.setdiff1d(np.arange(len(classes)), own_labels[val]).tolist():
            raise DataError(
                f"fold {fold} would lack the class '{classes[missing[0]]}', as groups stay whole; lower data.folds, "
                "take another seed, or add groups"
            )
        yield pool[train], pool[val]


def _check_groups(labels: Indices, groups: Indices, classes: Sequence[str], least: int, why: str, field: str) -> None:
    """Raises:
    DataError: a class is in fewer than `least` groups.
    """
    for label, name in enumerate(classes):
        found = len(np.unique(groups[labels == label]))
        if found < least:
            raise DataError(
                f"class '{name}' is in {found} group{'s' if found != 1 else ''} of those that are to be divided, and "
                f"{why} (groups are not divided); add groups, give a column of splits, or change {field}"
            )
