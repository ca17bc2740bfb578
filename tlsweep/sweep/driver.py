"""`launch` and `resume`: from a spec, or from what an earlier launch left, to results, in order."""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlsweep.allocation import give_back_freed_memory
from tlsweep.cluster.nodes import Cluster
from tlsweep.cluster.preflight import Preflight
from tlsweep.cluster.starting import RayStart
from tlsweep.cluster.telemetry import Telemetry
from tlsweep.cluster.where import Where
from tlsweep.errors import ResultsError, SpecError, SweepFailed
from tlsweep.observer import Observer, Several, Silence, SweepView, say
from tlsweep.report.repair import restore, unevaluated
from tlsweep.spec import MAIN_ARM, SweepSpec, dump_spec, load_spec
from tlsweep.spec.extension import going_on
from tlsweep.spec.function import FINALISED_BY
from tlsweep.spec.idle import refuse_idle
from tlsweep.spec.loading import require_spec
from tlsweep.spec.sweep import FOUND_OUT
from tlsweep.store import (
    Lease,
    Location,
    Results,
    Status,
    SweepFolder,
    SweepState,
    create_sweep_folder,
    find_sweep_folder,
    lock_folder,
    to_location,
)
from tlsweep.store.files import cannot_write, log_to_upload, storage_fault, write_json, write_text
from tlsweep.store.folder import check_new_sweep, command
from tlsweep.sweep.ending import Ending
from tlsweep.sweep.ground import Ground
from tlsweep.sweep.interrupts import Interrupts
from tlsweep.sweep.ledger import Ledger
from tlsweep.sweep.placing import unborn
from tlsweep.sweep.referee import INTERRUPTED, Referee
from tlsweep.sweep.resuming import History, exhausted_arms, read_history, reopened, stored_spec
from tlsweep.sweep.session import Material, open_session, recall
from tlsweep.sweep.subjects import Subject, subject_of
from tlsweep.text import one_line
from tlsweep.tracking import Tracking, check_trackers

if TYPE_CHECKING:
    from tlsweep.sweep.trainable import Trains


def launch(
    spec: SweepSpec,
    *,
    results: str | Location = "results",
    name: str | None = None,
    local: bool = False,
    address: str | None = None,
    dashboard: bool = True,
    observer: Observer | None = None,
) -> Results:
    """Run a sweep; returns its results, also after an interrupt (SIGINT, SIGTERM, SIGHUP), with what there is by then.

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
        ResultsError: the disk is full, or refuses, or the folder was moved; what was reported until then is kept, and
            `resume` goes on with it.
        RayLost: the private Ray has ended; the same holds.
        SweepFailed: every trial failed.
    """
    require_spec(spec, "launch")
    refuse_idle(spec)
    check_trackers(spec.track, to_location(results))
    with Interrupts() as interrupts, ExitStack() as work_ahead:
        watcher = observer or Silence()
        # Before the images, which may take minutes to read, and again when the folder is made.
        check_new_sweep(to_location(results), name or spec.name or "sweep", exact=name is not None)
        where = work_ahead.enter_context(Where(local, address, dashboard).working_ahead(spec.resources))
        subject = subject_of(spec, watcher)
        say(watcher, subject.remarks)
        folder = create_sweep_folder(to_location(results), name or spec.name or "sweep", exact=name is not None)
        spec = spec.model_copy(update={"name": folder.name, **subject.found_out(spec)})
        # Explained before an unused folder is removed: else every error would be told as that.
        with (
            _at_work(folder, watcher, interrupts) as work,
            _leaving_nothing_unused(work),
            work.ground.explaining(),
        ):
            write_text(folder.spec, dump_spec(spec))
            return _conduct(spec, work, subject, History([], {}, {}), where)


