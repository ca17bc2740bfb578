"""Classes of unequal size: how unequal they are, and what their images weigh in training."""

import difflib
from collections.abc import Mapping
from typing import Final

import numpy as np
import numpy.typing as npt

from tlsweep.data.task import Indices, Task
from tlsweep.errors import DataError
from tlsweep.spec import ClassWeights, TrainSettings
from tlsweep.text import shortened

STRONG: Final = 5
"""The largest class is so many times the smallest: from here on `check` speaks of it."""


def class_counts(task: Task) -> Indices:
    """Shape (classes,): the training images of each class."""
    return np.bincount(task.labels[task.splits["train"]], minlength=task.num_classes)


def class_weights(wanted: ClassWeights, task: Task) -> npt.NDArray[np.float64] | None:
    """Shape (classes,): what an image of each class weighs; None where all weigh the same.

    Raises:
        DataError: a class that does not exist has a weight.
    """
    if wanted == "none":
        return None
    if wanted == "balanced":
        counts = class_counts(task)
        # As scikit-learn's compute_class_weight. A class without images weighs what it would have beside others.
        return task.size("train") / (np.count_nonzero(counts) * np.maximum(counts, 1))
    check_class_names(wanted, task)
    return np.array([wanted.get(name, 1.0) for name in task.classes], dtype=np.float64)


def check_class_names(wanted: ClassWeights, task: Task) -> None:
    """Refuse a weight of a class that does not exist.

    Raises:
        DataError: there is one.
    """
    for name in wanted if isinstance(wanted, Mapping) else ():
        if name not in task.classes:
            near = difflib.get_close_matches(name[:60], task.classes, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"known: {shortened(', '.join(task.classes), 240)}"
            raise DataError(f"train.class_weights: there is no class '{shortened(name)}'; {hint}")


def sizes_in_words(task: Task) -> str:
    """How many training images the classes have, from the smallest to the largest."""
    counts = class_counts(task)
    low, high = int(counts.argmin()), int(counts.argmax())
    if counts[low] == counts[high]:
        return f"{counts[low]:,} training images each"
    return f"{counts[low]:,} ({task.classes[low]}) to {counts[high]:,} ({task.classes[high]}) training images"


def neglect(task: Task, settings: TrainSettings, metric: str) -> list[str]:
    """What is left to do about classes of very unequal size, in a line; nothing where they are not, or all is done."""
    counts = class_counts(task)
    if counts.max() < STRONG * counts.min():
        return []
    advice = []
    if settings.class_weights == "none" and settings.sampler == "shuffle":
        advice.append("write train.class_weights: balanced or train.sampler: balanced, so that rare ones are learnt")
    if metric in ("val_accuracy", "val_loss"):
        advice.append(f"search.metric: val_recall (balanced accuracy), as {metric} is mostly that of the large ones")
    return [f"classes have {sizes_in_words(task)}; {'; '.join(advice)}"] if advice else []
