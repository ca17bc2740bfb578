"""`check` of a sweep over a function of the user's own: some epochs of it here, and what the sweep will take."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

from tlsweep.observer import Observer, Silence
from tlsweep.planning.plan import resources_for
from tlsweep.spec import MAIN_ARM, FunctionSpec, PopulationSearch
from tlsweep.spec.idle import refuse_idle, remarks
from tlsweep.store.locations import to_location
from tlsweep.sweep.assignment import starting_values, trial_seed
from tlsweep.sweep.retention import KEPT_TRIALS, kept_trials
from tlsweep.sweep.subjects.own_function import OwnFunction, finalised, sharing, terms
from tlsweep.tracking import check_trackers, tracked_where


@dataclass(frozen=True)
class FunctionPlan:
    """What `tlsweep check` prints of a function."""

    function: str
    reports: tuple[str, ...]
    """The names of the metrics in its first report."""
    trials: int
    epochs_at_most: int
    """The epochs of all trials, if none is stopped early."""
    device: str
    slots: int
    """Places for trials that run at once."""
    seconds_per_epoch: float
    """Of the second epoch, here."""
    seconds_at_most: float
    """The estimate from that, without stops and without the time to start."""
    checkpoint_bytes: int
    storage_bytes: int
    """Checkpoints on disk at most, at any moment."""
    nodes_checked: int
    """Nodes of the cluster that were asked whether they are ready, and are; 0 where there is only this machine."""
    lr: str
    """What is known of whether a changed lr reaches the optimizer."""
    tests: tuple[str, ...] | None = None
    """The names of the metrics of the winner's test; None where nothing tests it."""
    tracked: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


def make_function_plan(
    spec: FunctionSpec,
    *,
    results: str | Path = "results",
    address: str | None = None,
    observer: Observer | None = None,
) -> FunctionPlan:
    """Train up to four epochs of the first trial in this process, look at the resources; ask the nodes of a cluster.

    Raises:
        UserError: the first thing that would keep the sweep from running, or from keeping its promises.
    """
    from tlsweep.functions.rehearsing import rehearse_function
    from tlsweep.training import Compute

    refuse_idle(spec)
    location = to_location(results)
    check_trackers(spec.track, location)
    watcher = observer or Silence()
    watcher.phase("importing the function")
    subject, values = OwnFunction(spec), starting_values(spec, MAIN_ARM, 0)
    cluster, nodes_checked = resources_for(address, spec, subject.tasks, results, watcher)
    slots = max(cluster.slots(spec.resources), cluster.slots_at_most(spec.resources) or 1)
    watcher.phase("training some epochs, restoring, changing lr")
    compute, share = Compute(threads=spec.resources.threads), sharing(uuid4().hex)
    other_lr = _other_lr(spec, float(values["lr"]))
    found = rehearse_function(terms(spec), values, other_lr, trial_seed(spec, 0), share, compute)
    tests = None
    if spec.finalises:
        watcher.phase("finalising what the first epoch gave")
        with TemporaryDirectory(prefix="tlsweep-") as folder:
            tests = tuple(finalised(spec, values, trial_seed(spec, 0), found.state, Path(folder), share, compute))
    epochs, checkpoint_bytes = spec.epochs_in(MAIN_ARM), len(found.state)
    seconds = epochs * found.seconds_per_epoch / slots
    kept = spec.epochs // spec.search.interval if isinstance(spec.search, PopulationSearch) else 0
    live = spec.trials_per_arm if spec.search.trials_wait else slots
    return FunctionPlan(
        function=spec.trial,
        reports=tuple(found.metrics),
        trials=spec.trials_per_arm,
        epochs_at_most=epochs,
        device=found.device,
        slots=slots,
        seconds_per_epoch=found.seconds_per_epoch,
        seconds_at_most=min(seconds, spec.budget.wall_time or seconds),
        checkpoint_bytes=checkpoint_bytes,
        storage_bytes=checkpoint_bytes * ((3 + kept) * live + KEPT_TRIALS + kept_trials(spec, MAIN_ARM)),
        nodes_checked=nodes_checked,
        lr=_lr_in_words(other_lr, spec.resources.processes, found.kept_lr, steps_seen=found.steps_seen),
        tests=tests,
        tracked=tuple(tracked_where(spec.track, str(location / (spec.name or "NAME")))),
        remarks=(*remarks(spec), *_of_restores(found.moved)),
    )


def _other_lr(spec: FunctionSpec, lr: float) -> float | None:
    """Another lr than the first trial's; None where all have one."""
    if "lr" not in spec.space:
        return None
    return lr / 2


def _of_restores(moved: Sequence[str]) -> Iterator[str]:
    if moved:
        yield (
            f"from a restored state {', '.join(moved)} is another than without a pause; that is as it should be of a "
            "time, and else something is missing in the state"
        )


def _lr_in_words(other: float | None, processes: int, kept: tuple[int, int], *, steps_seen: bool) -> str:
    if other is None:
        return "a constant"
    if processes > 1:
        return (
            "not looked at, as it reaches optimizers of other processes, if any: check it with resources.processes = 1"
        )
    if not steps_seen:
        return "no optimizer of torch took a step, so nobody knows whether a changed lr reaches what does"
    if kept[0]:
        return f"a changed lr reaches the optimizer after a restore, but for {kept[0]} of its {kept[1]} groups"
    return "a changed lr reaches the optimizer after a restore"
