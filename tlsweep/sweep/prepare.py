"""What is done once, before trials run: data, weights, and every check that needs them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlsweep.data import Task, load_task
from tlsweep.data.cache import default_cache
from tlsweep.errors import DataError
from tlsweep.spec import SourceTask, SweepSpec
from tlsweep.store import SweepFolder
from tlsweep.sweep.assignment import configuration
from tlsweep.sweep.nodes import Cluster
from tlsweep.sweep.observer import Observer

if TYPE_CHECKING:
    from tlsweep.models import Weights
    from tlsweep.sweep.trainable import Shared


@dataclass(frozen=True)
class Prepared:
    """The material of a sweep."""

    task: Task
    weights: "Weights | None"
    """Of the main arm; None for random ones, or for a source task that is still to be trained on."""
    source: Task | None
    """The source task's data, where the weights come from one and are not cached yet."""

    @property
    def tasks(self) -> tuple[Task, ...]:
        """All data that workers read."""
        return (self.task,) if self.source is None else (self.task, self.source)


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


def share(
    spec: SweepSpec, folder: SweepFolder, prepared: Prepared, cluster: Cluster, observer: Observer
) -> "tuple[Shared, Weights | None]":
    """Put what all trials need into the object store, pretraining first where a source task asks for it."""
    import ray

    from tlsweep.sweep.trainable import Shared

    gpus = cluster.trial_gpus(spec.resources)
    weights = prepared.weights
    if prepared.source is not None:
        observer.phase("pretraining on the source task")
        weights = where_trials_run(_pretrain, spec, cluster, spec, prepared.source, gpus)
    observer.phase("sharing images and weights")
    return Shared(spec, folder.path, ray.put(prepared.task), ray.put(weights), gpus), weights


def where_trials_run(function: Callable[..., Any], spec: SweepSpec, cluster: Cluster, *arguments: Any) -> Any:
    """Call `function` with what a trial gets.

    On a cluster that is a worker. On this machine alone it is this process, which has imported torch already, where a
    worker would take seconds for that; unless there are GPUs, whose memory this process should not hold.
    """
    import ray

    gpus = cluster.trial_gpus(spec.resources)
    if cluster.local and not gpus:
        return function(*arguments)
    remote = ray.remote(num_cpus=spec.resources.cpus, num_gpus=gpus, max_retries=1)(function)
    return ray.get(remote.remote(*arguments))


def _pretrain(spec: SweepSpec, source: Any, gpus: float) -> Any:
    """The cache is on the machine where it ran; the weights travel back as well."""
    from tlsweep.sweep.trainable import device_for
    from tlsweep.training import pretrained

    assert isinstance(spec.model.weights, SourceTask)
    threads = max(1, int(spec.resources.cpus))
    return pretrained(
        spec.model.weights,
        spec.model,
        source,
        seed=spec.seed,
        cache=source_cache(),
        device=device_for(gpus),
        threads=threads,
    )
