"""What is done once, before trials run: data, weights, and every check that needs them."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tlsweep.data import Task, load_task
from tlsweep.data.cache import default_cache
from tlsweep.errors import DataError
from tlsweep.spec import SourceTask, SweepSpec
from tlsweep.sweep.assignment import configuration
from tlsweep.sweep.observer import Observer

if TYPE_CHECKING:
    from tlsweep.models import Weights


@dataclass(frozen=True)
class Prepared:
    """The material of a sweep."""

    task: Task
    weights: "Weights | None"
    """Of the main arm; None for random ones, or for a source task that is still to be trained on."""
    source: Task | None
    """The source task's data, where the weights come from one and are not cached yet."""


def prepare(spec: SweepSpec, task: Task, observer: Observer) -> Prepared:
    """Check spec, data and model against each other, find the weights.

    Raises:
        UserError: the first thing that would make trials fail.
    """
    check_batch_sizes(spec, task)
    observer.phase("building the network")
    from tlsweep.models import resolve_weights  # imports torch, which takes seconds
    from tlsweep.training import cached_weights

    if isinstance(spec.model.weights, SourceTask):
        _build(spec, task, None)
        observer.phase("reading the source task's images")
        source = load_task(spec.model.weights.data, spec.seed, progress=observer.progress)
        weights = cached_weights(spec.model.weights, spec.model, source, seed=spec.seed, cache=source_cache())
        if weights is None:
            return Prepared(task, None, source)
    else:
        weights = resolve_weights(spec.model)
    _build(spec, task, weights)
    return Prepared(task, weights, None)


def _build(spec: SweepSpec, task: Task, weights: "Weights | None") -> None:
    """Build the network of a trial once, to see that model, weights and images fit together."""
    from tlsweep.models import build_network

    build_network(
        spec.model,
        num_classes=task.num_classes,
        channels=task.channels,
        image_size=task.image_size,
        seed=spec.seed,
        weights=weights,
    )


def check_batch_sizes(spec: SweepSpec, task: Task) -> None:
    """No batch may be larger than the training split: its step would silently be a smaller one.

    Raises:
        DataError: one is.
    """
    space = spec.space.get("batch_size")
    sizes = space.extremes if space else (configuration(spec, 0).batch_size,)
    largest, images = max(int(size) for size in sizes), task.size("train")
    if largest > images:
        raise DataError(
            f"train.batch_size = {largest}: the training split has only {images} images; lower the batch size to at "
            f"most {images}, or give more labels"
        )


def source_cache() -> Path:
    """Where weights of source tasks are kept."""
    return default_cache() / "source-tasks"

