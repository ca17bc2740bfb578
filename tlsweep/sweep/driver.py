"""`launch` and `resume`: from a spec, or from what an earlier launch left, to results, in order."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlsweep.data import Task, load_task
from tlsweep.errors import ResultsError, SpecError, SweepFailed
from tlsweep.spec import SweepSpec, dump_spec, load_spec
from tlsweep.spec.study import HYPERRULE_ARM
from tlsweep.store import (
    Lease,
    ObjectStoreError,
    Place,
    Results,
    Status,
    SweepFolder,
    SweepState,
    create_sweep_folder,
    find_sweep_folder,
    lock_folder,
    to_place,
)
from tlsweep.store.files import cannot_write, log_to_upload, storage_fault, write_json, write_text
from tlsweep.store.folder import command
from tlsweep.sweep.cluster import RayStart
from tlsweep.sweep.interrupts import Interrupts
from tlsweep.sweep.ledger import Ledger
from tlsweep.sweep.nodes import Cluster
from tlsweep.sweep.observer import Observer, Several, Silence, SweepView
from tlsweep.sweep.placing import unborn
from tlsweep.sweep.preflight import Preflight
from tlsweep.sweep.prepare import Prepared, prepare, share
from tlsweep.sweep.referee import INTERRUPTED, Referee
from tlsweep.sweep.resuming import History, exhausted_arms, read_history, reopened, stored_spec
from tlsweep.sweep.retention import Retention
from tlsweep.sweep.telemetry import Telemetry

if TYPE_CHECKING:
    from tlsweep.sweep.trainable import Shared


@dataclass(frozen=True)
class Where:
    """The Ray that a sweep runs on."""

    local: bool = False
    """Start a private Ray on this machine even if a cluster is running."""
    address: str | None = None
    """Ray cluster to join."""
    dashboard: bool = True
    """Whether a private Ray shows its dashboard."""


def launch(
    spec: SweepSpec,
    *,
    results: str | Place = "results",
    name: str | None = None,
    local: bool = False,
    address: str | None = None,
    dashboard: bool = True,
    observer: Observer | None = None,
) -> Results:
    """Run a sweep; returns its results, also after an interrupt (SIGINT or SIGTERM), with what there is by then.

    Args:
        spec: What to do.
        results: What holds sweeps: a folder, or s3://BUCKET/PREFIX, gs://…
        name: Name of this one; default: the spec's, with the next free number.
        local: Start a private Ray on this machine even if a cluster is running.
        address: Ray cluster to join.
        dashboard: Whether a private Ray shows its dashboard.
        observer: Is told what happens.

    Raises:
        UserError: spec, data, model, folder or resources do not fit together; no trial was started.
        ResultsError: the disk is full; what was reported until then is kept, and `resume` goes on with it.
        SweepFailed: every trial failed.
    """
    watcher = observer or Silence()
    watcher.phase("reading images")
    task = load_task(spec.data, spec.seed, progress=watcher.progress)
    folder = create_sweep_folder(to_place(results), name or spec.name or "sweep", exact=name is not None)
    images = task.size("train") if HYPERRULE_ARM in spec.controls else None
    spec = spec.model_copy(update={"name": folder.name, "train_images": images})
    with (
        lock_folder(folder, watcher.phase) as lease,
        _leaving_nothing_unused(folder, lease),
        _storage_errors_explained(folder),
    ):
        write_text(folder.spec, dump_spec(spec))
        return _conduct(spec, folder, lease, task, History([], {}, {}), Where(local, address, dashboard), watcher)


def resume(
    name: str,
    spec: SweepSpec | Callable[[dict[str, Any]], SweepSpec] = load_spec,
    *,
    results: str | Place = "results",
    local: bool = False,
    address: str | None = None,
    dashboard: bool = True,
    observer: Observer | None = None,
) -> Results:
    """Go on with a sweep that was stopped, killed or out of budget, as if nothing had happened.

    Trials that ended stay as they are, unfinished ones go on from their last sound checkpoint, others begin. What was
    used of the budget counts.

    Args:
        name: Of the sweep, or its path.
        spec: The spec, which may extend the sweep's (more trials, epochs or budget), or a function that makes it from
            the sweep's; default: the sweep's own.
        results: What holds sweeps.
        local, address, dashboard, observer: As for `launch`.

    Raises:
        UserError: there is no such sweep, another process runs it, or spec, images or weights are not what they were.
        SweepFailed: every trial failed.
    """
    watcher = observer or Silence()
    folder = find_sweep_folder(to_place(results), name, begun=False)
    with lock_folder(folder, watcher.phase) as lease, _storage_errors_explained(folder):
        stored = stored_spec(folder)
        loaded = spec if isinstance(spec, SweepSpec) else spec(stored)
        loaded = loaded.model_copy(update={"name": folder.name, "train_images": stored.get("train_images")})
        history = read_history(folder, loaded)
        watcher.phase("reading images")
        task = load_task(loaded.data, loaded.seed, progress=watcher.progress)
        history.check_data(task)
        if isinstance(folder.checkpoints, Path):
            folder.checkpoints.mkdir(exist_ok=True)
        return _conduct(loaded, folder, lease, task, history, Where(local, address, dashboard), watcher)


@contextmanager
def _leaving_nothing_unused(folder: SweepFolder, lease: Lease | None) -> Iterator[None]:
    """A folder in which no trial began is removed after an error, unless it is another's by now."""
    try:
        yield
    except BaseException:
        if lease is None or not lease.lost:
            folder.discard_if_unused()
        raise


