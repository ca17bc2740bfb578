"""One stage on Ray Tune, to which we hand four thin things."""

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ray import tune
from ray.air._internal import usage
from ray.tune import TuneError
from ray.tune.experiment import Trial
from ray.tune.experimental.output import IS_NOTEBOOK
from ray.tune.search import SearchAlgorithm

from tlsweep.cluster.elastic import Elastic
from tlsweep.errors import RayLost, TlsweepError
from tlsweep.sweep.assignment import Assignment, forget, to_config
from tlsweep.sweep.referee import Referee
from tlsweep.sweep.trainable import Trains, make_trainable
from tlsweep.sweep.tune_adapter import Stay, TuneAdapter, ours

PENDING = "TUNE_MAX_PENDING_TRIALS_PG"


class TrialQueue(SearchAlgorithm):
    """Hands Tune a trial for each slot that is free, as the referee says."""

    def __init__(self, referee: Referee, resources: Any, elastic: Elastic) -> None:
        self._referee, self._resources = referee, resources
        self._elastic = elastic
        self._stays = 0
        self._live: set[str] = set()
        self._experiment: dict[str, Any] = {}
        self._finished = False

    @property
    def total_samples(self) -> int:
        spec = self._referee.spec
        return sum(map(spec.trials_in, spec.arms))

    def add_configurations(self, experiments: Any) -> None:
        """Tune's description of the experiment: where its own files go, what to run."""
        self._experiment = experiments[0].spec

    def next_trial(self) -> Trial | None:
        self._elastic.look()  # where nothing runs and nothing can, Tune asks nobody else
        assignments = self._assign(self._elastic.slots - 1)
        if not assignments:
            return None
        # A trial of Tune's that has ended is never run again, so each stay is one of its own.
        self._stays += 1
        name = f"stay{self._stays:04d}"
        self._live.add(name)
        return Stay(
            self._experiment["run"],
            config=to_config(assignments),
            trial_id=name,
            storage=self._experiment["storage"],
            placement_group_factory=self._resources,
            experiment_tag=name,
            trial_dirname_creator=lambda trial: str(trial.trial_id),
        )

    def following(self) -> list[Assignment]:
        """What a worker is to train that has given up its trials; nothing if its place is not to be kept."""
        return self._assign(self._elastic.slots)

    def joining(self, trials: Sequence[str]) -> list[Assignment]:
        """What a worker is to train beside these."""
        if self._finished or self._referee.ending.tick() or self._elastic.slots < 1:
            return []
        return self._referee.assign_beside(trials, self._elastic.slots)

    def _assign(self, most: int) -> list[Assignment]:
        """Give a place to a trial, and to those that can be trained with it, unless more than `most` are taken."""
        if self._finished or self._referee.ending.tick() or len(self._live) > most:
            return []
        first = self._referee.assign()
        return [] if first is None else [first, *self.joining([first.trial])]

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        self._live.discard(trial_id)

    def is_finished(self) -> bool:
        # Not before the last trial has ended: once its search is finished, Tune keeps no actor for the next stay (ray
        # 2.60, tune_controller.py, `_maybe_cache_trial_actor`), and a population would start a process for each
        # exploit: 5.9 to 6.8 s, in place of 0.02 to 0.03 s (measured).
        return self._finished or not (self._live or self._referee.placing.next())

    def set_finished(self) -> None:
        """Everything is being stopped."""
        self._finished = True


class _RayGone(BaseException):
    """Leaves Tune at once. After an Exception it would first tell actors and placement groups to end (ray 2.60,
    tune/tune.py, `runner.cleanup`), and wait a minute for a GCS that cannot hear it."""


class _Stopper(tune.Stopper):
    """Ends the stage when the referee halts it; single trials are ended by decisions, never here."""

    def __init__(self, referee: Referee) -> None:
        self._referee = referee

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        # Tune asks its stopper before its scheduler (tune_controller.py, `_process_trial_result`): of what ended here,
        # the scheduler would never see the last report, and the journal would lack it.
        return False

    def stop_all(self) -> bool:
        halted = self._referee.ending.tick()
        if self._referee.ending.loss is not None and self._referee.ending.loss.error is RayLost:
            raise _RayGone
        return halted

    def __getstate__(self) -> dict[str, Any]:
        """Tune keeps a pickled copy of that description, which nobody reads; a referee does not pickle."""
        return {}


