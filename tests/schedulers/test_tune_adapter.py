"""The adapter carries out decisions on Tune, and tells the referee what Tune does by itself."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler

from tlsweep.schedulers.tune_adapter import TuneAdapter, error_text, ours


class FakeReferee:
    """Decides as it is told, and remembers what it was told."""

    def __init__(self, *, goes_on: bool = True, overdue: Sequence[str] = ()) -> None:
        self.goes_on, self.late = goes_on, list(overdue)
        self.told: list[Any] = []

    def observe(self, row: Mapping[str, Any], *, leaving: bool = False) -> bool:
        self.told.append((row["epoch"], leaving))
        return self.goes_on and not leaving

    def failed(self, trial: str, error: str, *, counted: bool = True, keeps_place: bool = False) -> None:
        self.told.append((trial, error, counted, keeps_place))

    def returned(self, trial: str) -> None:
        self.told.append(f"{trial} returned")

    def assignment(self, trial: str) -> Any:
        return SimpleNamespace(to_config=lambda: {"trial": trial, "trail": "now"})

    def overdue(self) -> list[str]:
        return self.late


class FakePlaces:
    """So many slots; some nodes leave."""

    def __init__(self, slots: int = 2, leaves: str = "") -> None:
        self.slots, self.leaves, self.looks = slots, leaves, 0

    def look(self) -> None:
        self.looks += 1

    def leaving(self, node: str) -> bool:
        return node == self.leaves


def adapter_for(referee: FakeReferee, places: FakePlaces | None = None) -> TuneAdapter:
    return TuneAdapter(referee, places or FakePlaces(), "digits")


def controller_with(**more: Any) -> Any:
    """As much of Tune's controller as the adapter touches; no worker is idle, unless told otherwise."""
    actors = SimpleNamespace(_live_actors_to_ray_actors_resources={})
    cache = SimpleNamespace(_cached_objects={}, _num_cached_objects=0, increase_max=lambda resources, by: None)
    return SimpleNamespace(**{"_actor_cache": cache, "_class_cache": None, "_actor_manager": actors} | more)


class FakeTrial(SimpleNamespace):
    def set_config(self, config: dict[str, Any]) -> None:
        self.config = config


def stay(name: str = "t0", status: str = Trial.RUNNING, *, recovers: bool = False, error: Path | None = None) -> Any:
    """One of Tune's trials, which is the second stay of one of ours."""
    return FakeTrial(
        trial_id=f"{name}_2", status=status, config={"trial": name, "trail": "as of its start"},
        error_file=str(error or "/nowhere/error.txt"), should_recover=lambda: recovers,
        placement_group_factory="resources", temporary_state=SimpleNamespace(ray_actor=f"actor of {name}"),
    )  # fmt: skip


@pytest.mark.parametrize(("goes_on", "answer"), [(True, TrialScheduler.CONTINUE), (False, TrialScheduler.STOP)])
def test_a_worker_goes_on_or_gives_up_its_place(goes_on: bool, answer: str) -> None:
    referee = FakeReferee(goes_on=goes_on)
    assert adapter_for(referee).on_trial_result(None, stay(), {"epoch": 1, "node": "n"}) == answer
    assert referee.told == [(1, False)]


def test_a_stay_is_told_of_by_the_name_of_our_trial() -> None:
    referee = FakeReferee()
    adapter = adapter_for(referee)
    adapter.on_trial_complete(None, stay("t7"), {})
    adapter.on_trial_remove(None, stay("t8"))
    assert referee.told == ["t7 returned", "t8 returned"]
    assert ours(stay("t7")) == "t7"


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
    assert adapter.on_trial_result(controller, stay("t1"), {"epoch": 4, "node": "n1"}) == TrialScheduler.CONTINUE
    assert adapter.on_trial_result(controller, stay("t0"), {"epoch": 5, "node": "n0"}) == TrialScheduler.STOP
    assert referee.told == [(4, False), (5, True)]
    adapter.choose_trial_to_run(controller)
    assert (removed, places.looks) == (["there"], 1)
    assert controller._actor_cache._cached_objects["resources"] == [elsewhere, new]
    assert controller._actor_cache._num_cached_objects == 2


