"""What a trial normalises images by, from the spec, the training split and the weights."""

from dataclasses import replace

from tlsweep.data import Task
from tlsweep.models import Weights
from tlsweep.models.statistics import Statistics
from tlsweep.spec import Normalisation


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
