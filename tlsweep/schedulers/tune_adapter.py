"""Carries out decisions on Ray Tune. Decides nothing, remembers nothing that the journal does not hold."""

import re
from collections.abc import Mapping
from copy import copy
from typing import Any, Protocol

import ray
from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler


class Referee(Protocol):
    """Writes down what happens to trials, and decides. Trials are named by our ids."""

    def observe(self, row: Mapping[str, Any], *, leaving: bool = False) -> bool:
        """A trial reported, from a node that may be about to leave. False: its place is free, its worker must stop."""

    def failed(self, trial: str, error: str, *, counted: bool = True, keeps_place: bool = False) -> None:
        """A trial's function raised, or its process died; `error` is the traceback."""

    def returned(self, trial: str) -> None:
        """A trial's function returned, or Tune ended it by itself."""

    def assignment(self, trial: str) -> Any:
        """What a worker must know to go on with the trial; has `to_config()`."""

    def overdue(self) -> list[str]:
        """Running trials that were not heard of for too long."""


class Places(Protocol):
    """Where trials run, as of now."""

    slots: int
    """Trials that run at once."""

    def look(self) -> None:
        """See what became of the nodes; cheap, called often."""

    def leaving(self, node: str) -> bool:
        """Whether a node is about to be taken away."""


class TuneAdapter(TrialScheduler):
    """The scheduler that Tune sees.

    One of Tune's trials is one stay of a trial of ours on a worker: from the moment it gets a place to the moment it
    gives that up, whether it ends, pauses, takes another one's weights or fails. Tune's own ways to pause, restore and
    retry keep state of their own, which does not survive the driver; what a worker starts from is in its configuration.
    """

    def __init__(self, referee: Referee, places: Places, workers: str) -> None:
        super().__init__()
        self._referee, self._places, self._workers = referee, places, workers
        self._kept = 0
        self._homes: dict[Any, str] = {}
        """The node of each worker that has reported."""

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        controller = _unwrapped(tune_controller)
        if not isinstance(controller._class_cache, _NamedWorkers):
            controller._class_cache = _NamedWorkers(controller._class_cache, self._workers)
        self._keep_idle_actors(controller, trial.placement_group_factory)

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        self._homes[trial.temporary_state.ray_actor] = result["node"]
        goes_on = self._referee.observe(result, leaving=self._places.leaving(result["node"]))
        return TrialScheduler.CONTINUE if goes_on else TrialScheduler.STOP

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

        Called in every round of Tune's loop, before idle workers get something to do: the moment to look at the nodes,
        and to end workers that hang.
        """
        self._places.look()
        self._leave_nodes(_unwrapped(tune_controller))
        overdue = self._referee.overdue()
        if overdue:
            for trial in tune_controller.get_live_trials():
                if trial.status == Trial.RUNNING and ours(trial) in overdue and trial.temporary_state.ray_actor:
                    ray.kill(trial.temporary_state.ray_actor)
        return None

    def debug_string(self) -> str:
        return "tlsweep"

    def _keep_idle_actors(self, controller: Any, resources: Any) -> None:
        """Let Tune keep an idle actor for each slot.

        It would keep only one while nothing waits for a place, so that after a synchronous decision of a population
        all other members would wait for new processes (ray 2.60, tune/utils/object_cache.py).
        """
        if self._kept != self._places.slots:
            controller._actor_cache.increase_max(resources, self._places.slots - self._kept)
            self._kept = self._places.slots

    def _leave_nodes(self, controller: Any) -> None:
        """Give nothing more to do to idle workers of nodes that are about to be taken away."""
        cache = controller._actor_cache
        for actors in cache._cached_objects.values():
            for actor in [one for one in actors if self._places.leaving(self._home(controller, one))]:
                actors.remove(actor)
                cache._num_cached_objects -= 1
                actor.set_on_stop(None)  # no trial has to hear of its end
                actor.set_on_error(None)
                controller._remove_actor(actor)

    def _home(self, controller: Any, tracked_actor: Any) -> str:
        ray_actor, _ = controller._actor_manager._live_actors_to_ray_actors_resources.get(tracked_actor, (None, None))
        return self._homes.get(ray_actor, "")


class _NamedWorkers:
    """Gives each worker that Tune starts a name of its own, by which the Ray dashboard shows it: digits worker 3.

    Takes the place of Tune's cache of actor classes (ray 2.60, tune/execution/class_cache.py), which it asks for all
    the rest. A worker outlives trials, so it cannot have the name of one.
    """

    def __init__(self, classes: Any, name: str) -> None:
        self._classes, self._name, self._count = classes, name, 0

    def get(self, trainable: Any) -> Any:
        self._count += 1
        worker = copy(self._classes.get(trainable))
        worker._default_options = worker._default_options | {"name": f"{self._name} worker {self._count}"}
        return worker


def _unwrapped(tune_controller: Any) -> Any:
    """Tune hands over a wrapper that lacks what is private."""
    return getattr(tune_controller, "_tune_controller", tune_controller)


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
