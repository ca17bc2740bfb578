"""The adapter carries out decisions on Tune, and tells the referee what Tune does by itself."""

import os
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
import ray
from ray import cloudpickle
from ray.air.execution._internal.actor_manager import RayActorManager
from ray.core.generated.common_pb2 import ActorDiedErrorContext
from ray.exceptions import ActorDiedError, ActorUnavailableError, RayTaskError
from ray.tune.callback import CallbackList
from ray.tune.execution.tune_controller import TuneController
from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler

from tlsweep.errors import ModelError
from tlsweep.files import StorageError
from tlsweep.store import StoredCheckpoint
from tlsweep.sweep.assignment import Assignment, Message, assignments_in, to_result
from tlsweep.sweep.faults import TrialFailed
from tlsweep.sweep.handover import Answer, HandedOver, look_for_following, take_answer
from tlsweep.sweep.tune_adapter import Stay, TuneAdapter, ours
from tlsweep.sweep.tune_run import Hooks


class FakeReferee:
    """Decides as it is told, and remembers what it was told."""

    def __init__(
        self,
        *,
        goes_on: bool = True,
        leaves: Sequence[str] = (),
        overdue: Sequence[str] = (),
        follows: Sequence[Assignment] = (),
        joins: Sequence[Assignment] = (),
    ) -> None:
        self.goes_on, self.leaves, self.late = goes_on, list(leaves), list(overdue)
        self.follows, self.joins = list(follows), list(joins)
        self.told: list[Any] = []
        self.placing = self.watch = self

    def observe(self, of_each: Mapping[str, Sequence[Message]], *, leaving: bool = False) -> list[str]:
        self.told += [(message.epoch, leaving) for messages in of_each.values() for message in messages]
        return list(of_each if not self.goes_on or leaving else self.leaves)

    def started(self, trial: str) -> None:
        self.told.append(f"{trial} started")

    def tend(self) -> None:
        pass

    def failed(
        self, trial: str, error: str, *, fault: str = "user", counted: bool = True, keeps_slot: bool = False
    ) -> None:
        self.told.append((trial, error, fault, counted, keeps_slot))

    def returned(self, trial: str) -> None:
        self.told.append(f"{trial} returned")

    def assignment(self, trial: str) -> Any:
        return SimpleNamespace(to_config=lambda: {"trial": trial, "trail": "now"})

    def learn_room(self, room: Mapping[str, int]) -> None:
        self.told += room.items()

    def following(self) -> list[Assignment]:
        return self.follows

    def joining(self, trials: Sequence[str]) -> list[Assignment]:
        return self.joins

    def overdue(self) -> list[str]:
        return self.late


class FakePlaces:
    """A cluster with this many slots; some nodes leave."""

    def __init__(self, slots: int = 2, leaves: str = "") -> None:
        self.slots, self.leaves, self.looks = slots, leaves, 0

    def look(self) -> None:
        self.looks += 1

    def leaving(self, node: str) -> bool:
        return node == self.leaves


def adapter_for(referee: FakeReferee, places: FakePlaces | None = None) -> TuneAdapter:
    return TuneAdapter(referee, places or FakePlaces(), "digits", referee)


def controller_with(**more: Any) -> Any:
    """As much of Tune's controller as the adapter touches; no worker is idle, unless told otherwise."""
    actors = SimpleNamespace(_live_actors_to_ray_actors_resources={}, clear_actor_task_futures=lambda actor: None)
    cache = SimpleNamespace(_cached_objects={}, _num_cached_objects=0, increase_max=lambda resources, by: None)
    parts = {"_actor_cache": cache, "_class_cache": None, "_actor_manager": actors, "_trial_to_actor": {}}
    return SimpleNamespace(**parts | more)


class FakeTrial(SimpleNamespace):
    __hash__ = object.__hash__

    def set_config(self, config: dict[str, Any]) -> None:
        self.config = config


class FakeActor(str):
    """A handle of one of Tune's function trainables, whose calls are carried out at once."""

    @property
    def execute(self) -> Any:
        return SimpleNamespace(remote=lambda function: function(self))


def stay(*names: str, status: str = Trial.RUNNING, recovers: bool = False, raised: object = None) -> Any:
    """One of Tune's trials, in whose place these of ours are trained."""
    first, *_ = names = names or ("t0",)
    return FakeTrial(
        trial_id="stay2", status=status, config=config_of(*names),
        should_recover=lambda: recovers, placement_group_factory="resources",
        temporary_state=SimpleNamespace(ray_actor=FakeActor(f"actor of {first}"), raised=raised),
    )  # fmt: skip


