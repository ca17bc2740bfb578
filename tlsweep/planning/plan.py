"""`check`: everything that can be known before a sweep starts, and what it will take."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tlsweep.cluster.nodes import Cluster
from tlsweep.cluster.preflight import Preflight
from tlsweep.cluster.starting import RayStart, this_machine
from tlsweep.data import Task
from tlsweep.data.balance import neglect, sizes_in_words
from tlsweep.errors import ResultsError
from tlsweep.files import write_whole
from tlsweep.observer import Observer, Silence
from tlsweep.planning.corners import try_corners
from tlsweep.spec import MAIN_ARM, Hyperparameters, ImageSpec, PopulationSearch, SweepSpec
from tlsweep.spec.augmentation import strengths_in_words
from tlsweep.spec.idle import refuse_idle, remarks
from tlsweep.spec.model import WEIGHTS
from tlsweep.store.locations import to_location
from tlsweep.sweep.assignment import configuration, starting_values
from tlsweep.sweep.prepare import Prepared, clients_by_arm, prepare, read_images, settled
from tlsweep.sweep.retention import KEPT_TRIALS, kept_trials
from tlsweep.tracking import check_trackers, tracked_where

if TYPE_CHECKING:
    from tlsweep.planning.rehearsal import Rehearsal


@dataclass(frozen=True)
class Plan:
    """What `tlsweep check` prints."""

    arms: tuple[str, ...]
    trials: int
    """The trials of all arms."""
    epochs_at_most: int
    """The epochs of all trials, if none is stopped early; a population repeats some where a member takes over younger
    weights."""
    train_images: int
    val_images: int
    test_images: int
    classes: tuple[str, ...]
    image_shape: tuple[int, int, int]
    """Channels, height, width as the network sees them."""
    model: str
    weights: str | None
    parameters: int
    device: str
    slots: int
    """Places for trials that run at once."""
    seconds_at_most: float
    """The estimate from one real step forward and backward here, without stops and without the time to start."""
    checkpoint_bytes: int
    storage_bytes: int
    """Checkpoints on disk at most, at any moment."""
    nodes_checked: int
    """Nodes of the cluster that were asked whether they are ready, and are; 0 where there is only this machine."""
    skipped: tuple[str, ...] = ()
    """The files that do not decode and are left out, each with the reason."""
    set_aside: tuple[str, ...] = ()
    """The splits that are made from images that were given for training."""
    seconds_at_least: float = 0.0
    """The same from the fastest step: the machine with nothing else to do."""
    seconds_per_image: float = 0.0
    """What training takes for an image, on the device of one trial."""
    runs: int = 1
    """Networks that a trial trains side by side, an epoch of each for an epoch of the trial."""
    head: str = ""
    """The layer that makes the classes: new, and the only one that learns where the backbone is frozen."""
    beginnings: tuple[str, ...] = ()
    """What that layer begins with, and why: a line for each of the weights with which it is another."""
    frozen: tuple[str, ...] = ()
    """Where trials freeze layers, whether these compute once for all of them, and why not."""
    resizing: str = ""
    """What of a picture is seen, and how it is resized, and why."""
    normalisation: tuple[str, ...] = ()
    """What images are normalised by, and why: a line for each of the weights that say something else."""
    augmentation: str = ""
    """What happens to training images, in words."""
    layer_decay: str = ""
    """What `train.layer_decay: auto` comes to, where it is not 1."""
    clients: tuple[str, ...] = ()
    """What the clients of federations have: a line for each arm in which that is something else."""
    class_sizes: str = ""
    """How many training images the classes have."""
    findings: tuple[str, ...] = ()
    """What is odd about the images, a line for each kind."""
    tracked: tuple[str, ...] = ()
    """What trackers will get, and where: a line for each."""
    remarks: tuple[str, ...] = ()
    """What the spec allows, and is hardly meant."""


def make_plan(
    spec: ImageSpec,
    *,
    results: str | Path = "results",
    address: str | None = None,
    observer: Observer | None = None,
    contact_sheet: Path | None = None,
) -> Plan:
    """Load the data, build the model, do one real step, look at the resources; ask the nodes of a cluster.

    Args:
        contact_sheet: A PNG to write, with training images of each class as the first trial sees them.

    Raises:
        UserError: the first thing that would keep the sweep from running.
    """
    from tlsweep.planning.heads import on_kept_features, try_features, try_heads
    from tlsweep.planning.rehearsal import rehearse
    from tlsweep.training import Compute

    refuse_idle(spec)
    location = to_location(results)
    check_trackers(spec.track, location)
    watcher = observer or Silence()
    watcher.phase("reading images")
    prepared = prepare(spec, read_images(spec, watcher), watcher)
    spec = settled(spec, prepared.task)
    if contact_sheet is not None:
        _write_sheet(contact_sheet, prepared.task, spec)
    cluster, nodes_checked = resources_for(address, spec, prepared.tasks, results, watcher)
    slots = max(cluster.slots(spec.resources), cluster.slots_at_most(spec.resources) or 1)
    watcher.phase("taking one real step")
    compute = Compute(threads=spec.resources.threads)
    frozen = try_features(spec, prepared, compute)
    weights = prepared.weights.get(str(starting_values(spec, MAIN_ARM, 0)[WEIGHTS]))
    rehearsal = rehearse(
        configuration(spec, 0),
        spec.train.settings(),
        prepared.transfer(spec, weights),
        compute,
        on_features=on_kept_features(spec, frozen),
    )
    watcher.phase("trying what the head begins with")
    beginnings = try_heads(spec, prepared, compute)
    watcher.phase("trying the corners of the space")
    try_corners(spec, prepared, seconds_per_image=rehearsal.seconds_per_training_image)
    return replace(
        _planned(spec, prepared, rehearsal, slots, nodes_checked),
        beginnings=beginnings,
        frozen=frozen,
        tracked=tuple(tracked_where(spec.track, str(location / (spec.name or "NAME")))),
    )


def _planned(spec: ImageSpec, prepared: Prepared, rehearsal: "Rehearsal", slots: int, nodes_checked: int) -> Plan:
    """Work out from one rehearsed step what the whole sweep takes."""
    task = prepared.task
    trials = sum(map(spec.trials_in, spec.arms))
    epochs = sum(map(spec.epochs_in, spec.arms))
    sizes = [(len(run.train), len(run.val)) for run in task.runs] or [(task.size("train"), task.size("val"))]
    rates = rehearsal.seconds_per_training_image, rehearsal.seconds_per_validation_image
    federated = spec.train.settings().federated
    passes = federated.passes if federated else 1
    epoch_seconds = sum(train * rates[0] * passes + val * rates[1] for train, val in sizes)
    # One process computes features, before the first trial.
    seconds = epochs * epoch_seconds / slots + _kept_images(spec, task) * rehearsal.seconds_per_kept_image
    checkpoint_bytes = len(sizes) * rehearsal.checkpoint_bytes
    # Of a trial its last two and its best; of a member of a population all that another one may copy.
    kept = spec.epochs // spec.search.interval if isinstance(spec.search, PopulationSearch) else 0
    live = trials if spec.search.trials_wait else slots
    ended = sum(KEPT_TRIALS + kept_trials(spec, arm) for arm in spec.trained_arms)
    return Plan(
        arms=spec.arms,
        trials=trials,
        epochs_at_most=epochs,
        runs=len(sizes),
        train_images=task.size("train"),
        val_images=task.size("val"),
        test_images=task.size("test"),
        classes=task.classes,
        clients=_clients(spec, task),
        class_sizes=sizes_in_words(task),
        image_shape=(task.channels, task.image_size, task.image_size),
        model=spec.model.name,
        weights=_weights(spec, prepared),
        parameters=rehearsal.parameters,
        head=rehearsal.head,
        layer_decay=_layer_decay(spec),
        device=rehearsal.device,
        slots=slots,
        seconds_per_image=rehearsal.seconds_per_training_image,
        seconds_at_most=min(seconds, spec.budget.wall_time or seconds),
        seconds_at_least=min(seconds * rehearsal.fastest, spec.budget.wall_time or seconds),
        checkpoint_bytes=checkpoint_bytes,
        storage_bytes=checkpoint_bytes * ((3 + kept) * live + ended),
        skipped=task.skipped,
        set_aside=task.set_aside,
        nodes_checked=nodes_checked,
        resizing=_resizing(spec, task),
        normalisation=_normalisation(spec, prepared),
        augmentation=_augmentation(spec, task),
        findings=task.remarks,
        remarks=(
            *remarks(spec),
            *neglect(task, spec.train.settings(), spec.search.metric),
            *_too_little_time(spec, epoch_seconds),
        ),
    )


def _kept_images(spec: ImageSpec, task: Task) -> int:
    """Of how many images features are computed, where they are kept: for each of the weights."""
    parts = [part for run in task.runs for part in (run.train, run.val)]
    used = np.unique(np.concatenate(parts or [task.splits["train"], task.splits["val"]]))
    return len(used) * len(spec.model.origins)


def _clients(spec: ImageSpec, task: Task) -> tuple[str, ...]:
    found = {arm: known.in_words for arm, known in clients_by_arm(spec, task).items()}
    others = [f"{arm}: {words}" for arm, words in found.items() if words != found[MAIN_ARM]]
    return (found[MAIN_ARM], *others) if found else ()


def _weights(spec: ImageSpec, prepared: Prepared) -> str | None:
    """Say where the weights come from that trials may start with; None where all start from random ones."""
    if spec.model.weights is None:
        return None

    def origin(name: str) -> str:
        known = prepared.weights.get(name)
        if known:
            return known.origin
        return "random" if name in prepared.weights else "source task"

    return ", ".join(map(origin, spec.model.origins))


def _layer_decay(spec: ImageSpec) -> str:
    if spec.usual_layer_decay is None:
        return ""
    return (
        f"each layer group learns with {spec.usual_layer_decay:g} times the lr of the group above it, as is usual for "
        "transformers (train.layer_decay: auto)"
    )


def _normalisation(spec: ImageSpec, prepared: Prepared) -> tuple[str, ...]:
    """What trials of the main arm normalise images by."""
    from tlsweep.pretrained.pretraining import source_statistics
    from tlsweep.training.normalising import normalisation_in_words, statistics_of

    known = {name: statistics_of(weights) for name, weights in prepared.weights.items()}
    known |= {name: source_statistics(source) for name, source in prepared.sources.items()}
    return tuple(dict.fromkeys(normalisation_in_words(prepared.task, known[name]) for name in spec.model.origins))


def _resizing(spec: ImageSpec, task: Task) -> str:
    from tlsweep.training.normalising import resizing_in_words

    return resizing_in_words(spec.data, spec.model, task)


def _augmentation(spec: ImageSpec, task: Task) -> str:
    """What happens to training images."""
    from tlsweep.data.augmentation.augment import in_words

    cut = in_words(task.augment, int(task.images.shape[1]), task.image_size)
    return ", ".join(filter(None, (cut, strengths_in_words(spec.train, Hyperparameters().model_dump()))))


def _write_sheet(path: Path, task: Task, spec: ImageSpec) -> None:
    """Write images as the first trial sees them."""
    from tlsweep.data.contact_sheet import contact_sheet

    try:
        write_whole(path, contact_sheet(task, configuration(spec, 0), spec.seed))
    except OSError as error:
        raise ResultsError(f"the contact sheet '{path}' cannot be written: {error.strerror}; name another") from error


def _too_little_time(spec: ImageSpec, epoch_seconds: float) -> list[str]:
    limit = spec.budget.wall_time
    if limit is None or limit >= epoch_seconds:
        return []
    return [
        f"budget.wall_time = {limit:g} s: one epoch takes about {epoch_seconds:.3g} s, so that no trial reports before"
    ]


def resources_for(
    address: str | None, spec: SweepSpec, tasks: Sequence[Task], results: str | Path, observer: Observer
) -> tuple[Cluster, int]:
    """What trials will run on, and how many nodes of it were asked whether they are ready."""
    if address is None:
        return this_machine(), 0
    location = to_location(results)
    if isinstance(location, Path):
        location = next(folder for folder in (location.resolve(), *location.resolve().parents) if folder.is_dir())
    with RayStart(spec.resources, local=False, address=address, dashboard=False) as starting:
        cluster = starting.cluster()
        return cluster, Preflight(spec, tasks, location).check(cluster, observer)
