"""Carries out decisions on Ray Tune. Decides nothing, remembers nothing that the journal does not hold."""

import re
from collections.abc import Mapping
from typing import Any, Protocol

import ray
from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler


class Referee(Protocol):
    """Writes down what happens to trials, and decides. Trials are named by our ids."""

    def observe(self, row: Mapping[str, Any]) -> bool:
        """A trial reported. False: its place is free, its worker must stop."""

    def failed(self, trial: str, error: str, *, counted: bool = True, keeps_place: bool = False) -> None:
        """A trial's function raised, or its process died; `error` is the traceback."""

    def returned(self, trial: str) -> None:
        """A trial's function returned, or Tune ended it by itself."""

    def assignment(self, trial: str) -> Any:
        """What a worker must know to go on with the trial; has `to_config()`."""

    def overdue(self) -> list[str]:
        """Running trials that were not heard of for too long."""


class TuneAdapter(TrialScheduler):
    """The scheduler that Tune sees.

    One of Tune's trials is one stay of a trial of ours on a worker: from the moment it gets a place to the moment it
    gives that up, whether it ends, pauses, takes another one's weights or fails. Tune's own ways to pause, restore and
    retry keep state of their own, which does not survive the driver; what a worker starts from is in its configuration.
    """

    def __init__(self, referee: Referee, slots: int) -> None:
        super().__init__()
        self._referee, self._slots = referee, slots
        self._widened = False

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """Let Tune keep an idle actor for each slot.

        It would keep only one while nothing waits for a place, so that after a synchronous decision of a population
        all other members would wait for new processes (ray 2.60, tune/utils/object_cache.py).
        """
        if not self._widened:
            controller = getattr(tune_controller, "_tune_controller", tune_controller)
            controller._actor_cache.increase_max(trial.placement_group_factory, self._slots)
            self._widened = True

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        return TrialScheduler.CONTINUE if self._referee.observe(result) else TrialScheduler.STOP

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        error = error_text(trial)
        if trial.status == Trial.ERROR and trial.should_recover():
            # Its node was taken away in order, which Tune counts as no failure: it runs this very trial again. One that
            # was not running yet it gives up.
            self._referee.failed(ours(trial), error, counted=False, keeps_place=True)
            trial.set_config(self._referee.assignment(ours(trial)).to_config())
        else:
            self._referee.failed(ours(trial), error, counted=not _NODE_LOST.search(error))

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None:
        self._referee.returned(ours(trial))

    def on_trial_remove(self, tune_controller: Any, trial: Trial) -> None:
        self._referee.returned(ours(trial))

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """The queue hands over a trial only when there is a place for it, so Tune starts what it has by itself.

        Called in every round of Tune's loop: the moment to end workers that hang.
        """
        overdue = self._referee.overdue()
        if overdue:
            for trial in tune_controller.get_live_trials():
                if trial.status == Trial.RUNNING and ours(trial) in overdue and trial.temporary_state.ray_actor:
                    ray.kill(trial.temporary_state.ray_actor)
        return None

    def debug_string(self) -> str:
        return "tlsweep"


_NODE_LOST = re.compile(r"because its node has died|^The actor \w+ is unavailable")
"""What Ray says of an actor whose node is gone or cannot be reached; where its process died alone, its node says so."""


def ours(trial: Trial) -> str:
    """The name of our trial that one of Tune's is a stay of."""
    return str(trial.config["trial"])


def error_text(trial: Trial) -> str:
    """The traceback that Tune kept for a failed trial, without colours, and with Python's head instead of Ray's."""
    try:
        with open(trial.error_file, encoding="utf-8") as file:
            text = re.sub(r"\x1b\[[\d;]*m", "", file.read())
    except (OSError, TypeError):
        return "the worker died without a traceback"
    text = re.sub(r"\AFailure # .*\n", "", text)
    return re.sub(r"^ray::.*\(pid=.*\)$", "Traceback (most recent call last):", text, flags=re.MULTILINE)