def resume(
    name: str,
    spec: SweepSpec | Callable[[dict[str, Any]], SweepSpec] = load_spec,
    *,
    results: str | Location = "results",
    local: bool = False,
    address: str | None = None,
    dashboard: bool = True,
    observer: Observer | None = None,
) -> Results:
    """Go on with a sweep that was stopped, killed or out of budget, as if nothing had happened.

    Trials that ended stay as they are, unfinished ones go on from their last sound checkpoint, others begin. What was
    used of the budget counts.

    Args:
        name: The sweep's name or path.
        spec: The spec, which may extend the sweep's (more trials, epochs or budget), or a function that makes it from
            the sweep's; default: the sweep's own.
        results: What holds sweeps.
        local, address, dashboard, observer: The arguments of `launch`.

    Raises:
        UserError: there is no such sweep, another process runs it, or spec, images or weights are not what they were.
        SweepFailed: every trial failed.
    """
    if not callable(spec):
        require_spec(spec, "resume")
    watcher = observer or Silence()
    folder = find_sweep_folder(to_location(results), name, begun=False)
    with (
        Interrupts() as interrupts,
        _at_work(folder, watcher, interrupts) as work,
        work.ground.explaining(),
        ExitStack() as work_ahead,
    ):
        stored = stored_spec(folder)
        loaded = spec(stored) if callable(spec) else spec
        require_spec(loaded, "resume")
        # A folder may have been renamed, to what is no name for a spec: its name is not the spec's business.
        kept = [name for name in ("name", *FOUND_OUT) if name in type(loaded).model_fields]
        loaded = loaded.model_copy(update={name: stored.get(name) for name in kept})
        loaded = going_on(load_spec(stored), loaded)
        history = read_history(folder, loaded)
        check_trackers(loaded.track, folder.path)
        where = work_ahead.enter_context(Where(local, address, dashboard).working_ahead(loaded.resources))
        subject = subject_of(loaded, watcher)
        say(watcher, (*subject.remarks, *subject.check(history)))
        work.ground.check()
        if isinstance(folder.checkpoints, Path):
            folder.checkpoints.mkdir(exist_ok=True)
        return _conduct(loaded, work, subject, history, where)


@dataclass(frozen=True)
class _Work:
    """A launch at work in a folder."""

    folder: SweepFolder
    lease: Lease | None
    """The right to write there, on object storage."""
    ground: Ground
    interrupts: Interrupts
    observer: Observer


@contextmanager
def _at_work(folder: SweepFolder, observer: Observer, interrupts: Interrupts) -> Iterator[_Work]:
    """Have a sweep's folder for this process alone, and know it again."""
    with (
        _storage_errors_explained(folder),
        lock_folder(folder, observer.phase) as lease,
        Ground(folder.path) as ground,
    ):
        interrupts.folder = folder.path
        yield _Work(folder, lease, ground, interrupts, Several(observer, Telemetry()))


@contextmanager
def _leaving_nothing_unused(work: _Work) -> Iterator[None]:
    """A folder in which no trial began is removed after an error, unless it is another's by now."""
    try:
        yield
    except BaseException:
        if (work.lease is None or not work.lease.lost) and work.ground.loss() is None:
            work.folder.discard_if_unused()
        raise


@contextmanager
def _storage_errors_explained(folder: SweepFolder) -> Iterator[None]:
    """Storage that is full, away, or refuses, is no defect of ours, wherever it is met."""
    try:
        yield
    except OSError as error:
        if not storage_fault(error, folder.path):
            raise
        named = isinstance(folder.path, Path) and error.filename is not None
        location = Path(os.fsdecode(error.filename)) if named else folder.journal
        raise cannot_write(location, error, folder.path) from error


def _conduct(spec: SweepSpec, work: _Work, subject: Subject, history: History, where: Where) -> Results:
    """Do all that is left to do, and let trackers see it."""
    with Tracking(spec, work.folder, history.records, work.observer) as tracking:
        return _carry_out(spec, replace(work, observer=Several(work.observer, tracking)), subject, history, where)


def _carry_out(spec: SweepSpec, work: _Work, subject: Subject, history: History, where: Where) -> Results:
    """Start Ray while the network is built, run the trials, evaluate the winner."""
    folder, observer = work.folder, work.observer
    ledger = recall(spec, folder, history, observer, work.lease)
    _check_extension(ledger, history)
    if history.begun and _complete(ledger, folder):
        restore(folder)
        return Results(folder)
    ray = RayStart(
        spec.resources,
        local=where.local,
        address=where.address,
        dashboard=where.dashboard,
        workers=where.workers,
    )
    # What is raised is explained while Ray runs: once it is left, it has ended in any case.
    with log_to_upload(folder.ray_log) as ray_log, ray, work.ground.explaining():
        subject.prepare(spec, observer)
        ledger = _settled(ledger, work, history, subject)
        observer.phase("starting Ray")
        cluster = ray.cluster()
        work.ground.ray_is(ray.private)
        ray.log_to(ray_log)
        preflight = Preflight(spec, subject.tasks, folder.checkpoints)
        preflight.check(cluster, observer)
        _run(ledger, work, subject, history, cluster, preflight)
    return Results(folder)


def _settled(ledger: Ledger, work: _Work, history: History, subject: Subject) -> Ledger:
    """The ledger with what follows from the network in its spec; a sweep that goes on has that already."""
    spec = ledger.spec if history.begun else subject.settled(ledger.spec)
    if spec is ledger.spec:
        return ledger
    return recall(spec, work.folder, history, work.observer, work.lease)