def config_of(*names: str, trail: str = "as of its start") -> dict[str, Any]:
    return {"assignments": [{"trial": name, "trail": trail} for name in names]}


def report(epoch: int, node: str, *names: str) -> dict[str, Any]:
    """What Tune hands over: a worker's messages, among much of its own."""
    sent = [
        Message(name, epoch, node, {"val_loss": 0.5}, checkpoint=f"checkpoints/{name}/g0-e1.pt", digest="0" * 64)
        for name in names or ("t0",)
    ]
    return {"training_iteration": epoch, "time_total_s": 1.5, **to_result(sent)}


@pytest.mark.parametrize(("goes_on", "answer"), [(True, TrialScheduler.CONTINUE), (False, TrialScheduler.STOP)])
def test_a_worker_goes_on_or_gives_up_its_place(goes_on: bool, answer: str) -> None:
    referee = FakeReferee(goes_on=goes_on)
    assert adapter_for(referee).on_trial_result(controller_with(), stay(), report(1, "n")) == answer
    assert referee.told == [(1, False)]


FOLLOWING = Assignment(
    "t4", "main", 0, None, 5, {"lr": 0.1, "batch_size": 8}, trail=(StoredCheckpoint("a.pt", "0", 3),)
)


@pytest.mark.parametrize("node", ["stays", "leaves"])
def test_a_worker_goes_on_with_another_trial_before_tune_takes_it_back(node: str) -> None:
    referee, place = FakeReferee(goes_on=False, follows=[FOLLOWING]), stay()
    adapter = adapter_for(referee, FakePlaces(leaves="leaves"))
    answer = adapter.on_trial_result(controller_with(), place, report(1, node))
    if node == "leaves":
        assert (answer, ours(place), referee.told) == (TrialScheduler.STOP, ["t0"], [(1, True)])
        look_for_following()  # and nothing was handed over
        return
    assert (answer, ours(place), referee.told) == (TrialScheduler.CONTINUE, ["t4"], [(1, False), "t4 started"])
    with pytest.raises(HandedOver) as handed_over:
        look_for_following()
    assert [handed_over.value.following] == assignments_in(place.config) == [FOLLOWING]
    look_for_following()  # once


def test_in_a_place_of_several_each_goes_on_or_leaves_and_others_join() -> None:
    referee, place = FakeReferee(leaves=["t1"], joins=[FOLLOWING]), stay("t0", "t1", "t2")
    assert (
        adapter_for(referee).on_trial_result(controller_with(), place, report(1, "n", "t0", "t1"))
        == TrialScheduler.CONTINUE
    )
    assert (ours(place), referee.told) == (["t0", "t2", "t4"], [(1, False), (1, False), "t4 started"])
    assert take_answer() == Answer(("t1",), (FOLLOWING,))
    assert take_answer() == Answer()


def test_a_worker_tells_how_many_it_has_room_for_before_anything_else() -> None:
    referee, place = FakeReferee(joins=[FOLLOWING]), stay()
    result = {"training_iteration": 1, **to_result([], {"t0": 9})}
    assert adapter_for(referee).on_trial_result(controller_with(), place, result) == TrialScheduler.CONTINUE
    assert (ours(place), referee.told) == (["t0", "t4"], [("t0", 9), "t4 started"])
    assert take_answer() == Answer((), (FOLLOWING,))


@pytest.mark.parametrize("error", [ModelError("no fit"), StorageError("full", "/disk"), ValueError("no")])
def test_of_several_in_a_place_that_failed_nobody_is_blamed(error: Exception) -> None:
    referee = FakeReferee()
    adapter_for(referee).on_trial_error(None, stay("t0", "t1", raised=told(error)))
    fault = "storage" if isinstance(error, StorageError) else "user"
    assert [(name, *rest) for name, _, *rest in referee.told] == [(name, fault, False, False) for name in ("t0", "t1")]