def test_each_worker_has_a_name_of_its_own_and_is_otherwise_as_tune_made_it() -> None:
    made = SimpleNamespace(_default_options={"runtime_env": {"env_vars": {}}}, modified_class="ours")
    controller = controller_with(_class_cache=SimpleNamespace(get=lambda trainable: made))
    adapter = adapter_for(FakeReferee())
    for _ in range(2):
        adapter.on_trial_add(controller, stay())
    workers = [controller._class_cache.get("ours") for _ in range(2)]
    assert [one._default_options["name"] for one in workers] == ["digits worker 1", "digits worker 2"]
    assert [one.modified_class for one in workers] == ["ours", "ours"]
    assert made._default_options == {"runtime_env": {"env_vars": {}}}


def test_an_error_is_a_failure_that_counts() -> None:
    referee, broken = FakeReferee(), stay()
    adapter_for(referee).on_trial_error(None, broken)
    assert referee.told == [("t0", "the worker died without a traceback", True, False)]
    assert broken.config["trail"] == "as of its start"


def test_a_trial_that_tune_runs_again_goes_on_from_its_last_checkpoint() -> None:
    referee, preempted = FakeReferee(), stay(status=Trial.ERROR, recovers=True)
    adapter_for(referee).on_trial_error(None, preempted)
    assert referee.told == [("t0", "the worker died without a traceback", False, True)]
    assert preempted.config == {"trial": "t0", "trail": "now"}  # not from where this stay began


@pytest.mark.parametrize(
    ("last_line", "counted"),
    [
        ("ValueError: no # 1", True),
        ("The actor is dead because its node has died. Node Id: 0a1b", False),
        ("ValueError: a node of the graph has died, dead is the node", True),
        ("The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR", True),
    ],
)
def test_the_loss_of_a_node_is_no_fault_of_the_trials(tmp_path: Path, last_line: str, counted: bool) -> None:
    file, referee = tmp_path / "error.txt", FakeReferee()
    file.write_text(last_line)
    adapter_for(referee).on_trial_error(None, stay(error=file))
    assert referee.told == [("t0", last_line, counted, False)]


def test_the_worker_of_a_trial_that_hangs_is_killed_and_nobody_elses(monkeypatch: pytest.MonkeyPatch) -> None:
    killed: list[str] = []
    monkeypatch.setattr(ray, "kill", killed.append)
    no_actor_yet = stay("t3")
    no_actor_yet.temporary_state.ray_actor = None
    trials = [stay("t0"), stay("t1"), stay("t2", Trial.PENDING), no_actor_yet]
    controller = controller_with(get_live_trials=lambda: trials)
    assert adapter_for(FakeReferee(overdue=["t1", "t2", "t3"])).choose_trial_to_run(controller) is None
    assert killed == ["actor of t1"]
    assert adapter_for(FakeReferee()).choose_trial_to_run(controller) is None
    assert killed == ["actor of t1"]


def test_the_error_is_what_python_would_have_printed(tmp_path: Path) -> None:
    file = tmp_path / "error.txt"
    head = "\x1b[36mray::ImplicitFunc.train()\x1b[39m (pid=7, ip=192.0.2.2, actor_id=ab, repr=tlsweep_trial)"
    frames = '  File "own.py", line 3, in net\n    raise ValueError("no # 1")\nValueError: no # 1\n'
    file.write_text(f"Failure # 1 (occurred at 2026-01-01_00-00-00)\n{head}\n{frames}")
    assert error_text(stay(error=file)) == f"Traceback (most recent call last):\n{frames}"
    nothing: Any = SimpleNamespace(error_file=None)
    assert error_text(nothing) == "the worker died without a traceback"
