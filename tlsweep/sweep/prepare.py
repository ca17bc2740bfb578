"""What is done once, before trials run: data, weights, and every check that needs them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlsweep.cluster.nodes import Cluster
from tlsweep.data import Task, load_task
from tlsweep.data.balance import check_class_names
from tlsweep.data.duplicates import count_in_source
from tlsweep.data.federation import Clients, clients_of, federation_in
from tlsweep.data.pixels.cache import default_cache
from tlsweep.data.views import run_tasks, with_few_labels
from tlsweep.errors import DataError, ModelError
from tlsweep.observer import Observer, say
from tlsweep.spec import MAIN_ARM, ImageSpec, SourceTask
from tlsweep.store import SweepFolder
from tlsweep.sweep.assignment import configuration, trial_seed
from tlsweep.sweep.heads import starting_heads
from tlsweep.sweep.on_workers import where_trials_run

if TYPE_CHECKING:
    from tlsweep.models import Weights
    from tlsweep.pretrained.starting import Beginning
    from tlsweep.sweep.trainable import Shared
    from tlsweep.training import Transfer


@dataclass(frozen=True)
class Prepared:
    """The material of a sweep."""

    task: Task
    weights: "Mapping[str, Weights | None]"
    """What trials may start from, by name; None for random ones. Those still to be made are missing."""
    sources: Mapping[str, Task]
    """The data of each source task that is still to be trained on, by the name of its weights."""

    @property
    def tasks(self) -> tuple[Task, ...]:
        """All data that workers read."""
        return (self.task, *self.sources.values())

    def transfer(self, spec: ImageSpec, weights: "Weights | None") -> "Transfer":
        """What the first trial trains, from these weights."""
        from tlsweep.training import Transfer

        return Transfer(self.task, spec.model, weights, trial_seed(spec, 0))


def prepare(spec: ImageSpec, task: Task, observer: Observer) -> Prepared:
    """Check spec, data and model against each other, find the weights.

    Raises:
        UserError: the first thing that would make trials fail.
    """
    check_batch_sizes(spec, task)
    check_metric(spec, task)
    check_class_names(spec.train.settings().class_weights, task)
    clients_by_arm(spec, task)
    observer.phase("building the network")
    # Imports torch, which takes seconds.
    from tlsweep.models import Weights, resolve_weights, validate_model
    from tlsweep.models.dropping import DROPPING

    weights: dict[str, Weights | None] = {}
    sources: dict[str, Task] = {}
    for name, origin in spec.model.origins.items():
        model = spec.model.starting_from(origin)
        validate_model(
            model,
            **_seen_by(task),
            smallest_batch=_smallest_normalised(spec),
            dropping=[name for name in DROPPING if getattr(spec.train, name) is not None],
        )
        if not isinstance(origin, SourceTask):
            weights[name] = resolve_weights(model)
            _check_statistics(spec, weights[name])
            continue
        observer.phase("reading the source task's images")
        source = load_task(origin.data, spec.seed, progress=observer.progress)
        task = _compared(task, source, observer)
        cached = _fitting(spec, origin, source, task)
        weights |= {name: cached} if cached else {}
        sources |= {} if cached else {name: source}
    return Prepared(task, weights, sources)


def settled(spec: ImageSpec, task: Task) -> ImageSpec:
    """The spec of a sweep that begins, with what `train.layer_decay: auto` is for its network, unless that is 1.

    Raises:
        ModelError: as `prepare`.
    """
    if not spec.train.layer_decay_is_open or spec.model.weights is None or spec.train.finds_lr:
        return spec
    from tlsweep.models import usual_layer_decay

    usual = usual_layer_decay(spec.model, **_seen_by(task))
    return spec if usual == 1 else spec.model_copy(update={"usual_layer_decay": usual})


def _check_statistics(spec: ImageSpec, weights: "Weights | None") -> None:
    """Raises:
    ModelError: images are to be normalised as for the weights, and that is not known.
    """
    if spec.data.normalize == "weights" and weights is not None and weights.statistics is None:
        raise ModelError(
            f"data.normalize = weights: how images were normalised for the weights ({weights.origin}) is not known, as "
            f"{spec.model.name} is no network of torchvision or timm, and no preprocessing.json of an exported "
            "model lies beside them; write data.normalize: train, or {mean: […], std: […]}"
        )


def _compared(task: Task, source: Task, observer: Observer) -> Task:
    """The task, with a count of what is held out and was seen by the source task."""
    duplicates = replace(task.duplicates, in_source=task.duplicates.in_source + count_in_source(source, task))
    say(observer, set(duplicates.in_words()).difference(task.duplicates.in_words()))
    return replace(task, duplicates=duplicates)


def _fitting(spec: ImageSpec, origin: SourceTask, source: Task, task: Task) -> "Weights | None":
    """The weights of a source task if they were made before. Before hours of pretraining: would they fit the target?"""
    from tlsweep.models import Weights, build_network
    from tlsweep.pretrained import cached_weights

    weights = cached_weights(origin, spec.model, source, seed=spec.seed, cache=source_cache())
    untrained = build_network(spec.model, **_seen_by(source), seed=0).module.state_dict()
    stand_in = weights or Weights.from_state_dict(untrained, origin="an untrained source task")
    build_network(spec.model, **_seen_by(task), seed=0, weights=stand_in)
    return weights


def read_images(spec: ImageSpec, observer: Observer) -> Task:
    """The images of a sweep, resized as the weights expect where the spec leaves that to them.

    Raises:
        DataError, ModelError: as `load_task` and `resized_for`.
    """
    from tlsweep.models.resizing import resized_for

    task = load_task(resized_for(spec.data, spec.model), spec.seed, progress=observer.progress)
    return replace(task, federation=federation_in(spec, MAIN_ARM))


def _seen_by(task: Task) -> dict[str, Any]:
    """What a network must know of a task."""
    return {"num_classes": task.num_classes, "channels": task.channels, "image_size": task.image_size}


def batch_sizes(spec: ImageSpec) -> tuple[int, ...]:
    """List the batch sizes of the space, or the one there is, from small to large."""
    space = spec.space.get("batch_size")
    sizes = space.extremes if space else (configuration(spec, 0).batch_size,)
    return tuple(sorted(int(size) for size in sizes))


def _smallest_normalised(spec: ImageSpec) -> int:
    """The smallest batch that batch norm sees the backbone through; 2, the fewest it can do with, where none does."""
    freeze = spec.space["freeze"].extremes if "freeze" in spec.space else (configuration(spec, 0).freeze,)
    evaluates = set(freeze) == {"backbone"} or spec.train.settings().batch_norm == "frozen"
    return 2 if evaluates else batch_sizes(spec)[0]


def check_batch_sizes(spec: ImageSpec, task: Task) -> None:
    """Refuse batches larger than the smallest arm's training split: their steps would silently be smaller ones.

    Raises:
        DataError: one is.
    """
    largest, images = batch_sizes(spec)[-1], fewest_images(spec, task)
    if largest > images:
        few = _fewest_labels(spec)
        where = "the training split" if few is None else f"with {few} labels a class (study.few_labels) it"
        raise DataError(
            f"train.batch_size = {largest}: {where} has only {images} images; lower the batch size to at "
            f"most {images}, or give more labels"
        )


def check_metric(spec: ImageSpec, task: Task) -> None:
    """Refuse a metric that nothing can be compared by.

    Raises:
        DataError: it tells nothing of these images, or is not computed of so many.
    """
    from tlsweep.training.evaluation import PROBABILITIES, knows_auroc, knows_top5

    metric = spec.search.metric
    if metric == "val_top5" and not knows_top5(task):
        raise DataError(
            f"search.metric = val_top5: must have six classes or more, as with {task.num_classes} every trial has the "
            "class among the five most probable ones; write val_accuracy"
        )
    if metric == "val_auroc" and not knows_auroc(task, "val"):
        raise DataError(
            f"search.metric = val_auroc: must have at most {PROBABILITIES:,} validation images × classes, and "
            f"{task.size('val'):,} × {task.num_classes:,} are more; write val_accuracy, or lower data.val_fraction"
        )


def clients_by_arm(spec: ImageSpec, task: Task) -> dict[str, Clients]:
    """The clients of each arm that is trained as a federation, or judged by the clients of one; of several runs those
    of the first.

    Raises:
        DataError: the images of an arm are too few for them.
    """
    found: dict[str, Clients] = {}
    for arm in spec.trained_arms:
        federation, labels = federation_in(spec, arm), spec.arm(arm).labels_per_class
        if federation is not None:
            here = task if labels is None else with_few_labels(task, labels, spec.seed)
            try:
                found[arm], *_ = [clients_of(run) for run in run_tasks(replace(here, federation=federation))]
            except DataError as error:
                if labels is None:
                    raise
                raise DataError(f"with {labels} labels a class (study.few_labels): {error}, or more labels") from None
    return found


def fewest_images(spec: ImageSpec, task: Task) -> int:
    """Count the images in the smallest training split of all arms and runs."""
    few = _fewest_labels(spec)
    whole = min((len(run.train) for run in task.runs), default=task.size("train"))
    return whole if few is None else few * task.num_classes


def _fewest_labels(spec: ImageSpec) -> int | None:
    counts = [spec.arm(arm).labels_per_class for arm in spec.arms]
    return min((count for count in counts if count is not None), default=None)


def source_cache() -> Path:
    """The folder in which weights of source tasks are kept."""
    return default_cache() / "source-tasks"


def share(
    spec: ImageSpec, folder: SweepFolder, prepared: Prepared, cluster: Cluster, observer: Observer
) -> "tuple[Shared, dict[str, Weights | None], dict[str, Beginning]]":
    """Put what all trials need into the object store, pretraining first where a source task asks for it.

    Returns:
        What trials are given; by name all weights, and what the heads behind them begin with.
    """
    import ray

    from tlsweep.sweep.trainable import Shared

    gpus = cluster.trial_gpus(spec.resources)
    weights = dict(prepared.weights)
    for name, source in prepared.sources.items():
        observer.phase("pretraining on the source task")
        weights[name] = where_trials_run(_pretrain, spec, cluster, spec, name, source, gpus)
    observer.phase("sharing images and weights")
    # Put there once, images as numpy arrays: each worker maps them (measured for 190 MB: 0 to 2 MB of its own), where
    # torch tensors would be copied into each.
    references = {name: ray.put(loaded) for name, loaded in weights.items()}
    shared = Shared(spec, folder.path, ray.put(prepared.task), references, gpus)
    heads, beginnings = starting_heads(shared, weights, cluster, observer)
    return replace(shared, heads=heads), weights, beginnings


def _pretrain(spec: ImageSpec, name: str, source: Task, gpus: float) -> "Weights":
    """The cache is on the machine where it ran; the weights travel back as well."""
    from tlsweep.sweep.trainable import device_for

    return pretrain_here(spec, name, source, device=device_for(gpus))


def pretrain_here(spec: ImageSpec, name: str, source: Task, *, device: str = "auto") -> "Weights":
    """The weights called `name`, of the source task with these images, trained in this process unless they are kept."""
    from tlsweep.pretrained import pretrained
    from tlsweep.training import Compute

    origin, compute = spec.model.origins[name], Compute(device, spec.resources.threads)
    assert isinstance(origin, SourceTask)
    return pretrained(origin, spec.model, source, seed=spec.seed, cache=source_cache(), compute=compute)
