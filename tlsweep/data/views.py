"""Other splits of the same images: few labels, folds. Copies no image, so that all share what lies in memory."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace

from tlsweep.data.folds import few_labels_of
from tlsweep.data.moments import normalisation
from tlsweep.data.splits import few_shot
from tlsweep.data.task import Indices, Task


def with_splits(task: Task, splits: Mapping[str, Indices]) -> Task:
    """The task with some of its splits replaced; its normalisation follows from the training split that it has then,
    unless the spec gives numbers.

    Args:
        task: any.
        splits: the splits that change: sorted indices into `task.images` by name.
    """
    new = {**task.splits, **splits}
    mean, std = normalisation(task.normalize, task.moments[new["train"]], task.images.shape[1] * task.images.shape[2])
    digest = hashlib.sha256(task.fingerprint.encode())
    for name, indices in new.items():
        digest.update(name.encode() + indices.tobytes())
    return replace(task, splits=new, mean=mean, std=std, fingerprint=digest.hexdigest())


def with_few_labels(task: Task, per_class: int, seed: int) -> Task:
    """The task with `per_class` of its training images of each class; fewer are always among the more of one seed.

    Raises:
        DataError: a class that has fewer.
    """
    few = with_splits(task, {"train": few_shot(task.splits["train"], task.labels, per_class, task.classes, seed)})
    return replace(few, runs=tuple(few_labels_of(run, task.labels, per_class, task.classes, seed) for run in task.runs))


def run_tasks(task: Task) -> tuple[Task, ...]:
    """What each network of a trial sees: the task with the splits, and so the normalisation, of each of its runs."""
    if not task.runs:
        return (task,)
    return tuple(replace(with_splits(task, {"train": run.train, "val": run.val}), runs=()) for run in task.runs)