class Hooks(tune.Callback):
    """Tells the referee when a worker takes a trial, and takes away from Tune what was reported."""

    def __init__(self, referee: Referee) -> None:
        self._referee = referee

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        for name in ours(trial):
            self._referee.started(name)

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        # The scheduler has had it. Tune would keep the last result of every trial, and as JSON once more, to the end of
        # the stage: 4 kB for each report where a hundred came as one (ray 2.60, tune_controller.py,
        # `_process_trial_result`, which lets callbacks change a result).
        forget(result)


def run_trials(referee: Referee, shared: Trains, elastic: Elastic) -> None:
    """Run all trials of a stage; returns when each has ended or the referee has halted it."""
    resources = referee.spec.resources
    bundle = {"CPU": resources.cpus} | ({"GPU": shared.gpus} if shared.gpus else {})
    queue = TrialQueue(referee, tune.PlacementGroupFactory([bundle]), elastic)
    adapter = TuneAdapter(referee, elastic, shared.folder.name, queue)
    with (
        tempfile.TemporaryDirectory(prefix="tlsweep-") as scratch,
        _pending_trials(),
        _uncounted(),
        _own_errors(referee, adapter),
    ):
        tune.run(
            make_trainable(shared),
            name=referee.spec.search.strategy,
            search_alg=queue,
            scheduler=adapter,
            stop=_Stopper(referee),
            callbacks=[Hooks(referee)],
            # Tune's own files serve no resume: a restored scheduler is empty (tune_controller.py leaves it out).
            storage_path=scratch,
            # A new process took some six seconds until the function was entered, a worker used again 70 ms.
            reuse_actors=True,
            # A failed trial is an event of the sweep, told and counted by the referee, not an error of the stage.
            raise_on_failed_trial=False,
            verbose=0,
            # In a notebook Tune clears the cell, with our view in it, and shows an empty box, however quiet it is to be
            # (ray 2.60, progress_reporter.py, `JupyterNotebookReporter.__init__`). Elsewhere it warns of any reporter.
            progress_reporter=tune.CLIReporter() if IS_NOTEBOOK else None,
        )


@contextmanager
def _uncounted() -> Iterator[None]:
    """Keep Tune from counting callbacks for Ray's usage statistics.

    To know those of MLflow, Weights & Biases and Comet it imports whichever of these is installed: 2 s and scipy with
    MLflow 3.17 (ray 2.60, air/_internal/usage.py, `_count_callbacks`).
    """
    counted = usage.tag_callbacks
    usage.tag_callbacks = lambda callbacks: False
    try:
        yield
    finally:
        usage.tag_callbacks = counted


@contextmanager
def _pending_trials() -> Iterator[None]:
    """Let any number of trials wait in Ray: our queue hands over none for which there is no slot."""
    before = os.environ.get(PENDING)
    # With a search algorithm that is not its own, Tune lets one trial wait at a time (ray 2.60, tune_controller.py,
    # `_get_max_pending_trials`), so that slots that become free together would be filled one after another.
    os.environ[PENDING] = before or "100000"
    try:
        yield
    finally:
        if before is None:
            del os.environ[PENDING]


@contextmanager
def _own_errors(referee: Referee, adapter: TuneAdapter) -> Iterator[None]:
    """Tune wraps what our callbacks raise; a full disk under the journal is still the user's one message.

    And what Ray says where it has ended under us is no news: the referee has halted.
    """
    try:
        yield
    except _RayGone:
        adapter.abandon()
    except Exception as error:
        if isinstance(error, TuneError) and isinstance(error.__context__, TlsweepError):
            raise error.__context__ from None
        referee.ending.tick(now=True)
        if referee.ending.loss is None or referee.ending.loss.error is not RayLost:
            raise
        adapter.abandon()
