"""`launch`: from a spec to results, in order."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tlsweep.data import load_task
from tlsweep.errors import SweepFailed
from tlsweep.spec import MAIN_ARM, SourceTask, SweepSpec, dump_spec
from tlsweep.store import Journal, Results, Status, SweepFolder, SweepState, create_sweep_folder
from tlsweep.store.files import write_json, write_text
from tlsweep.sweep.cluster import Cluster, RayStart
from tlsweep.sweep.interrupts import Interrupts
from tlsweep.sweep.observer import Observer, Silence, SweepView
from tlsweep.sweep.prepare import Prepared, prepare, source_cache
from tlsweep.sweep.referee import INTERRUPTED, Referee


def launch(
    spec: SweepSpec,
    *,
    results: str | Path = "results",
    name: str | None = None,
    local: bool = False,
    address: str | None = None,
    dashboard: bool = True,
    observer: Observer | None = None,
) -> Results:
    """Run a sweep; returns its results, also after an interrupt (SIGINT or SIGTERM), with what there is by then.

    Args:
        spec: What to do.
        results: The folder that holds sweeps.
        name: Name of this one; default: the spec's, with the next free number.
        local: Start a private Ray on this machine even if a cluster is running.
        address: Ray cluster to join.
        dashboard: Whether a private Ray shows its dashboard.
        observer: Is told what happens.

    Raises:
        UserError: spec, data, model, folder or resources do not fit together; no trial was started.
        SweepFailed: every trial failed.
    """
    watcher = observer or Silence()
    watcher.phase("reading images")
    task = load_task(spec.data, spec.seed, progress=watcher.progress)
    folder = create_sweep_folder(Path(results), name or spec.name or "sweep", exact=name is not None)
    ray = RayStart(spec.resources, local=local, address=address, dashboard=dashboard)
    try:
        with Interrupts() as interrupts, ray:
            prepared = prepare(spec, task, watcher)
            watcher.phase("starting Ray")
            cluster = ray.cluster()
            cluster.slots(spec.resources)
            ray.log_to(folder.ray_log)
            write_text(folder.spec, dump_spec(spec.model_copy(update={"name": folder.name})))
            return _run(spec, folder, prepared, cluster, watcher, interrupts)
    except BaseException:
        folder.discard_if_unused()
        raise


def _run(
    spec: SweepSpec,
    folder: SweepFolder,
    prepared: Prepared,
    cluster: Cluster,
    observer: Observer,
    interrupts: Interrupts,
) -> Results:
    from tlsweep.report.recipe import write_recipe
    from tlsweep.sweep.environment import environment
    from tlsweep.sweep.stage import run_stage

    slots = cluster.slots(spec.resources)
    shared, weights = _share(spec, folder, prepared, cluster, observer)
    write_json(folder.environment, environment(prepared.task, cluster, weights))
    state = SweepState(spec.search.metric, spec.search.sign)
    journal = Journal(folder.journal)
    try:
        referee = Referee(spec, spec.search.strategy, folder, journal, state, observer)
        referee.write_tables()
        observer.begin(SweepView(spec, folder, state, slots, cluster.dashboard, referee.began))
        try:
            with interrupts.handled_by(lambda: referee.halt(INTERRUPTED)):
                run_stage(referee, shared, cluster)
            referee.close(interrupted=referee.halted == INTERRUPTED)
        finally:
            observer.end()
        if referee.halted != INTERRUPTED:
            _raise_if_all_failed(state, folder)
        _evaluate(referee, shared, cluster, observer)
        write_recipe(folder.path)
    finally:
        journal.close()
    return Results(folder)


def _share(
    spec: SweepSpec, folder: SweepFolder, prepared: Prepared, cluster: Cluster, observer: Observer
) -> tuple[Any, Any]:
    """Put what all trials need into the object store, pretraining first where a source task asks for it."""
    import ray

    from tlsweep.sweep.trainable import Shared

    gpus = cluster.trial_gpus(spec.resources)
    weights = prepared.weights
    if prepared.source is not None:
        observer.phase("pretraining on the source task")
        weights = _where_trials_run(_pretrain, spec, cluster, spec, prepared.source, gpus)
    observer.phase("sharing images and weights")
    return Shared(spec, folder.path, ray.put(prepared.task), ray.put(weights), gpus), weights


def _where_trials_run(function: Callable[..., Any], spec: SweepSpec, cluster: Cluster, *arguments: Any) -> Any:
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


def _evaluate(referee: Referee, shared: Any, cluster: Cluster, observer: Observer) -> None:
    """The winner of each arm meets the test split, the main arm's is exported."""
    from tlsweep.sweep.winner import Winner, evaluate_winners

    found = [trial for arm in referee.spec.arms if (trial := referee.state.winner(arm)) is not None]
    if MAIN_ARM not in {trial.arm for trial in found} or referee.halted == INTERRUPTED:
        return
    observer.phase("evaluating the winner on the test split")
    winners = [Winner.of(trial) for trial in found]
    tests = _where_trials_run(evaluate_winners, referee.spec, cluster, winners, shared)
    for winner in winners:
        referee.evaluated(winner.arm, winner.trial, tests[winner.arm])
    referee.write_tables()


def _raise_if_all_failed(state: SweepState, folder: SweepFolder) -> None:
    trials = list(state.trials.values())
    if trials and all(trial.status == Status.FAILED for trial in trials):
        raise SweepFailed(
            f"all {len(trials)} trials failed; the first one ({trials[0].trial}) with\n\n{trials[0].error}\n"
            f"Everything that was written is in '{folder.path}'."
        )
