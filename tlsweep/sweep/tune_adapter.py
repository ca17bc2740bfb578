"""Carries out decisions on Ray Tune. Decides nothing, remembers nothing that the journal does not hold."""

import os
import re
from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any, NamedTuple, Protocol

import ray
from ray.exceptions import ActorDiedError, ActorUnavailableError
from ray.tune.execution.class_cache import DEFAULT_ENV_VARS, ENV_VARS_TO_PROPAGATE
from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler

from tlsweep.cluster.elastic import Elastic
from tlsweep.cluster.starting import ENVIRONMENT
from tlsweep.sweep.assignment import Assignment, Message, changed, from_result, room_in, to_config, trials_in
from tlsweep.sweep.faults import Fault, TrialFailed
from tlsweep.sweep.handover import Answer, hand_over
from tlsweep.sweep.referee import Referee


class Queue(Protocol):
    """Says what a worker is to train."""

    def following(self) -> list[Assignment]:
        """Next, as it has given up its trials."""

    def joining(self, trials: Sequence[str]) -> list[Assignment]:
        """Beside these."""


class TuneAdapter(TrialScheduler):
    """The scheduler that Tune sees.

    One of Tune's trials is the stay of a worker in a place: from the moment it gets one of ours to train to the moment
    there is none for it, or one that it trains fails. Of ours it trains one after another, as each ends, pauses or
    takes another one's weights, or several side by side; the configuration of Tune's trial is always that of those in
    training. Tune's own ways to
    pause, restore and retry keep state of their own, which does not survive the driver; what a worker starts from is in
    that configuration.
    """

    def __init__(self, referee: Referee, elastic: Elastic, workers: str, queue: "Queue") -> None:
        """`queue` says what workers are to train next."""
        super().__init__()
        self._queue = queue
        self._referee, self._elastic = referee, elastic
        self._workers = workers
        self._kept = 0
        self._controller: Any = None
        self._homes: dict[Any, str] = {}
        """The node of each worker that has reported."""

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        # Tune makes its controller within tune.run, and this is where it first hands it to anything of ours.
        controller = self._controller = _unwrapped(tune_controller)
        if not isinstance(controller._class_cache, _Workers):
            controller._class_cache = _Workers(self._workers)
        self._keep_idle_actors(controller, trial.placement_group_factory)

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        messages, controller = from_result(result), _unwrapped(tune_controller)
        # Tune's manager of actors holds each call that was answered, and Ray what came with it, until the place is
        # given up: 0.8 kB for each report, to the end of the stage where workers go on from trial to trial (ray 2.60,
        # actor_manager.py, `_schedule_tracked_actor_task`). No other call is under way now.
        controller._actor_manager.clear_actor_task_futures(controller._trial_to_actor.get(trial))
        if messages:
            self._homes[trial.temporary_state.ray_actor] = messages[-1].node
        home = self._homes.get(trial.temporary_state.ray_actor)
        leaving = home is not None and self._elastic.leaving(home)
        self._referee.learn_room(room_in(result))
        there = ours(trial)
        left = self._referee.observe(_by_trial(messages), leaving=leaving)
        staying = [name for name in there if name not in left]
        join: list[Assignment] = []
        if not leaving:
            join = self._queue.joining(staying) if staying else self._queue.following()
        if not (staying or join):
            return TrialScheduler.STOP
        if left or join:
            trial.set_config(changed(trial.config, left, join))
            hand_over(trial.temporary_state.ray_actor, Answer(tuple(left), tuple(join)))
            for assignment in join:
                self._referee.started(assignment.trial)
        return TrialScheduler.CONTINUE

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        failure, there = failure_of(trial), ours(trial)
        if trial.status == Trial.ERROR and trial.should_recover():
            # Its node was taken away in order, which Tune counts as no failure: it runs this very trial again. One that
            # was not running yet it gives up.
            for name in there:
                self._referee.failed(name, failure.error, counted=False, keeps_slot=True)
            trial.set_config(to_config([self._referee.placing.assignment(name) for name in there]))
            return
        alone = len(there) == 1
        # Which of several it was comes out when each is tried by itself (`Placing.beside`).
        fault = failure.fault if alone or failure.fault == "storage" else "user"
        for name in there:
            self._referee.failed(name, failure.error, fault=fault, counted=failure.counted and alone)

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None:
        self._return(trial)

    def on_trial_remove(self, tune_controller: Any, trial: Trial) -> None:
        self._return(trial)

    def _return(self, trial: Trial) -> None:
        for name in ours(trial):
            self._referee.returned(name)

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """The queue hands over a trial only when there is a slot for it, so Tune starts what it has by itself.

        Called in every round of Tune's loop, before idle workers get something to do: the moment to look at the nodes,
        to end workers that hang, and, as those that reported have their answers, to do what nobody waits for.
        """
        self._referee.tend()
        self._elastic.look()
        self._leave_nodes(_unwrapped(tune_controller))
        overdue = set(self._referee.watch.overdue())
        if overdue:
            for trial in tune_controller.get_live_trials():
                silent = trial.status == Trial.RUNNING and not overdue.isdisjoint(ours(trial))
                if silent and trial.temporary_state.ray_actor:
                    # Tune's own stop is one more call to the actor, and would wait behind the one that hangs.
                    ray.kill(trial.temporary_state.ray_actor)
        return None

    def abandon(self) -> None:
        """Ray has ended: nothing is to be given back to it.

        When Tune's resource manager is collected it removes its placement groups, one by one, and waits for a GCS that
        is gone (ray 2.60, air/execution/resources/placement_group.py).
        """
        if self._controller is not None:
            self._controller._actor_manager._resource_manager.clear = lambda: None

    def debug_string(self) -> str:
        return "tlsweep"

    def _keep_idle_actors(self, controller: Any, resources: Any) -> None:
        """Let Tune keep an idle actor for each slot.

        It would keep only one while nothing waits for a slot, so that after a synchronous decision of a population
        all other members would wait for new processes (ray 2.60, tune/utils/object_cache.py).
        """
        if self._kept != self._elastic.slots:
            controller._actor_cache.increase_max(resources, self._elastic.slots - self._kept)
            self._kept = self._elastic.slots

    def _leave_nodes(self, controller: Any) -> None:
        """Give nothing more to do to idle workers of nodes that are about to be taken away."""
        cache = controller._actor_cache
        for actors in cache._cached_objects.values():
            for actor in [actor for actor in actors if self._elastic.leaving(self._home(controller, actor))]:
                actors.remove(actor)
                # The cache keeps a count beside its lists (ray 2.60, tune/utils/object_cache.py).
                cache._num_cached_objects -= 1
                actor.set_on_stop(None)  # no trial has to hear of its end
                actor.set_on_error(None)
                controller._remove_actor(actor)

    def _home(self, controller: Any, tracked_actor: Any) -> str:
        ray_actor, _ = controller._actor_manager._live_actors_to_ray_actors_resources.get(tracked_actor, (None, None))
        return self._homes.get(ray_actor, "")


