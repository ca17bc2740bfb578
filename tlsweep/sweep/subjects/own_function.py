"""A function of the user's own as what a sweep trains: found, called in workers, its winner's state handed over."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from tlsweep.cluster.nodes import Cluster
from tlsweep.data import Task
from tlsweep.errors import FunctionError, ResultsError
from tlsweep.observer import Observer
from tlsweep.spec import MAIN_ARM, FunctionSpec, SweepSpec
from tlsweep.spec.function import FINALISED_BY
from tlsweep.spec.search.space import Value
from tlsweep.store import Location, SweepFolder, TrialState
from tlsweep.store.files import folder_to_fill, write_json
from tlsweep.store.locations import STATE
from tlsweep.store.schema import METRICS
from tlsweep.store.tables.own import check_names, own_metrics, reserved_for_metrics
from tlsweep.sweep.assignment import Assignment, Epoch, trial_seed
from tlsweep.sweep.ledger import Ledger
from tlsweep.sweep.on_workers import where_trials_run
from tlsweep.sweep.resuming import History
from tlsweep.sweep.retention import KEPT_TRIALS

if TYPE_CHECKING:
    from tlsweep.functions import FunctionReport
    from tlsweep.functions.trial import Sharing, Terms
    from tlsweep.training import Compute
    from tlsweep.training.reports import Snapshot

_METRICS = "metrics.json"


class OwnFunction:
    """What a function of the user's own trains (`tlsweep.sweep.subjects.Subject`)."""

    tasks: Sequence[Task] = ()

    def __init__(self, spec: FunctionSpec) -> None:
        from tlsweep.functions.finding import find_function, fingerprint

        check_names(spec)
        self.fingerprint = fingerprint(spec.trial)
        if spec.finalise is not None:  # not found out when all is trained
            find_function(spec.finalise, "finalise")
        self.remarks: Sequence[str] = ()

    def found_out(self, spec: SweepSpec) -> Mapping[str, Any]:
        return {}

    def check(self, history: History) -> Sequence[str]:
        # Not refused: a mistake in it that was mended is the usual reason to go on.
        if history.launched.get("data") in (None, self.fingerprint):
            return ()
        return ("the file of the function (trial) has changed since the sweep began; trials go on with the new one",)

    def prepare(self, spec: SweepSpec, observer: Observer) -> None:
        """There is nothing to prepare: `tlsweep check` takes steps."""

    def settled(self, spec: SweepSpec) -> SweepSpec:
        return spec

    def share(
        self, spec: SweepSpec, folder: SweepFolder, cluster: Cluster, observer: Observer
    ) -> "tuple[SharedFunction, str | None, dict[str, Any]]":
        from tlsweep.sweep.environment import machine

        assert isinstance(spec, FunctionSpec)
        shared = SharedFunction(spec, folder.path, cluster.trial_gpus(spec.resources), uuid4().hex)
        data = {"fingerprint": self.fingerprint, "function": spec.trial, "images": {}, "classes": []}
        return shared, None, {**machine(cluster), "data": data}

    def hand_over(self, ledger: Ledger, shared: "SharedFunction", cluster: Cluster, observer: Observer) -> None:
        """Put the winner's state into `best/`, with what it was trained with and reached.

        Raises:
            ResultsError: no checkpoint of the best trials is sound.
        """
        from tlsweep.sweep.trainable import last_sound

        folder = SweepFolder(shared.folder)
        damaged: list[dict[str, str]] = []
        for leader in ledger.state.leaders(MAIN_ARM, KEPT_TRIALS):
            best = leader.best
            assert best is not None
            content, passed_over = last_sound(folder, [(best["checkpoint"], best["digest"], best["epoch"])])
            damaged += passed_over
            if content is not None:
                _fill(ledger, Winner.of(leader), content, shared, cluster, observer)
                return
        if damaged:
            what = "; ".join(f"{checkpoint['path']} {checkpoint['reason']}" for checkpoint in damaged)
            raise ResultsError(f"no state can be handed back: {what}; put a sound copy back, and resume the sweep")


