"""A referee without Ray: sweeps in which reports come in any order, with checkpoint files that are real."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tlsweep.schedulers import Decision, Yield
from tlsweep.spec import load_spec
from tlsweep.store import Journal, Status, SweepFolder, SweepState, TrialState
from tlsweep.store.schema import METRICS
from tlsweep.sweep.observer import Silence
from tlsweep.sweep.referee import Referee


class Stage:
    """A referee and its folder; plays the part of Tune and of the workers."""

    def __init__(self, path: Path, *overrides: str) -> None:
        spec = load_spec(
            {
                "data": {"source": "digits"},
                "train": {"epochs": 4, "lr": {"loguniform": [1e-4, 0.1]}, "batch_size": {"powers_of_two": [8, 64]}},
                "search": {"strategy": "random", "trials": 4},
            },
            overrides,
        )
        path.mkdir(exist_ok=True)
        (path / "checkpoints").mkdir()
        self.folder = SweepFolder(path)
        self.state = SweepState(spec.search.metric, spec.search.sign)
        self.journal = Journal(self.folder.journal)
        self.referee = Referee(spec, "stage", self.folder, self.journal, self.state, Silence())

    def create(self, arm: str = "main") -> list[str]:
        """All trials of an arm."""
        return [self.referee.create(arm, number) for number in range(self.referee.spec.trials_per_arm)]

    def live(self) -> list[TrialState]:
        return [one for one in self.state.trials.values() if not one.status.final]

    def train(
        self, trial: str, accuracy: float, *, yields: bool = False, row: Mapping[str, Any] | None = None
    ) -> Decision:
        """An epoch: the trial starts from where it is told to, writes its checkpoint, reports.

        Args:
            trial: its id.
            accuracy: all its metrics, which may be NaN.
            yields: whether somebody waits for its place.
            row: columns that differ.
        """
        one = self.state.trials[trial]
        if one.status is not Status.RUNNING:
            if one.restart_checkpoint:
                assert (self.folder.path / one.restart_checkpoint).exists()
            self.referee.started(trial)
        checkpoint = self.folder.checkpoint(trial, one.generation, one.epoch + 1)
        path = self.folder.path / checkpoint
        path.parent.mkdir(exist_ok=True)
        path.touch()
        decision = self.referee.observe(
            {"trial": trial, "checkpoint": checkpoint, "epoch": one.epoch + 1, "samples": 10, "step": 1, "node": "here",
             "scheduled_lr": 0.1, "micro_batch": 8, "device": "cpu", "device_memory": 0, "samples_per_second": 1.0,
             "wait_seconds": 0.0, "train_seconds": 1.0, "eval_seconds": 1.0}
            | dict.fromkeys(METRICS, accuracy)
            | dict(row or {})
        )  # fmt: skip
        if isinstance(decision, Yield) and yields:
            self.referee.paused(trial)
        return decision

    def files(self) -> set[str]:
        """Checkpoints on disk, and anything else that lies there."""
        found = (self.folder.path / "checkpoints").rglob("*")
        return {str(path.relative_to(self.folder.path)) for path in found if path.is_file()}
