"""Which checkpoints stay on disk: what a trial may go on from, what may be copied, and the best."""

import os
from collections import defaultdict
from contextlib import suppress
from pathlib import Path

from tlsweep.schedulers import Pbt, Rules
from tlsweep.store import Status, SweepState, TrialState

KEPT_TRIALS = 3
"""Best checkpoints that stay in each arm after their trials ended."""


class Retention:
    """Removes checkpoints that nothing needs any more, so that disk use does not grow with epochs or trials.

    What it does for a report does not grow with the number of trials either.
    """

    def __init__(self, folder: Path, state: SweepState, rules: dict[str, Rules]) -> None:
        self._folder, self._state, self._rules = folder, state, rules
        self._files: dict[str, set[str]] = defaultdict(set)
        self._borrowed: dict[str, str] = {}
        """For each trial that is to go on from another one's checkpoint: that checkpoint."""
        self._ended: dict[str, set[str]] = defaultdict(set)
        """For each arm, the trials that ended and still have files."""

    def added(self, trial: TrialState, checkpoint: str | None) -> None:
        """A trial reported with a checkpoint, and perhaps was told to go on from another one: older ones may go."""
        if checkpoint is not None:
            self._files[trial.trial].add(checkpoint)
        restart = trial.restart_checkpoint
        if restart is None or restart in self._files[trial.trial]:
            self._borrowed.pop(trial.trial, None)
        else:
            self._borrowed[trial.trial] = restart
        self._keep(trial.trial, self._needed(trial))

    def ended(self, trial: TrialState) -> None:
        """A trial ended: of ended trials the few best of the arm keep their best checkpoint."""
        if trial.status is Status.INTERRUPTED:
            return  # it could go on: everything of it stays
        ended = self._ended[trial.arm]
        ended.add(trial.trial)
        self._borrowed.pop(trial.trial, None)
        best = self._state.best_of((self._state.trials[name] for name in ended), KEPT_TRIALS)
        checkpoints = {checkpoint for one in best if (checkpoint := _best_checkpoint(one))}
        for name in list(ended):
            self._keep(name, checkpoints)
            if name not in self._files:
                ended.discard(name)
                _remove_if_empty(self._folder / "checkpoints" / name)

    def close(self) -> None:
        """No trial runs any more: what no report named goes too, as a worker leaves it that ended while it wrote."""
        known = {self._folder / checkpoint for checkpoints in self._files.values() for checkpoint in checkpoints}
        for path in (self._folder / "checkpoints").glob("*/*"):
            if path not in known:
                path.unlink(missing_ok=True)
        for path in (self._folder / "checkpoints").glob("*"):
            _remove_if_empty(path)

    def _needed(self, trial: TrialState) -> set[str]:
        rules = self._rules[trial.arm]
        own = {checkpoint for checkpoint in (trial.restart_checkpoint, _best_checkpoint(trial)) if checkpoint}
        return own | (rules.needed(trial.trial) if isinstance(rules, Pbt) else set())

    def _keep(self, name: str, needed: set[str]) -> None:
        files = self._files[name]
        for checkpoint in files - needed - set(self._borrowed.values()):
            (self._folder / checkpoint).unlink(missing_ok=True)
            files.discard(checkpoint)
        if not files:
            del self._files[name]


def _best_checkpoint(trial: TrialState) -> str | None:
    return trial.best["checkpoint"] if trial.best else None


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):
        os.rmdir(folder)