class _Workers:
    """Makes each worker that Tune starts one with a name, by which the Ray dashboard shows it: digits worker 3.

    Takes the place of Tune's cache of actor classes (ray 2.60, tune/execution/class_cache.py). A worker outlives
    trials, so it cannot have the name of one. Variables it is given as it begins: where Tune hands them over, an agent
    makes an environment for each worker, and no process that a node keeps ready can be one.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._classes: dict[type[Any], Any] = {}
        self._count = 0

    def get(self, trainable: type[Any]) -> Any:
        self._count += 1
        if trainable not in self._classes:
            self._classes[trainable] = ray.remote(_with_variables(trainable, _handed_over()))
        # A copy, because Ray refuses a second actor of one name.
        worker = copy(self._classes[trainable])
        worker._default_options = worker._default_options | {"name": f"{self._name} worker {self._count}"}
        return worker


def _with_variables(trainable: type[Any], variables: Mapping[str, str]) -> type[Any]:
    """The class, in whose process they hold before Tune looks at them."""

    def begin(worker: Any, *arguments: Any, **options: Any) -> None:
        os.environ.update(variables)
        trainable.__init__(worker, *arguments, **options)

    return type(trainable.__name__, (trainable,), {"__init__": begin})


def _handed_over() -> dict[str, str]:
    """What workers on other machines cannot inherit: how we run Tune, and what Tune itself hands over."""
    named = {name: os.environ[name] for name in (*ENVIRONMENT, *ENV_VARS_TO_PROPAGATE) if name in os.environ}
    return DEFAULT_ENV_VARS | named


def _unwrapped(tune_controller: Any) -> Any:
    """Tune hands over a wrapper that lacks what is private."""
    return getattr(tune_controller, "_tune_controller", tune_controller)


def ours(trial: Trial) -> list[str]:
    """The names of our trials that are trained in one of Tune's."""
    return trials_in(trial.config)


def _by_trial(messages: Sequence[Message]) -> dict[str, list[Message]]:
    """Those of each trial, in their order."""
    of_each: dict[str, list[Message]] = {}
    for message in messages:
        of_each.setdefault(message.trial, []).append(message)
    return of_each


class Stay(Trial):
    """One of Tune's trials, the stay of a worker in a place; it remembers what its worker raised.

    `Trial.get_pickled_error` looks in the experiment's storage, to where Tune (ray 2.60) copies the error later.
    """

    def handle_error(self, exc: Any = None) -> None:
        """Keep the exception where Tune keeps what is not to be saved."""
        self.temporary_state.raised = exc
        super().handle_error(exc)


class Failure(NamedTuple):
    """What made a stay fail."""

    fault: Fault
    error: str
    """The worker's traceback, or what Ray says of the end of its process."""
    counted: bool
    """Whether the trial may have caused it."""


def failure_of(trial: Trial) -> Failure:
    """What the worker told of its failure; where its process died, what Ray tells."""
    raised = getattr(trial.temporary_state, "raised", None)
    told = getattr(raised, "cause", None)
    if isinstance(told, TrialFailed):
        return Failure(told.fault, told.error, counted=True)
    if raised is None:
        return Failure("user", "the worker died without a traceback", counted=True)
    # Ray colours the head of what its own code raised in a worker.
    return Failure("user", _COLOURS.sub("", str(raised)), counted=not lost_its_node(raised))


_COLOURS = re.compile(r"\x1b\[[\d;]*m")
_NODE_DIED = "because its node has died"


def lost_its_node(raised: object) -> bool:
    """Whether an actor's node is gone or cannot be reached, by Ray's class of exceptions.

    Of an actor that died, Ray (2.60, exceptions.py) keeps the cause in its message alone, NodeDiedError being raised
    for tasks only; so its own words decide there, which no user's code can write: that arrives as RayTaskError.
    """
    if isinstance(raised, ActorUnavailableError):
        return True
    return isinstance(raised, ActorDiedError) and not raised.actor_init_failed and _NODE_DIED in str(raised)