def test_tune_keeps_nothing_of_what_was_reported() -> None:
    """Else memory, and the JSON that Tune makes of each trial in the end, would grow with reports."""
    adapter, controller = adapter_for(FakeReferee()), MagicMock()
    controller._stopper.return_value = False
    controller._scheduler_alg.on_trial_result.side_effect = adapter.on_trial_result
    controller._callbacks = CallbackList([Hooks(FakeReferee())])  # type: ignore[arg-type]
    controller._wrapped.return_value = SimpleNamespace(_tune_controller=controller)
    trial = Stay("stub", stub=True, config=config_of("t0"))
    trial.temporary_state.ray_actor = None
    actors = controller._actor_manager = RayActorManager(MagicMock())
    controller._trial_to_actor = {trial: "its worker"}
    actors._tracked_actors_to_task_futures["its worker"].add("the call that was answered")
    result = report(1, "n")
    TuneController._process_trial_result(controller, trial, result)
    assert adapter._referee.told == [(1, False)]  # type: ignore[attr-defined]
    assert trial.last_result["training_iteration"] == 1
    assert "val_loss" not in "".join(trial.get_json_state())
    assert not actors._tracked_actors_to_task_futures


def test_a_stay_is_told_of_by_the_name_of_our_trial() -> None:
    referee = FakeReferee()
    adapter = adapter_for(referee)
    adapter.on_trial_complete(None, stay("t7"), {})
    adapter.on_trial_remove(None, stay("t8"))
    assert referee.told == ["t7 returned", "t8 returned"]
    assert ours(stay("t7", "t9")) == ["t7", "t9"]


@pytest.mark.parametrize("wrapped", [True, False])
def test_an_idle_actor_is_kept_for_each_slot_and_slots_come_and_go(wrapped: bool) -> None:
    kept: list[tuple[Any, int]] = []
    controller = controller_with()
    controller._actor_cache.increase_max = lambda resources, by: kept.append((resources, by))
    places = FakePlaces(3)
    adapter = adapter_for(FakeReferee(), places)
    for places.slots in (3, 3, 5, 5, 2):
        adapter.on_trial_add(SimpleNamespace(_tune_controller=controller) if wrapped else controller, stay())
    assert kept == [("resources", 3), ("resources", 2), ("resources", -3)]


def test_a_trial_on_a_node_that_leaves_gives_up_its_place_and_its_idle_worker_gets_no_other() -> None:
    removed: list[str] = []

    def tracked(name: str) -> Any:
        return SimpleNamespace(name=name, set_on_stop=lambda it: None, set_on_error=lambda it: None)

    class Idle(SimpleNamespace):
        __hash__ = object.__hash__

    there, elsewhere, new = (Idle(**vars(tracked(name))) for name in ("there", "elsewhere", "new"))
    controller = controller_with(_remove_actor=lambda actor: removed.append(actor.name), get_live_trials=list)
    controller._actor_cache._cached_objects = {"resources": [there, elsewhere, new]}
    controller._actor_cache._num_cached_objects = 3
    controller._actor_manager._live_actors_to_ray_actors_resources = {
        there: ("actor of t0", None), elsewhere: ("actor of t1", None), new: ("actor of t2", None),
    }  # fmt: skip
    places, referee = FakePlaces(leaves="n0"), FakeReferee()
    adapter = adapter_for(referee, places)
    assert adapter.on_trial_result(controller, stay("t1"), report(4, "n1", "t1")) == TrialScheduler.CONTINUE
    assert adapter.on_trial_result(controller, stay("t0"), report(5, "n0")) == TrialScheduler.STOP
    assert referee.told == [(4, False), (5, True)]
    adapter.choose_trial_to_run(controller)
    assert (removed, places.looks) == (["there"], 1)
    assert controller._actor_cache._cached_objects["resources"] == [elsewhere, new]
    assert controller._actor_cache._num_cached_objects == 2


def test_each_worker_has_a_name_of_its_own_and_begins_with_what_it_could_not_inherit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Trainable:
        def __init__(self, config: str) -> None:
            self.found = config, os.environ.get("TUNE_FUNCTION_THREAD_TIMEOUT_S"), os.environ.get("AWS_ACCESS_KEY_ID")

    controller = controller_with()
    adapter = adapter_for(FakeReferee())
    for _ in range(2):
        adapter.on_trial_add(controller, stay())
    monkeypatch.setenv("TUNE_FUNCTION_THREAD_TIMEOUT_S", "60")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "of the driver")
    workers = [controller._class_cache.get(Trainable) for _ in range(2)]
    monkeypatch.setattr(os, "environ", {})
    # An environment of its own would be one that no process has that a node keeps ready.
    assert [worker._default_options for worker in workers] == [
        {"name": "digits worker 1"}, {"name": "digits worker 2"},
    ]  # fmt: skip
    begun = [cloudpickle.loads(cloudpickle.dumps(worker.__ray_metadata__.modified_class)) for worker in workers]
    assert [made("config").found for made in begun] == [("config", "60", "of the driver")] * 2
    assert {made.__name__ for made in begun} == {"Trainable"}


