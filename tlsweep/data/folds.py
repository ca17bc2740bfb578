"""The runs of a trial: folds of a stratified cross-validation, repeats with other seeds."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from tlsweep.data.duplicates import without_copies
from tlsweep.data.grouping import group_folds
from tlsweep.data.splits import few_shot, make_splits
from tlsweep.data.task import Indices, Run
from tlsweep.errors import DataError
from tlsweep.spec import DataSpec, derive_seed


def make_runs(
    labels: Indices,
    given: Mapping[str, Indices],
    classes: Sequence[str],
    data: DataSpec,
    seed: int,
    groups: Indices | None = None,
) -> tuple[dict[str, Indices], tuple[Run, ...]]:
    """Make `train`, `val` and `test` of the first run, and all runs; none where there is only one.

    The test split is the same for all, and the same as without folds and repeats.

    Args:
        labels: shape (N,), whole numbers from 0 to len(classes) - 1.
        given: sorted indices into `labels`, of `train` at least.
        classes: names, for messages.
        data: folds, repeats, fractions, and labels_per_class.
        seed: decides everything that is drawn.
        groups: shape (N,): images with the same number stay together; None: each may be anywhere.

    Raises:
        DataError: a class with too few images.
    """
    if data.folds is None and data.repeats == 1:
        return make_splits(labels, given, classes, data, seed, groups), ()
    splits = make_splits(labels, given, classes, data.model_copy(update={"labels_per_class": None}), seed, groups)
    runs = tuple(_runs(splits, labels, classes, data, seed, groups))
    if data.labels_per_class is not None:
        runs = tuple(few_labels_of(run, labels, data.labels_per_class, classes, seed) for run in runs)
    return {"train": runs[0].train, "val": runs[0].val, "test": splits["test"]}, runs


def few_labels_of(run: Run, labels: Indices, per_class: int, classes: Sequence[str], seed: int) -> Run:
    """The run with `per_class` of its training images of each class, drawn for it alone.

    Raises:
        DataError: a class that has fewer.
    """
    return Run(run.fold, run.repeat, few_shot(run.train, labels, per_class, classes, run.seed(seed)), run.val)


def drop_copies(
    splits: Mapping[str, Indices],
    runs: tuple[Run, ...],
    pictures: Indices,
    labels: Indices,
    classes: Sequence[str],
) -> tuple[dict[str, Indices], tuple[Run, ...]]:
    """The same splits and runs, trained without what is held out from each, or is under two classes.

    Args:
        splits, runs: what `make_runs` returns.
        pictures: shape (N,), the same number for the same picture.
        labels, classes: the arguments of `make_runs`.

    Raises:
        DataError: nothing is left of a class.
    """
    test = splits["test"]
    kept = without_copies(splits["train"], np.concatenate([splits["val"], test]), pictures, labels)
    runs = tuple(
        replace(run, train=without_copies(run.train, np.concatenate([run.val, test]), pictures, labels)) for run in runs
    )
    for train in (kept, *(run.train for run in runs)):
        _check_something_is_left(labels[train], classes)
    return {**splits, "train": kept}, runs


def _check_something_is_left(labels: Indices, classes: Sequence[str]) -> None:
    lost = np.setdiff1d(np.arange(len(classes)), labels)
    if lost.size:
        raise DataError(
            f"data.on_duplicate: drop leaves class '{classes[lost[0]]}' no training images ({lost.size} of "
            f"{len(classes)} classes): each is in validation or test too, or under two classes; remove the copies, or "
            "set data.on_duplicate: warn"
        )


def _runs(
    splits: Mapping[str, Indices],
    labels: Indices,
    classes: Sequence[str],
    data: DataSpec,
    seed: int,
    groups: Indices | None,
) -> Iterator[Run]:
    for repeat in range(data.repeats):
        if data.folds is None:
            yield Run(0, repeat, splits["train"], splits["val"])
        elif groups is None:
            yield from stratified_folds(splits["train"], labels, data.folds, classes, repeat, seed)
        else:
            random = derive_seed(seed, "folds", repeat)
            folds = group_folds(splits["train"], labels, groups, data.folds, classes, random)
            for fold, (train, val) in enumerate(folds):
                yield Run(fold, repeat, train, val)


def stratified_folds(
    pool: Indices, labels: Indices, folds: int, classes: Sequence[str], repeat: int, seed: int
) -> Iterator[Run]:
    """Yield the folds of scikit-learn's `StratifiedKFold`, shuffled with `derive_seed(seed, "folds", repeat) % 2**32`.

    Args:
        pool: indices into `labels` of all who take part.
        labels: shape (N,).
        folds: how many.
        classes: names, for the message.
        repeat: each shuffles with a seed of its own.
        seed: the sweep's.

    Raises:
        DataError: a class has fewer images than there are folds, so that one of them would lack it.
    """
    from sklearn.model_selection import StratifiedKFold

    members = np.bincount(labels[pool], minlength=len(classes))
    if members.min() < folds:
        rare, fewest = classes[int(members.argmin())], int(members.min())
        raise DataError(
            f"data.folds is {folds}, but class '{rare}' has {fewest} image{'s' if fewest > 1 else ''} beside the test, "
            f"and every fold needs one; {f'set data.folds to {fewest} or less, or ' if fewest > 1 else ''}add images"
        )
    splitter = StratifiedKFold(folds, shuffle=True, random_state=derive_seed(seed, "folds", repeat) % 2**32)
    for fold, (train, val) in enumerate(splitter.split(pool, labels[pool])):
        yield Run(fold, repeat, pool[train], pool[val])
