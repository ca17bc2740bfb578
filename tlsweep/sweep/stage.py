"""One stage: a Ray Tune run, to which we hand four thin things."""

import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ray import tune
from ray.tune import TuneError
from ray.tune.experiment import Trial
from ray.tune.search import SearchAlgorithm

from tlsweep.errors import TlsweepError
from tlsweep.schedulers.tune_adapter import TuneAdapter, ours
from tlsweep.sweep.elastic import Elastic
from tlsweep.sweep.referee import Referee
from tlsweep.sweep.trainable import Shared, make_trainable

PENDING = "TUNE_MAX_PENDING_TRIALS_PG"


class TrialQueue(SearchAlgorithm):
    """Hands Tune a trial for each place that is free, as the referee says."""

    def __init__(self, referee: Referee, resources: Any, places: Elastic) -> None:
        self._referee, self._resources, self._places = referee, resources, places
        self._stays: Counter[str] = Counter()
        self._live: set[str] = set()
        self._experiment: dict[str, Any] = {}
        self._finished = False

    @property
    def total_samples(self) -> int:
        spec = self._referee.spec
        return sum(map(spec.trials_in, spec.arms))

    def add_configurations(self, experiments: Any) -> None:
        """Tune's description of the run: where its own files go, what to run."""
        self._experiment = experiments[0].spec

    def next_trial(self) -> Trial | None:
        self._places.look()  # where nothing runs and nothing can, Tune asks nobody else
        if self._finished or self._referee.tick() or len(self._live) >= self._places.slots:
            return None
        assignment = self._referee.assign()
        if assignment is None:
            return None
        self._stays[assignment.trial] += 1
        stay = self._stays[assignment.trial]
        name = assignment.trial if stay == 1 else f"{assignment.trial}_{stay}"
        self._live.add(name)
        return Trial(
            self._experiment["run"],
            config=assignment.to_config(),
            trial_id=name,
            storage=self._experiment["storage"],
            placement_group_factory=self._resources,
            experiment_tag=name,
            trial_dirname_creator=lambda trial: str(trial.trial_id),
        )

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        self._live.discard(trial_id)

    def is_finished(self) -> bool:
        return self._finished or not (self._live or self._referee.more())

    def set_finished(self) -> None:
        """Everything is being stopped."""
        self._finished = True


class _Stopper(tune.Stopper):
    """Ends the run when the referee halts it; single trials are ended by decisions, never here."""

    def __init__(self, referee: Referee) -> None:
        self._referee = referee

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self._referee.tick()

    def __getstate__(self) -> dict[str, Any]:
        """Tune keeps a pickled copy of the run's description, which nobody reads; a referee does not pickle."""
        return {}


class _Starts(tune.Callback):
    """Tells the referee when a worker takes a trial."""

    def __init__(self, referee: Referee) -> None:
        self._referee = referee

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self._referee.started(ours(trial))


def run_stage(referee: Referee, shared: Shared, places: Elastic) -> None:
    """Run all trials of a stage; returns when each has ended or the referee has halted it."""
    resources = referee.spec.resources
    bundle = {"CPU": resources.cpus} | ({"GPU": shared.gpus} if shared.gpus else {})
    queue = TrialQueue(referee, tune.PlacementGroupFactory([bundle]), places)
    with (
        tempfile.TemporaryDirectory(prefix="tlsweep-") as scratch,
        _pending_trials(),
        _own_errors(),
    ):
        tune.run(
            make_trainable(shared),
            name=referee.spec.search.strategy,
            search_alg=queue,
            scheduler=TuneAdapter(referee, places, shared.folder.name),
            stop=_Stopper(referee),
            callbacks=[_Starts(referee)],
            storage_path=scratch,
            reuse_actors=True,
            raise_on_failed_trial=False,
            verbose=0,
        )


@contextmanager
def _pending_trials() -> Iterator[None]:
    """Let any number of trials wait in Ray: our queue hands over none for which there is no place."""
    before = os.environ.get(PENDING)
    os.environ[PENDING] = before or "100000"
    try:
        yield
    finally:
        if before is None:
            del os.environ[PENDING]


@contextmanager
def _own_errors() -> Iterator[None]:
    """Tune wraps what our callbacks raise; a full disk under the journal is still the user's one message."""
    try:
        yield
    except TuneError as error:
        if isinstance(error.__context__, TlsweepError):
            raise error.__context__ from None
        raise