def test_an_error_is_a_failure_that_counts() -> None:
    referee, broken = FakeReferee(), stay()
    adapter_for(referee).on_trial_error(None, broken)
    assert referee.told == [("t0", "the worker died without a traceback", "user", True, False)]
    assert broken.config == config_of("t0")


def test_a_trial_that_tune_runs_again_goes_on_from_its_last_checkpoint() -> None:
    referee, preempted = FakeReferee(), stay(status=Trial.ERROR, recovers=True)
    adapter_for(referee).on_trial_error(None, preempted)
    assert referee.told == [("t0", "the worker died without a traceback", "user", False, True)]
    assert preempted.config == config_of("t0", trail="now")  # not from where this stay began


def died(why: str) -> ActorDiedError:
    return ActorDiedError(ActorDiedErrorContext(error_message=why, class_name="W", actor_id=bytes(16)))


def told(error: Exception) -> Any:
    """What reaches the driver when a trial's function raises: through Ray, and through a pickle."""
    arrived = RayTaskError("train", "Traceback …", TrialFailed.of(error)).as_instanceof_cause()
    return cloudpickle.loads(cloudpickle.dumps(arrived))


@pytest.mark.parametrize(
    ("raised", "counted"),
    [
        (died("The actor died because its node has died. Node Id: 0a1b"), False),
        (ActorUnavailableError("rpc failed", bytes(16)), False),
        (died("The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR"), True),
        (told(ValueError("The actor died because its node has died.")), True),
        (ActorDiedError(RayTaskError("init", "because its node has died", ValueError(), actor_id="ab")), True),
    ],
    ids=["node", "unreachable", "process", "user's words", "user's words at the start"],
)
def test_the_loss_of_a_node_is_no_fault_of_the_trials(raised: Exception, counted: bool) -> None:
    referee = FakeReferee()
    adapter_for(referee).on_trial_error(None, stay(raised=raised))
    ((_, error, fault, was_counted, _),) = referee.told
    assert (fault, was_counted) == ("user", counted)
    assert error


@pytest.mark.parametrize(
    ("fault", "error"), [("storage", StorageError("full", "/disk")), ("mistake", ModelError("no fit"))]
)
def test_whose_fault_it_is_arrives_as_data(fault: str, error: Exception) -> None:
    referee = FakeReferee()
    adapter_for(referee).on_trial_error(None, stay(raised=told(error)))
    ((_, text, *rest),) = referee.told
    assert rest == [fault, True, False]
    assert text.strip().endswith(str(error))


def test_the_worker_of_a_trial_that_hangs_is_killed_and_nobody_elses(monkeypatch: pytest.MonkeyPatch) -> None:
    killed: list[str] = []
    monkeypatch.setattr(ray, "kill", killed.append)
    no_actor_yet = stay("t3")
    no_actor_yet.temporary_state.ray_actor = None
    trials = [stay("t0"), stay("t1"), stay("t2", status=Trial.PENDING), no_actor_yet]
    controller = controller_with(get_live_trials=lambda: trials)
    assert adapter_for(FakeReferee(overdue=["t1", "t2", "t3"])).choose_trial_to_run(controller) is None
    assert killed == ["actor of t1"]
    assert adapter_for(FakeReferee()).choose_trial_to_run(controller) is None
    assert killed == ["actor of t1"]


def test_the_error_is_what_python_would_have_printed() -> None:
    with pytest.raises(RuntimeError) as caught:
        _raise_twice()
    referee = FakeReferee()
    adapter_for(referee).on_trial_error(None, stay(raised=told(caught.value)))
    ((_, text, *_),) = referee.told
    assert text.startswith("Traceback (most recent call last):\n  File ")
    assert "no # 1" in text
    assert text.endswith("RuntimeError: no # 2\n")


def _raise_twice() -> None:
    try:
        raise ValueError("no # 1")
    except ValueError as error:
        raise RuntimeError("no # 2") from error


def test_what_tunes_own_code_raises_in_a_worker_has_no_colours() -> None:
    referee = FakeReferee()
    adapter_for(referee).on_trial_error(None, stay(raised=RuntimeError("\x1b[36mray::train()\x1b[39m (pid=7)")))
    assert referee.told == [("t0", "ray::train() (pid=7)", "user", True, False)]