@contextmanager
def _storage_errors_explained(folder: SweepFolder) -> Iterator[None]:
    """A full disk, or a store that is away, is no defect of ours, wherever it is met."""
    try:
        yield
    except OSError as error:
        if not storage_fault(error):
            raise
        known = error.filename is None or isinstance(error, ObjectStoreError)
        raise cannot_write(folder.journal if known else Path(error.filename), error) from error


def _conduct(
    spec: SweepSpec,
    folder: SweepFolder,
    lease: Lease | None,
    task: Task,
    history: History,
    where: Where,
    observer: Observer,
) -> Results:
    """Start Ray while the network is built, run the trials, evaluate the winner."""
    observer = Several(observer, Telemetry())
    ledger = Ledger(spec, spec.search.strategy, folder, observer, lease)
    ledger.replay(history.records)
    _check_extension(ledger, history)
    if history.records and _complete(ledger, folder):
        return Results(folder)
    ray = RayStart(spec.resources, local=where.local, address=where.address, dashboard=where.dashboard)
    with log_to_upload(folder.ray_log) as ray_log, Interrupts(folder.path) as interrupts, ray:
        prepared = prepare(spec, task, observer)
        observer.phase("starting Ray")
        cluster = ray.cluster()
        ray.log_to(ray_log)
        preflight = Preflight(spec, prepared.tasks, folder.checkpoints)
        preflight.check(cluster, observer)
        _run(ledger, folder, prepared, history, cluster, preflight, observer, interrupts)
    return Results(folder)


def _check_extension(ledger: Ledger, history: History) -> None:
    """Raises:
    SpecError: more trials are asked for when no arm begins any.
    """
    if "search.trials" in history.extended and not any(rules.accepts_new for rules in ledger.rules.values()):
        before, now = history.extended["search.trials"]
        raise SpecError(
            f"search.trials = {now}: the screening of {before} is over, and its survivors are the population; leave it "
            f"at {before}, or start a new sweep"
        )


def _complete(ledger: Ledger, folder: SweepFolder) -> bool:
    """Whether an earlier launch did everything already."""
    state, spec = ledger.state, ledger.spec
    exhausted = exhausted_arms(state, spec, ledger.spending)
    return (
        not state.interrupted
        and all(one.status.final for one in state.trials.values())
        and not reopened(state, spec, folder.path, exhausted)
        and all(one.arm in exhausted or not ledger.rules[one.arm].accepts_new for one in unborn(spec, state))
        and folder.recipe.exists()
    )


