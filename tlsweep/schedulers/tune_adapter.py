"""Carries out decisions on Ray Tune. Decides nothing, remembers nothing that the journal does not hold."""

import re
from collections.abc import Mapping
from typing import Any, Protocol

from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler

from tlsweep.schedulers.decisions import Decision, Exploit, Stop, Yield


class Referee(Protocol):
    """Writes down what happens to trials, and decides. Trials are named by our ids, which Tune uses too."""

    def observe(self, row: Mapping[str, Any]) -> Decision:
        """A trial reported; the decision, after report and decision were written down."""

    def paused(self, trial: str) -> None:
        """A trial gave up its place."""

    def failed(self, trial: str, error: str) -> None:
        """A trial's function raised, or its process died; `error` is the traceback."""

    def returned(self, trial: str) -> None:
        """A trial's function returned, or Tune ended it by itself."""

    def assignment(self, trial: str) -> dict[str, Any]:
        """What a worker must know to start the trial, or to go on with it."""

    def epoch(self, trial: str) -> int:
        """Epochs that the trial has completed."""


class TuneAdapter(TrialScheduler):
    """The scheduler that Tune sees.

    Tune's own ways to pause and restore a trial keep checkpoints of their own; ours are named in the assignment, so a
    trial that is paused or exploited is stopped without a save and starts again from what the journal says.
    """

    def __init__(self, referee: Referee, concurrent: int | None = None) -> None:
        super().__init__()
        self._referee, self._concurrent = referee, concurrent

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """A new trial carries its first assignment already."""

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        decision = self._referee.observe(result)
        if isinstance(decision, Stop):
            return TrialScheduler.STOP
        if isinstance(decision, Exploit):
            return self._restart_later(tune_controller, trial)
        if isinstance(decision, Yield) and self._somebody_is_behind(tune_controller, trial):
            self._referee.paused(trial.trial_id)
            return self._restart_later(tune_controller, trial)
        return TrialScheduler.CONTINUE

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        if trial.should_recover():
            # Its node was taken away, which Tune counts as no failure: it is about to run the trial again, from config.
            self._referee.paused(trial.trial_id)
            trial.set_config(self._referee.assignment(trial.trial_id))
        else:
            self._referee.failed(trial.trial_id, error_text(trial))

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None:
        self._referee.returned(trial.trial_id)

    def on_trial_remove(self, tune_controller: Any, trial: Trial) -> None:
        self._referee.returned(trial.trial_id)

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """The waiting trial with the least progress, the first of equals: so members of a population advance alike."""
        live = tune_controller.get_live_trials()
        # Tune starts a pending trial by itself: it has its place already.
        placed = sum(trial.status in (Trial.RUNNING, Trial.PENDING) for trial in live)
        if self._concurrent and placed >= self._concurrent:
            return None
        waiting = [trial for trial in live if trial.status in (Trial.PENDING, Trial.PAUSED)]
        return min(waiting, key=self._progress, default=None)

    def debug_string(self) -> str:
        return "tlsweep"

    def _progress(self, trial: Trial) -> tuple[int, str]:
        return self._referee.epoch(trial.trial_id), trial.trial_id

    def _somebody_is_behind(self, tune_controller: Any, trial: Trial) -> bool:
        epoch = self._referee.epoch(trial.trial_id)
        return any(
            other.status in (Trial.PENDING, Trial.PAUSED) and self._referee.epoch(other.trial_id) < epoch
            for other in tune_controller.get_live_trials()
        )

    def _restart_later(self, tune_controller: Any, trial: Trial) -> str:
        """Free the place; the trial is chosen again by its progress, and then starts from its new assignment."""
        tune_controller.pause_trial(trial, should_checkpoint=False)
        trial.set_config(self._referee.assignment(trial.trial_id))
        return TrialScheduler.NOOP


def error_text(trial: Trial) -> str:
    """The traceback that Tune kept for a failed trial, without colours, and with Python's head instead of Ray's."""
    try:
        with open(trial.error_file, encoding="utf-8") as file:
            text = re.sub(r"\x1b\[[\d;]*m", "", file.read())
    except (OSError, TypeError):
        return "the worker died without a traceback"
    text = re.sub(r"\AFailure # .*\n", "", text)
    return re.sub(r"^ray::.*\(pid=.*\)$", "Traceback (most recent call last):", text, flags=re.MULTILINE)
