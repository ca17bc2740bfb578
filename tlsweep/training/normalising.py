"""What a trial normalises images by, from the spec, the training split and the weights; and how they are resized."""

from dataclasses import replace

from tlsweep.data import Task
from tlsweep.models import Weights
from tlsweep.models.resizing import automatic, expected_resizing
from tlsweep.models.statistics import Statistics
from tlsweep.spec import DataSpec, ModelSpec, Normalisation


def statistics_of(weights: Weights | None) -> Statistics | None:
    """What is known of weights; of random ones nothing."""
    if weights is None:
        return None
    return weights.statistics


def normalised_for(task: Task, statistics: Statistics | None) -> Task:
    """The task as a trial sees it that starts from weights with these statistics; None where nothing is known of them,
    or they are random."""
    if statistics is None or task.normalize not in ("auto", "weights"):
        return task
    mean, std = statistics.seen_in(task.channels)
    return replace(task, mean=mean, std=std)


def normalisation_in_words(task: Task, statistics: Statistics | None) -> str:
    """Mean and standard deviation, and where they come from: what `check` prints, for arguments as above."""
    seen = normalised_for(task, statistics)
    mean, std = (" ".join(f"{value:.3f}" for value in values) for values in (seen.mean, seen.std))
    if isinstance(task.normalize, Normalisation):
        reason = "as data.normalize says"
    elif statistics is not None and seen is not task:
        reason = statistics.reason
    else:
        reason = "of the training split" + (" of each run" if task.runs else "")
    return f"mean {mean}, std {std}, {reason}"


def resizing_in_words(data: DataSpec, model: ModelSpec, task: Task) -> str:
    """What is done with pictures before they are normalised, and why: what `check` prints."""
    side, size = int(task.images.shape[1]), task.image_size
    seen = f"the middle {size} of {side} pixels" if side > size else f"{side} pixels, the whole"
    names = [name for name in automatic(data) if name == "interpolation" or not data.seen_whole]
    reason = expected_resizing(model).reason if names else "as the spec says"
    alone = f" ({names[0]})" if len(names) == 1 and not data.seen_whole else ""
    return f"{seen}, {task.rendering.interpolation}, {reason}{alone}"
