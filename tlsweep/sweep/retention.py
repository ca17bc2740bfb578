"""Which checkpoints stay on disk: what a trial may go on from, what may be copied, and the best."""

import shutil
from collections import defaultdict
from pathlib import Path

from tlsweep.schedulers import Pbt, Rules
from tlsweep.store import SweepState, TrialState

KEPT_TRIALS = 3
"""Best checkpoints that stay in each arm after their trials ended."""


class Retention:
    """Removes checkpoints that nothing needs any more, so that disk use does not grow with epochs or trials."""

    def __init__(self, folder: Path, state: SweepState, rules: dict[str, Rules]) -> None:
        self._folder, self._state, self._rules = folder, state, rules
        self._files: dict[str, set[str]] = defaultdict(set)

    def added(self, trial: TrialState, checkpoint: str | None) -> None:
        """A trial reported with a checkpoint: older ones of it may go."""
        if checkpoint is not None:
            self._files[trial.trial].add(checkpoint)
        self._keep(trial.trial, self._needed(trial) | self._restarts())

    def ended(self, arm: str) -> None:
        """A trial of the arm ended: of ended trials the few best keep their best checkpoint."""
        leaders = {leader.trial for leader in self._state.leaders(arm, KEPT_TRIALS)}
        restarts = self._restarts()
        for name in list(self._files):
            trial = self._state.trials[name]
            if trial.arm == arm and trial.status.final:
                best = {trial.best["checkpoint"]} if trial.best and name in leaders else set()
                self._keep(name, best | restarts)

    def _needed(self, trial: TrialState) -> set[str]:
        rules = self._rules[trial.arm]
        own = {report["checkpoint"] for report in (trial.last, trial.best) if report and report["checkpoint"]}
        return own | (rules.needed(trial.trial) if isinstance(rules, Pbt) else set())

    def _restarts(self) -> set[str]:
        """Where unfinished trials go on from: after an exploit a file of the donor."""
        trials = self._state.trials.values()
        return {trial.restart_checkpoint for trial in trials if trial.restart_checkpoint and not trial.status.final}

    def _keep(self, name: str, needed: set[str]) -> None:
        for checkpoint in self._files[name] - needed:
            (self._folder / checkpoint).unlink(missing_ok=True)
        self._files[name] &= needed
        if not self._files[name]:
            del self._files[name]
            if self._state.trials[name].status.final:
                shutil.rmtree(self._folder / "checkpoints" / name, ignore_errors=True)