@dataclass(frozen=True)
class Winner:
    """The best trial, as it is handed over."""

    trial: str
    epoch: int
    number: int
    hyperparameters: Mapping[str, Value]
    validation: Mapping[str, float]

    @classmethod
    def of(cls, trial: TrialState) -> "Winner":
        """A trial that has a best report."""
        best = trial.best
        assert best is not None
        values = {name: best[name] for name in trial.hyperparameters}
        told = {name: best[name] for name in (*METRICS, *own_metrics(best)) if best.get(name) is not None}
        return cls(trial.trial, best["epoch"], trial.number, values, told)


def _fill(
    ledger: Ledger, winner: Winner, state: bytes, shared: "SharedFunction", cluster: Cluster, observer: Observer
) -> None:
    """Put the winner into `best/`, and have the user's function test it, if there is one."""
    if shared.spec.finalise is None:
        _write(winner, state, shared)
        return
    observer.phase(f"finalising the winner ({shared.spec.finalise})")
    try:
        figures = where_trials_run(_finalise, ledger.spec, cluster, winner, state, shared)
    except Exception as error:
        hint = f"the trials and best/{STATE} are kept: mend the function, and resume the sweep"
        if isinstance(error, FunctionError):
            raise FunctionError(f"{error}; {hint}") from None
        error.add_note(hint)
        raise
    by = {"trial": winner.trial, FINALISED_BY: shared.spec.finalise}
    ledger.event("evaluated", winner.trial, {**by, **figures}, arm=MAIN_ARM)
    ledger.commit()
    ledger.write_tables()


def _finalise(winner: Winner, state: bytes, shared: "SharedFunction") -> dict[str, float | None]:
    return _write(winner, state, shared, shared.finalise)


def _write(
    winner: Winner,
    state: bytes,
    shared: "SharedFunction",
    finalise: "Callable[[Winner, bytes, Path], dict[str, float | None]] | None" = None,
) -> dict[str, float | None]:
    """Write the winner's state and figures to `best/`, and what the user's function has for it; the test's figures."""
    with folder_to_fill(SweepFolder(shared.folder).best) as folder:
        (folder / STATE).write_bytes(state)
        before = _of_the_sweep(folder)
        tested = finalise(winner, state, folder) if finalise else {}
        for name, content in _of_the_sweep(folder).items():
            if content != before[name]:
                (folder / STATE).write_bytes(state)
                raise FunctionError(
                    f"finalise = {shared.spec.finalise}: it wrote {name} into trial.folder, where that of the sweep "
                    "lies; take another name"
                )
        facts = {"trial": winner.trial, "epoch": winner.epoch, "hyperparameters": winner.hyperparameters}
        test = {"test": tested} if finalise else {}
        write_json(folder / _METRICS, {**facts, "validation": winner.validation, **test})
    return tested


def _of_the_sweep(folder: Path) -> dict[str, bytes | None]:
    """What lies in `best/` that is not the function's own."""
    files = ((name, folder / name) for name in (STATE, _METRICS))
    return {name: file.read_bytes() if file.exists() else None for name, file in files}