def _run(
    ledger: Ledger,
    folder: SweepFolder,
    prepared: Prepared,
    history: History,
    cluster: Cluster,
    preflight: Preflight,
    observer: Observer,
    interrupts: Interrupts,
) -> None:
    from tlsweep.report.recipe import write_recipe
    from tlsweep.sweep.elastic import Elastic
    from tlsweep.sweep.environment import environment, weights_hash
    from tlsweep.sweep.stage import run_stage

    spec, state = ledger.spec, ledger.state
    shared, weights = share(spec, folder, prepared, cluster, observer)
    history.check_weights(weights_hash(weights))
    write_json(folder.environment, environment(prepared.task, cluster, weights))
    write_text(folder.spec, dump_spec(spec))
    folder.recipe.unlink(missing_ok=True)  # it is written last: where it is, everything was done
    with ledger.open(folder.journal):
        _begin(ledger, folder, history, prepared.task, weights_hash(weights))
        retention = Retention(folder, ledger)
        retention.tidy()
        referee = Referee(ledger, retention)
        ledger.write_tables()
        slots = cluster.slots(spec.resources)
        observer.begin(SweepView(spec, folder, state, ledger.spending, slots, cluster.dashboard, referee.began))
        places = Elastic(
            cluster,
            spec.resources,
            tell=referee.node,
            halt=lambda reason: referee.halt(reason, resumable=True),
            wanted=referee.wanted,
            starting=referee.starting,
            check=preflight.check_node,
        )
        with closing(places):
            try:
                if ledger.lease is not None:
                    ledger.lease.on_lost = lambda reason: referee.halt(reason, resumable=True)
                with interrupts.handled_by(lambda: referee.halt(INTERRUPTED, resumable=True)):
                    if referee.more():
                        run_stage(referee, shared, places)
                referee.close()
            finally:
                places.rest()
                observer.end()
            _hand_over(referee, folder, shared, cluster, observer)
        write_recipe(folder.path)


def _hand_over(referee: Referee, folder: SweepFolder, shared: "Shared", cluster: Cluster, observer: Observer) -> None:
    """Evaluate the winner; where there is none yet, say why."""
    from tlsweep.sweep.winner import evaluate

    if not referee.resumable:
        _raise_if_all_failed(referee.state, folder)
        evaluate(referee, shared, cluster, observer)
    elif referee.halted != INTERRUPTED:
        raise ResultsError(
            f"{referee.halted}; put that right, and go on with '{command('launch --resume', folder.path)}': "
            "everything until now is kept"
        )


def _begin(ledger: Ledger, folder: SweepFolder, history: History, task: Task, weights: str | None) -> None:
    """The first record of a launch: what it depends on."""
    details: dict[str, Any] = {
        "spec": ledger.spec.model_dump(mode="json"),
        "data": task.fingerprint,
        "weights": weights,
    }
    if history.launched:
        exhausted = exhausted_arms(ledger.state, ledger.spec, ledger.spending)
        details["reopened"] = reopened(ledger.state, ledger.spec, folder.path, exhausted)
        details["extended"] = {field: {"from": old, "to": new} for field, (old, new) in history.extended.items()}
        ledger.event("resumed", details=details)
    else:
        ledger.event("launched", details=details)
    ledger.commit()


def _raise_if_all_failed(state: SweepState, folder: SweepFolder) -> None:
    trials = sorted(state.trials.values(), key=lambda one: (one.number, one.trial))
    if trials and all(trial.status == Status.FAILED for trial in trials):
        raise SweepFailed(
            f"all {len(trials)} trials failed; the first one ({trials[0].trial}) with\n\n{trials[0].error}\n"
            f"Everything that was written is in '{folder.path}'."
        )
