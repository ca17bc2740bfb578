"""The winner of each arm meets the test split, once; the main arm's is exported."""

from dataclasses import dataclass
from typing import Any

from tlsweep.spec import MAIN_ARM, Hyperparameters
from tlsweep.store import SweepFolder, TrialState
from tlsweep.store.schema import METRICS
from tlsweep.sweep.assignment import trial_seed
from tlsweep.sweep.trainable import Shared, fetch


@dataclass(frozen=True)
class Winner:
    """What is needed to evaluate a trial's best checkpoint."""

    arm: str
    trial: str
    number: int
    checkpoint: str
    hyperparameters: dict[str, Any]
    validation: dict[str, float]

    @classmethod
    def of(cls, trial: TrialState) -> "Winner":
        """The best report of a trial that has one."""
        assert trial.best is not None
        names = Hyperparameters.model_fields
        return cls(
            arm=trial.arm,
            trial=trial.trial,
            number=trial.number,
            checkpoint=trial.best["checkpoint"],
            hyperparameters={name: trial.best[name] for name in names},
            validation={name: trial.best[name] for name in METRICS},
        )


def evaluate_winners(winners: list[Winner], shared: Shared) -> dict[str, dict[str, Any]]:
    """Test metrics of each arm's winner; exports the main arm's to `best/`."""
    return {winner.arm: _evaluate(winner, shared) for winner in winners}


def _evaluate(winner: Winner, shared: Shared) -> dict[str, Any]:
    from tlsweep.training import evaluate_checkpoint, export_model

    folder, task = SweepFolder(shared.folder), fetch(shared.task)
    checkpoint = (folder.path / winner.checkpoint).read_bytes()
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
        export_model(folder.best, checkpoint, task, shared.spec.model, metrics=metrics, **common)
    return {name: value for name, value in figures.items() if isinstance(value, float)}