@dataclass(frozen=True)
class SharedFunction:
    """What all trials of a sweep have in common (`tlsweep.sweep.trainable.Trains`)."""

    spec: FunctionSpec
    folder: Location
    gpus: float
    """GPUs of one trial."""
    token: str
    """Names what the trials of this launch share on a machine."""

    def occupy(self, first: Sequence[Assignment]) -> None:
        """One trial after another (`Trains.occupy`)."""
        from tlsweep.sweep.trainable import train_in_turn

        (only,) = first
        train_in_turn(only, self)

    def train(self, assignment: Assignment, start: bytes | None, report: "Callable[[Epoch, Snapshot], None]") -> None:
        from tlsweep.functions import run_function

        run_function(
            terms(self.spec),
            assignment.hyperparameters,
            assignment.seed,
            report=lambda row, snapshot: report(measured(row), snapshot),
            share=sharing(self.token),
            resume=start,
            compute=self._compute,
            log=_log,
        )

    def finalise(self, winner: Winner, state: bytes, folder: Path) -> dict[str, float | None]:
        """Have the user's function test the winner; what it writes to `folder` is kept."""
        seed = trial_seed(self.spec, winner.number)
        share = sharing(self.token)
        return finalised(self.spec, winner.hyperparameters, seed, state, folder, share, self._compute)

    @property
    def _compute(self) -> "Compute":
        from tlsweep.sweep.trainable import device_for
        from tlsweep.training import Compute, choose_device

        return Compute(choose_device(device_for(self.gpus)), self.spec.resources.threads)


def finalised(
    spec: FunctionSpec,
    values: Mapping[str, Value],
    seed: int,
    state: bytes,
    folder: Path,
    share: "Sharing",
    compute: "Compute",
) -> dict[str, float | None]:
    """Call what finalises a sweep, as `tlsweep.functions.finalising.finalise`."""
    from tlsweep.functions.finalising import finalise

    assert spec.finalise is not None
    held_to = replace(terms(spec), function=spec.finalise)
    return finalise(held_to, values, seed, state=state, folder=folder, share=share, compute=compute, log=_log)


def _log(line: str) -> None:
    print(line, flush=True)


def terms(spec: FunctionSpec) -> "Terms":
    """What trials of a sweep are held to."""
    from tlsweep.functions.trial import Terms

    metric, taken = spec.search.metric, reserved_for_metrics(spec)
    return Terms(spec.trial, spec.epochs, metric, taken, spec.resources.processes)


def sharing(token: str) -> "Sharing":
    """What gives trials of a launch, or of one process, what they have in common on this machine."""
    from tlsweep.functions.sharing import shared, shared_folder

    return partial(shared, shared_folder(token))


def measured(row: "FunctionReport") -> Epoch:
    """A function's report as the referee has it: what every sweep has a column for, and the rest."""
    known = {name: value for name, value in row.metrics.items() if name in METRICS}
    figures = {
        **known,
        "runs": 1,
        "train_seconds": row.train_seconds,
        "eval_seconds": 0.0,
        "wait_seconds": row.wait_seconds,
        "device_memory": row.device_memory,
        "device": row.device,
    }
    own = {name: value for name, value in row.metrics.items() if name not in METRICS}
    told = ", ".join(f"{name} {value:.4g}" for name, value in row.metrics.items())
    return Epoch(row.epoch, figures, own=own, told=told)


def debug_function(
    spec: FunctionSpec, values: Mapping[str, Value], seed: int, report: Callable[[Mapping[str, Any]], None]
) -> None:
    """Train one trial in this process, as `debug_trial`; each state is made, and looked at as in a sweep, and what
    finalises the sweep is called with the last one."""
    from tlsweep.functions import find_function, run_function
    from tlsweep.training import Compute

    check_names(spec)
    last: list[bytes] = []

    def tell(row: "FunctionReport", snapshot: "Snapshot") -> None:
        last[:] = [snapshot()()]
        own = [name for name in row.metrics if name not in ("train_loss", "val_loss", "val_accuracy")]
        report({**values, "epoch": row.epoch, **row.metrics, "own": own, "train_seconds": row.train_seconds})

    compute, share = Compute(threads=spec.resources.threads), sharing(uuid4().hex)
    if spec.finalise is not None:
        find_function(spec.finalise, "finalise")
    run_function(terms(spec), values, seed, report=tell, share=share, compute=compute)
    if spec.finalise is not None:
        with TemporaryDirectory(prefix="tlsweep-") as folder:
            report({"test": finalised(spec, values, seed, last[0], Path(folder), share, compute)})
