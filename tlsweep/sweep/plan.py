"""`check`: everything that can be known before a sweep starts, and what it will take."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tlsweep.data import load_task
from tlsweep.spec import MAIN_ARM, AshaSearch, PopulationSearch, SweepSpec
from tlsweep.spec.model import WEIGHTS
from tlsweep.store.places import to_place
from tlsweep.sweep.assignment import configuration, starting_values, trained_with, trial_seed
from tlsweep.sweep.cluster import RayStart, this_machine
from tlsweep.sweep.nodes import Cluster
from tlsweep.sweep.observer import Observer, Silence
from tlsweep.sweep.preflight import Preflight
from tlsweep.sweep.prepare import Prepared, prepare, pretrain_here
from tlsweep.sweep.retention import KEPT_TRIALS


@dataclass(frozen=True)
class Plan:
    """What `tlsweep check` prints."""

    arms: tuple[str, ...]
    trials: int
    """Over all arms."""
    epochs_at_most: int
    """Over all trials, if none is stopped early; a population repeats some when a member takes over younger weights."""
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
    """Trials that run at once."""
    seconds_at_most: float
    """From one real step forward and backward here; without stops, without the time to start."""
    checkpoint_bytes: int
    storage_bytes: int
    """Checkpoints on disk at most, at any moment."""
    skipped_files: int
    nodes_checked: int
    """Nodes of the cluster that were asked whether they are ready, and are; 0 where there is only this machine."""
    runs: int = 1
    """Networks that a trial trains side by side, an epoch of each for an epoch of the trial."""


def make_plan(
    spec: SweepSpec,
    *,
    results: str | Path = "results",
    address: str | None = None,
    observer: Observer | None = None,
) -> Plan:
    """Load the data, build the model, do one real step, look at the resources; ask the nodes of a cluster.

    Raises:
        UserError: the first thing that would keep the sweep from running.
    """
    from tlsweep.training import rehearse

    watcher = observer or Silence()
    watcher.phase("reading images")
    prepared = prepare(spec, load_task(spec.data, spec.seed, progress=watcher.progress), watcher)
    cluster, nodes_checked = _resources(address, spec, prepared, results, watcher)
    slots = max(cluster.slots(spec.resources), cluster.slots_at_most(spec.resources) or 1)
    watcher.phase("taking one real step")
    task = prepared.task
    rehearsal = rehearse(
        configuration(spec, 0),
        spec.train.settings(),
        task,
        spec.model,
        weights=prepared.weights.get(str(starting_values(spec, MAIN_ARM, 0)[WEIGHTS])),
        seed=trial_seed(spec, 0),
        threads=max(1, int(spec.resources.cpus)),
    )
    trials = sum(map(spec.trials_in, spec.arms))
    epochs = sum(map(spec.epochs_in, spec.arms))
    sizes = [(len(run.train), len(run.val)) for run in task.runs] or [(task.size("train"), task.size("val"))]
    rates = rehearsal.seconds_per_training_image, rehearsal.seconds_per_validation_image
    epoch_seconds = sum(train * rates[0] + val * rates[1] for train, val in sizes)
    seconds = epochs * epoch_seconds / slots
    checkpoint_bytes = len(sizes) * rehearsal.checkpoint_bytes
    # Of a trial its last two and its best; of a member of a population all that another one may copy.
    kept = spec.train.epochs // spec.search.interval if isinstance(spec.search, PopulationSearch) else 0
    waits = isinstance(spec.search, PopulationSearch) or (
        isinstance(spec.search, AshaSearch) and spec.search.form == "promotion"
    )
    live = trials if waits else slots

    def origin(name: str) -> str:
        known = prepared.weights.get(name)
        return known.origin if known else "random" if name in prepared.weights else "source task"

    return Plan(
        arms=spec.arms,
        trials=trials,
        epochs_at_most=epochs,
        runs=len(sizes),
        train_images=task.size("train"),
        val_images=task.size("val"),
        test_images=task.size("test"),
        classes=task.classes,
        image_shape=(task.channels, task.image_size, task.image_size),
        model=spec.model.name,
        weights=", ".join(map(origin, spec.model.origins)) if spec.model.weights is not None else None,
        parameters=rehearsal.parameters,
        device=rehearsal.device,
        slots=slots,
        seconds_at_most=min(seconds, spec.budget.wall_time or seconds),
        checkpoint_bytes=checkpoint_bytes,
        storage_bytes=checkpoint_bytes * ((3 + kept) * live + 2 * KEPT_TRIALS * len(spec.arms)),
        skipped_files=len(task.skipped),
        nodes_checked=nodes_checked,
    )


def _resources(
    address: str | None, spec: SweepSpec, prepared: Prepared, results: str | Path, observer: Observer
) -> tuple[Cluster, int]:
    """What trials will run on, and how many nodes of it were asked whether they are ready."""
    if address is None:
        return this_machine(), 0
    place = to_place(results)
    if isinstance(place, Path):
        place = next(one for one in (place.resolve(), *place.resolve().parents) if one.is_dir())
    with RayStart(spec.resources, local=False, address=address, dashboard=False) as starting:
        cluster = starting.cluster()
        return cluster, Preflight(spec, prepared.tasks, place).check(cluster, observer)


def debug_trial(spec: SweepSpec, *, report: Callable[[Mapping[str, Any]], None]) -> None:
    """Train the first configuration in this process, without Ray: breakpoints work, tracebacks are plain.

    Each epoch is passed to `report` as a row; nothing is written.
    """
    from tlsweep.training import finetune

    prepared = prepare(spec, load_task(spec.data, spec.seed), Silence())
    values = starting_values(spec, MAIN_ARM, 0)
    name, hyperparameters = str(values[WEIGHTS]), trained_with(values)
    source = prepared.sources.get(name)
    weights = pretrain_here(spec, name, source) if source else prepared.weights[name]
    finetune(
        hyperparameters,
        spec.train.settings(),
        prepared.task,
        spec.model,
        weights=weights,
        seed=trial_seed(spec, 0),
        report=lambda epoch, snapshot: report(hyperparameters.model_dump() | asdict(epoch)),
        threads=max(1, int(spec.resources.cpus)),
    )
