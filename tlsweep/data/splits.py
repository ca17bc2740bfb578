"""Who is trained on, who validates, who tests: stratified by class, drawn by the seed."""

from collections.abc import Mapping, Sequence

import numpy as np

from tlsweep.data.grouping import set_groups_aside
from tlsweep.data.task import Indices
from tlsweep.errors import DataError
from tlsweep.spec import DataSpec, derive_seed


def make_splits(
    labels: Indices,
    given: Mapping[str, Indices],
    classes: Sequence[str],
    data: DataSpec,
    seed: int,
    groups: Indices | None = None,
) -> dict[str, Indices]:
    """Make `train`, `val` and `test`: what the source gives, the rest set aside from its training images.

    With `data.folds` there is no `val`: `train` is everybody who is not in `test`, and the folds take turns.

    Args:
        labels: shape (N,), whole numbers from 0 to len(classes) - 1.
        given: sorted indices into `labels`, of `train` at least.
        classes: names, for messages.
        data: fractions, and labels_per_class.
        seed: decides who is set aside, and which few labels are kept.
        groups: shape (N,): images with the same number stay together; None: each may be anywhere.

    Raises:
        DataError: a class with too few images.
    """
    train, splits = given["train"], {name: indices for name, indices in given.items() if name != "train"}
    fractions = {"test": data.test_fraction} | ({} if data.folds else {"val": data.val_fraction})
    missing = {name: fraction for name, fraction in fractions.items() if name not in splits}
    if sum(missing.values()) >= 1:
        raise DataError(
            f"data.val_fraction {data.val_fraction} and data.test_fraction {data.test_fraction} leave nothing to train "
            "on; their sum must be below 1"
        )
    pool = len(train)
    for name, fraction in missing.items():
        count = round(fraction * pool)
        if groups is None:
            train, splits[name] = _set_aside(train, labels, count, classes, name, seed)
        else:
            train, splits[name] = set_groups_aside(train, labels, groups, count, classes, name, seed)
    if data.folds is not None:
        return {"train": np.sort(np.concatenate([train, splits.pop("val", train[:0])])), "test": splits["test"]}
    check_every_class(labels[splits["val"]], classes, "val")
    if data.labels_per_class is not None:
        train = few_shot(train, labels, data.labels_per_class, classes, seed)
    return {"train": train, "val": splits["val"], "test": splits["test"]}


def few_shot(train: Indices, labels: Indices, per_class: int, classes: Sequence[str], seed: int) -> Indices:
    """Draw `per_class` of the indices `train` for each class, sorted. Fewer are always among the more of the same seed.

    Raises:
        DataError: a class that has fewer.
    """
    kept = []
    for label, name in enumerate(classes):
        members = train[labels[train] == label]
        if len(members) < per_class:
            raise DataError(
                f"data.labels_per_class is {per_class} (of study.few_labels, the most), but class '{name}' has "
                f"{len(members)} training images; set it to {len(members)} or less"
            )
        # A generator for each class, so that what is kept of one does not depend on the others.
        order = np.random.default_rng(derive_seed(seed, "few-shot", label)).permutation(len(members))
        kept.append(members[order[:per_class]])
    return np.sort(np.concatenate(kept))


def _set_aside(
    train: Indices, labels: Indices, count: int, classes: Sequence[str], name: str, seed: int
) -> tuple[Indices, Indices]:
    """Divide `train` into what is left and `count` indices that are set aside, both stratified and sorted."""
    members = np.bincount(labels[train], minlength=len(classes))
    # The least that can be stratified: two of each class, and room for one of each on either side.
    if members.min() < 2 or not len(classes) <= count <= len(train) - len(classes):
        rare = int(members.argmin())
        raise DataError(
            f"class '{classes[rare]}' has {members[rare]} images, and {count} of {len(train)} images are to be set "
            f"aside for {name}: too few to have all {len(classes)} classes there; add images, or change "
            f"data.{name}_fraction"
        )
    # RandomState, whose stream is frozen for good (NEP 19), as a split must be; its seeds have 32 bits.
    random = np.random.RandomState(derive_seed(seed, "split", name) % 2**32)
    kept, aside = (train[side] for side in stratified(labels[train], len(train) - count, random))
    check_every_class(labels[kept], classes, "train")
    check_every_class(labels[aside], classes, name)
    return kept, aside


def stratified(labels: Indices, kept: int, random: np.random.RandomState) -> tuple[Indices, Indices]:
    """Divide images so that each class is as frequent on both sides: `kept` of them, and the others; sorted positions.

    As scikit-learn's `train_test_split` divides them, with the same draws (a test compares): sweeps of every version of
    tlsweep have the same splits. Its import takes 1.4 s of processor time (measured), before any sweep can begin.
    """
    members = np.bincount(labels)
    of_kept = shares_of(members, kept, random)
    of_others = shares_of(members - of_kept, len(labels) - kept, random)
    mine: list[Indices] = []
    others: list[Indices] = []
    for label, (share, rest) in enumerate(zip(of_kept, of_others, strict=True)):
        drawn = np.flatnonzero(labels == label)[random.permutation(members[label])]
        mine.append(drawn[:share])
        others.append(drawn[share : share + rest])
    return np.sort(np.concatenate(mine)), np.sort(np.concatenate(others))


def shares_of(members: Indices, count: int, random: np.random.RandomState) -> Indices:
    """How many of `count` each gets in proportion to its `members`; what does not divide goes to the largest
    remainders, among equal ones by lot."""
    exact = members / members.sum() * count
    shares: Indices = np.floor(exact).astype(np.int64)
    missing = count - int(shares.sum())
    for remainder in np.unique(exact - shares)[::-1]:
        if missing <= 0:
            break
        equal = np.flatnonzero(exact - np.floor(exact) == remainder)
        lucky = random.choice(equal, size=min(len(equal), missing), replace=False)
        shares[lucky] += 1
        missing -= len(lucky)
    return shares


def check_every_class(labels: Indices, classes: Sequence[str], split: str) -> None:
    """Refuse a split that lacks a class.

    Raises:
        DataError: `labels`, those of a split, lack a class.
    """
    missing = np.setdiff1d(np.arange(len(classes)), labels)
    if missing.size:
        raise DataError(
            f"class '{classes[missing[0]]}' has no images in the split '{split}' ({missing.size} of {len(classes)} "
            f"classes have none); add some, or set more aside (data.val_fraction, data.test_fraction)"
        )
