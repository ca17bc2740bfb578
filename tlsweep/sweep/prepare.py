"""What is done once, before trials run: data, weights, and every check that needs them."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    # Imports torch, which takes seconds.
    from tlsweep.models import Weights, build_network, resolve_weights, validate_model
    from tlsweep.training import cached_weights

    model, seen = spec.model, _seen_by(task)
    validate_model(model, **seen)
    if not isinstance(model.weights, SourceTask):
        return Prepared(task, resolve_weights(model), None)
    observer.phase("reading the source task's images")
    source = load_task(model.weights.data, spec.seed, progress=observer.progress)
    weights = cached_weights(model.weights, model, source, seed=spec.seed, cache=source_cache())
    # Before hours of pretraining: would its weights fit the network of the target?
    untrained = build_network(model, **_seen_by(source), seed=0).module.state_dict()
    stand_in = weights or Weights.from_state_dict(untrained, origin="an untrained source task")
    build_network(model, **seen, seed=0, weights=stand_in)
    return Prepared(task, weights, None if weights else source)


def _seen_by(task: Task) -> dict[str, Any]:
    """What a network must know of a task."""
    return {"num_classes": task.num_classes, "channels": task.channels, "image_size": task.image_size}


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
