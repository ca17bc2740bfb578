"""The winner of each arm meets the test split, once; the main arm's is exported."""

from dataclasses import dataclass
from typing import Any

from tlsweep.errors import ResultsError
from tlsweep.spec import MAIN_ARM, Hyperparameters, SweepSpec
from tlsweep.store import SweepFolder, SweepState, TrialState
from tlsweep.store.files import folder_to_fill
from tlsweep.store.schema import METRICS
from tlsweep.sweep.assignment import trial_seed
from tlsweep.sweep.nodes import Cluster
from tlsweep.sweep.observer import Observer
from tlsweep.sweep.prepare import where_trials_run
from tlsweep.sweep.referee import Referee
from tlsweep.sweep.retention import KEPT_TRIALS
from tlsweep.sweep.trainable import Shared, fetch, last_sound


@dataclass(frozen=True)
class Winner:
    """What is needed to evaluate a trial's best checkpoint."""

    arm: str
    trial: str
    number: int
    checkpoint: tuple[str, str, int]
    """Path below the sweep's folder, digest, epoch."""
    hyperparameters: dict[str, Any]
    validation: dict[str, float]

    @classmethod
    def of(cls, trial: TrialState) -> "Winner":
        """The best report of a trial that has one."""
        best = trial.best
        assert best is not None
        return cls(
            arm=trial.arm,
            trial=trial.trial,
            number=trial.number,
            checkpoint=(best["checkpoint"], best["digest"], best["epoch"]),
            hyperparameters={name: best[name] for name in Hyperparameters.model_fields},
            validation={name: best[name] for name in METRICS},
        )


def evaluate(referee: Referee, shared: Shared, cluster: Cluster, observer: Observer) -> None:
    """Show each arm's winner the test split, write down what it reached, export the main arm's to `best/`.

    Raises:
        ResultsError: no checkpoint of the main arm is sound.
    """
    candidates = _candidates(referee.state, referee.spec)
    if not candidates:
        return
    observer.phase("evaluating the winner on the test split")
    tests = where_trials_run(_evaluate_arms, referee.spec, cluster, candidates, shared)
    for arm, (winner, test) in tests.items():
        referee.evaluated(arm, winner, test)


def _candidates(state: SweepState, spec: SweepSpec) -> dict[str, list[Winner]]:
    """For each arm its winner, and the next best in case its checkpoint is damaged; empty if the main arm has none."""
    found = {arm: [Winner.of(one) for one in state.leaders(arm, KEPT_TRIALS)] for arm in spec.arms}
    return {arm: winners for arm, winners in found.items() if winners} if found[MAIN_ARM] else {}


def _evaluate_arms(candidates: dict[str, list[Winner]], shared: Shared) -> dict[str, tuple[str, dict[str, Any]]]:
    """For each arm the trial that was evaluated and its test metrics; exports the main arm's to `best/`.

    Raises:
        ResultsError: no checkpoint of the main arm is sound.
    """
    tests = {}
    for arm, winners in candidates.items():
        passed_over: list[dict[str, str]] = []
        for winner in winners:
            content, damaged = last_sound(SweepFolder(shared.folder), [winner.checkpoint])
            passed_over += damaged
            if content is not None:
                figures = _evaluate(winner, content, shared)
                tests[arm] = (winner.trial, figures | ({"passed_over": passed_over} if passed_over else {}))
                break
        else:
            if arm == MAIN_ARM:
                what = "; ".join(f"{one['path']} {one['reason']}" for one in passed_over)
                raise ResultsError(f"no model can be handed back: {what}; put a sound copy back, and resume the sweep")
    return tests


def _evaluate(winner: Winner, checkpoint: bytes, shared: Shared) -> dict[str, Any]:
    from tlsweep.training import evaluate_checkpoint, export_model

    folder, task = SweepFolder(shared.folder), fetch(shared.task)
    common: dict[str, Any] = {
        "weights": shared.arm_weights(winner.arm),
        "seed": trial_seed(shared.spec, winner.number),
    }
    test = evaluate_checkpoint(
        checkpoint,
        task,
        shared.spec.model,
        split="test",
        settings=shared.spec.train.settings(),
        device=shared.device,
        threads=shared.threads,
        **common,
    )
    figures = test.to_dict()
    if winner.arm == MAIN_ARM:
        metrics = {
            "trial": winner.trial,
            "hyperparameters": winner.hyperparameters,
            "validation": winner.validation,
            "test": figures,
        }
        with folder_to_fill(folder.best) as best:
            export_model(best, checkpoint, task, shared.spec.model, metrics=metrics, **common)
    return {name: value for name, value in figures.items() if isinstance(value, float)}