def _check_extension(ledger: Ledger, history: History) -> None:
    """Refuse more trials where no arm begins any.

    Raises:
        SpecError: more trials are asked for when no arm begins any.
    """
    if "search.trials" in history.extended and not any(
        rules.accepts_new for arm, rules in ledger.rules.items() if ledger.spec.arm(arm).trials is None
    ):
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
        and all(trial.status.final for trial in state.trials.values())
        and not reopened(state, spec, folder.path, exhausted)
        and all(
            candidate.arm in exhausted or not ledger.rules[candidate.arm].accepts_new
            for candidate in unborn(spec, state)
        )
        and (MAIN_ARM not in state.test or not unevaluated(folder, spec, state.launched or {}))
        and (MAIN_ARM in state.test or folder.recipe.exists())
        # By another function than now, or none.
        and state.test.get(MAIN_ARM, {}).get(FINALISED_BY) == spec.finalises
    )


def _run(
    ledger: Ledger, work: _Work, subject: Subject, history: History, cluster: Cluster, preflight: Preflight
) -> None:
    from tlsweep.report.recipe import write_recipe

    spec, folder = ledger.spec, work.folder
    shared, weights, facts = subject.share(spec, folder, cluster, work.observer)
    history.check_weights(weights)
    work.ground.check()
    write_json(folder.environment, facts)
    write_text(folder.spec, dump_spec(spec))
    folder.recipe.unlink(missing_ok=True)  # it is written last: where it is, everything was done
    material = Material(subject.fingerprint, weights, facts)
    give_back_freed_memory()  # from here on this process only decides
    with open_session(ledger, folder, history, material, work.ground) as referee:
        _run_trials(ledger, work, referee, shared, cluster, preflight)
        _hand_over(ledger, referee.ending, work, subject, shared, cluster)
        work.ground.check()
        write_recipe(folder.path, ledger.state)


def _run_trials(
    ledger: Ledger, work: _Work, referee: Referee, shared: "Trains", cluster: Cluster, preflight: Preflight
) -> None:
    """Run them until each has ended, or something ends them all."""
    from tlsweep.cluster.elastic import Elastic
    from tlsweep.sweep.tune_run import run_trials

    spec, observer = ledger.spec, work.observer
    slots = cluster.slots(spec.resources)
    observer.begin(
        SweepView(spec, work.folder, referee.state, ledger.spending, slots, cluster.dashboard, referee.began)
    )
    work.ground.last_resort = lambda: _end_from_elsewhere(referee, observer)
    elastic = Elastic(
        cluster,
        spec.resources,
        tell=referee.node,
        halt=lambda reason: referee.ending.halt(reason, resumable=True),
        wanted=referee.placing.wanted,
        starting=referee.watch.starting,
        check=preflight.check_node,
    )
    with closing(elastic):
        try:
            if ledger.lease is not None:
                ledger.lease.on_lost = lambda reason: referee.ending.halt(reason, resumable=True)
            with work.interrupts.handled_by(lambda: referee.ending.halt(INTERRUPTED, resumable=True)):
                if referee.placing.next():
                    run_trials(referee, shared, elastic)
            work.ground.noticed = referee.ending.loss is not None
            referee.close()
            work.ground.put_back_journal()
        finally:
            elastic.rest()
            observer.end()


def _end_from_elsewhere(referee: Referee, observer: Observer) -> None:
    """Write down that the sweep was interrupted, in another thread than the one that runs it."""
    referee.turn.acquire()  # and never given back: the process ends
    referee.close()
    observer.end()


def _hand_over(
    ledger: Ledger, ending: Ending, work: _Work, subject: Subject, shared: "Trains", cluster: Cluster
) -> None:
    """Hand the winner over; where there is none yet, say why."""
    folder = work.folder
    work.ground.check()
    if not ending.resumable:
        _raise_if_none_succeeded(ledger.state, folder)
        subject.hand_over(ledger, shared, cluster, work.observer)
    elif ending.halted != INTERRUPTED:
        raise ResultsError(
            f"{ending.halted}; put that right, and go on with '{command('resume', folder.path)}': "
            "everything until now is kept"
        )


def _raise_if_none_succeeded(state: SweepState, folder: SweepFolder) -> None:
    trials = sorted(state.trials.values(), key=lambda trial: (trial.number, trial.trial))
    if trials and all(trial.status == Status.FAILED for trial in trials):
        raise SweepFailed(
            f"all {len(trials)} trials failed; the first one ({trials[0].trial}) with\n\n{trials[0].error}\n"
            f"Everything that was written is in '{folder.path}'."
        )
    if trials and not state.leaders(MAIN_ARM, 1):
        ends = Counter(one_line(str(trial.reason or trial.status.value)) for trial in trials if trial.arm == MAIN_ARM)
        why = ", ".join(f"{count} {end}" for end, count in ends.most_common(3))
        raise SweepFailed(
            f"no trial reached a score, so there is no model: {why}; lower train.lr, look at weights and images with "
            f"'tlsweep check', or give more budget. Everything that was written is in '{folder.path}'."
        )
