"""Every private interface of Ray Tune that tlsweep leans on, by name: an upgrade fails here, not in a sweep."""

import inspect
from pathlib import Path

import ray
from ray import tune
from ray.air._internal import usage
from ray.air.execution._internal.actor_manager import RayActorManager
from ray.air.execution._internal.tracked_actor import TrackedActor
from ray.train._internal.session import _TrainSession
from ray.tune.execution.class_cache import DEFAULT_ENV_VARS, ENV_VARS_TO_PROPAGATE, _ActorClassCache
from ray.tune.execution.tune_controller import TrialRunnerWrapper, TuneController, _get_max_pending_trials
from ray.tune.experiment import Trial
from ray.tune.progress_reporter import JupyterNotebookReporter
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import SearchAlgorithm
from ray.tune.trainable import FunctionTrainable
from ray.tune.utils.object_cache import _ObjectCache

from tlsweep.cluster import lean_ray


def parameters(function: object) -> list[str]:
    """The names of a function's parameters, but for the one that Ray gives to methods of a class that becomes an actor:
    whether one did in this process depends on the tests before."""
    return [name for name in inspect.signature(function).parameters if name != "_ray_trace_ctx"]  # type: ignore[arg-type]


def test_parameters_are_the_same_once_the_class_is_an_actor() -> None:
    class Method:
        def execute(self, fn: object) -> None: ...

    ray.remote(Method)
    assert "_ray_trace_ctx" in inspect.signature(Method.execute).parameters
    assert parameters(Method.execute) == ["self", "fn"]


def test_idle_actors_are_kept_as_many_as_we_say() -> None:
    cache = _ObjectCache(may_keep_one=True)
    cache.increase_max("resources", 2)
    assert [cache.cache_object("resources", actor) for actor in "abc"] == [True, True, False]
    assert list(cache.flush_cached_objects()) == []
    assert "self._actor_cache = _ObjectCache(" in inspect.getsource(TuneController.__init__)
    cache._cached_objects["resources"].remove("b")  # what the adapter does with a worker of a node that leaves
    cache._num_cached_objects -= 1
    assert [cache.pop_cached_object("resources"), cache.pop_cached_object("resources")] == ["a", None]
    assert cache.num_cached_objects == 0


def test_callbacks_are_counted_by_a_function_that_can_be_left_out() -> None:
    assert parameters(usage.tag_callbacks) == ["callbacks"]
    assert "air_usage.tag_callbacks(callbacks)" in inspect.getsource(tune.run)
    assert "from ray.air._internal import usage as air_usage" in inspect.getsource(inspect.getmodule(tune.run))  # type: ignore[arg-type]


def test_an_idle_worker_can_be_sent_away_and_leads_to_its_ray_actor() -> None:
    assert parameters(TuneController._remove_actor) == ["self", "tracked_actor"]
    assert {"set_on_stop", "set_on_error"} <= set(vars(TrackedActor))
    source = inspect.getsource(RayActorManager._try_start_actors)
    assert "self._live_actors_to_ray_actors_resources[tracked_actor] = (" in source
    step = inspect.getsource(TuneController._maybe_add_actors)
    assert step.index("choose_trial_to_run") < step.index("_maybe_reuse_cached_actor")


def test_a_call_that_was_answered_is_held_until_we_let_it_go() -> None:
    source = inspect.getsource(RayActorManager._schedule_tracked_actor_task)
    assert "self._tracked_actors_to_task_futures[tracked_actor].add(future)" in source
    assert "_tracked_actors_to_task_futures" not in inspect.getsource(RayActorManager._actor_task_resolved)
    assert parameters(RayActorManager.clear_actor_task_futures) == ["self", "tracked_actor"]
    assert "tracked_actor = self._trial_to_actor[trial]" in inspect.getsource(TuneController._schedule_trial_task)


def test_workers_are_made_from_a_class_that_can_be_given_a_name() -> None:
    assert "self._class_cache = _ActorClassCache()" in inspect.getsource(TuneController.__init__)
    assert "self._class_cache.get(trainable_cls)" in inspect.getsource(TuneController._schedule_trial_actor)
    source = inspect.getsource(_ActorClassCache.get)
    assert "ray.remote(runtime_env=runtime_env)(trainable_cls)" in source
    assert 'runtime_env = {"env_vars": env_vars}' in source
    assert "AWS_ACCESS_KEY_ID" in ENV_VARS_TO_PROPAGATE
    assert isinstance(DEFAULT_ENV_VARS, dict)


def test_the_head_tells_which_nodes_are_leaving_and_which_may_come() -> None:
    from ray._private.state import GlobalState
    from ray.core.generated import autoscaler_pb2

    assert parameters(GlobalState.get_draining_nodes) == parameters(GlobalState.get_cluster_config) == ["self"]
    assert {"resources", "max_count", "name"} <= set(autoscaler_pb2.NodeGroupConfig.DESCRIPTOR.fields_by_name)


def test_a_notebook_is_left_alone_by_a_reporter_that_tune_is_given() -> None:
    assert 'self.display("")' in inspect.getsource(JupyterNotebookReporter.__init__)  # else it need be given none
    source = inspect.getsource(tune.run)
    assert "progress_reporter = progress_reporter or _detect_reporter(" in source
    assert "if air_verbosity is not None and IS_NOTEBOOK:" in source


def test_the_wrapped_controller_offers_what_the_adapter_calls() -> None:
    assert '"get_live_trials"' in inspect.getsource(TuneController._wrapped)
    assert "self._tune_controller = tune_controller" in inspect.getsource(TrialRunnerWrapper.__init__)


def test_a_worker_can_be_told_something_before_the_answer_to_its_report() -> None:
    """The call goes to the actor that trains, which carries out calls of the driver in their order."""
    assert parameters(FunctionTrainable.execute) == ["self", "fn"]
    step = inspect.getsource(TuneController._process_trial_result)
    assert step.index("self._scheduler_alg.on_trial_result(") < step.index("decision == TrialScheduler.STOP")
    assert "self._schedule_trial_train(trial)" in inspect.getsource(TuneController._execute_action)
    # What the training waits for after a report is let go by the next call to `train`, and by nothing else.
    assert "self.continue_lock.release()" in inspect.getsource(_TrainSession.get_next)
    assert "self.continue_lock.acquire()" in inspect.getsource(_TrainSession._report_training_result)


def test_a_running_trial_names_its_actor() -> None:
    trial = Trial("stub", stub=True)
    assert trial.temporary_state.ray_actor is None
    assert "set_ray_actor" in inspect.getsource(TuneController._actor_started)


def test_the_queue_is_asked_in_each_step_and_nothing_blocks_while_something_runs() -> None:
    """Why a trial can be handed over the moment that a place is free."""
    assert "self._maybe_update_trial_queue()" in inspect.getsource(TuneController.step)
    assert "self._actor_manager.next(timeout=0.1)" in inspect.getsource(TuneController.step)
    source = inspect.getsource(TuneController._maybe_update_trial_queue)
    assert "dont_wait_for_trial = (" in source
    assert "blocking=not dont_wait_for_trial" in source
    assert "self._search_alg.next_trial()" in inspect.getsource(TuneController._update_trial_queue)


def test_the_actor_of_a_stopped_trial_is_kept_while_the_search_goes_on() -> None:
    """Why TrialQueue.is_finished asks whether somebody could use a place."""
    source = inspect.getsource(TuneController._maybe_cache_trial_actor)
    assert "self._search_alg.is_finished() and not self._staged_trials" in source
    assert "self._maybe_cache_trial_actor(trial)" in inspect.getsource(TuneController._schedule_trial_stop)


def test_a_halt_of_the_whole_run_says_nothing_to_the_scheduler() -> None:
    """Else trials that were halted would seem to have returned early."""
    for function in (TuneController._stop_experiment_if_needed, TuneController._schedule_trial_stop):
        assert "_scheduler_alg" not in inspect.getsource(function)


def test_results_meet_the_stopper_then_the_scheduler_then_the_callbacks() -> None:
    source = inspect.getsource(TuneController._process_trial_result)
    order = ["self._stopper(", "self._scheduler_alg.on_trial_result", "self._callbacks.on_trial_result"]
    order += ["trial.update_last_result("]  # which keeps what callbacks have left
    positions = [source.index(call) for call in order]
    assert positions == sorted(positions)


def test_a_trial_takes_our_id_config_and_resources() -> None:
    wanted = {"config", "trial_id", "storage", "placement_group_factory", "experiment_tag", "trial_dirname_creator"}
    assert wanted <= set(parameters(Trial.__init__))
    assert hasattr(Trial, "set_config")
    assert isinstance(inspect.getattr_static(Trial, "error_file"), property)


def test_a_trial_whose_node_was_preempted_is_announced_as_an_error_and_run_again() -> None:
    assert "self._scheduler_alg.on_trial_error" in inspect.getsource(TuneController._requeue_trial)
    assert "trial.should_recover()" in inspect.getsource(TuneController._process_trial_failure)
    failure = inspect.getsource(TuneController._process_trial_failure)
    assert failure.index("trial.handle_error(exception)") < failure.index("on_trial_error")
    assert "if not exc.preempted" in inspect.getsource(Trial._handle_ray_actor_error)


def test_the_interfaces_that_we_implement_have_not_grown() -> None:
    assert {name for name in vars(TrialScheduler) if not name.startswith("_")} == {
        "CONTINUE", "PAUSE", "STOP", "NOOP", "metric", "set_search_properties", "on_trial_add", "on_trial_error",
        "on_trial_result", "on_trial_complete", "on_trial_remove", "choose_trial_to_run", "debug_string", "save",
        "restore", "supports_buffered_results",
    }  # fmt: skip
    assert {name for name in vars(SearchAlgorithm) if not name.startswith("_")} == {
        "metric", "set_search_properties", "total_samples", "add_configurations", "next_trial", "on_trial_result",
        "on_trial_complete", "is_finished", "set_finished", "has_checkpoint", "save_to_dir", "restore_from_dir",
    }  # fmt: skip


def test_a_private_ray_can_be_ended_at_once() -> None:
    from ray._private import worker
    from ray._private.node import Node

    assert hasattr(worker, "_global_node")
    assert {"is_head", "kill_all_processes"} <= set(vars(Node))
    assert "self.all_processes" in inspect.getsource(Node.__init__)
    assert {"check_alive", "allow_graceful"} <= set(parameters(Node.kill_all_processes))


def test_a_private_ray_can_do_without_processes() -> None:
    from ray._private import services, worker
    from ray._private.node import Node
    from ray._private.parameter import RayParams

    assert {"no_monitor", "include_log_monitor"} <= set(parameters(RayParams))
    assert "ray._private.parameter.RayParams(" in inspect.getsource(worker.init)
    assert "self.start_api_server(" in inspect.getsource(Node.start_head_processes)
    assert parameters(services.start_ray_process)[:2] == ["command", "process_type"]
    raylet = inspect.getsource(services.start_raylet)
    assert "start_ray_process(\n        command,\n        ray_constants.PROCESS_TYPE_RAYLET" in raylet
    assert '"--num_prestart_python_workers={}"' in raylet
    assert "ray._private.utils.get_dashboard_dependency_error()" in raylet


def test_a_private_ray_can_do_without_agents() -> None:
    """They are stood in for: what a raylet waits for are files with their ports, -1 where there is no service."""
    from ray import _raylet
    from ray._private import services
    from ray.dashboard.agent import DashboardAgent

    raylet = inspect.getsource(services.start_raylet)
    assert all(f'"--{kind}_agent_command={{}}"' in raylet for kind in ("dashboard", "runtime_env"))
    assert all(f'f"--{name}={{{name}}}"' in raylet for name in ("session_dir", "node_id"))
    names = [name.partition("=")[0] for name in (*lean_ray._DASHBOARD_AGENT, *lean_ray._ENVIRONMENT_AGENT)]
    assert names == [
        _raylet.METRICS_AGENT_PORT_NAME, _raylet.METRICS_EXPORT_PORT_NAME, _raylet.DASHBOARD_AGENT_LISTEN_PORT_NAME,
        _raylet.RUNTIME_ENV_AGENT_PORT_NAME,
    ]  # fmt: skip
    assert "Write -1 to indicate the service is not in use" in inspect.getsource(DashboardAgent.__init__)


def test_a_worker_can_be_a_fork() -> None:
    """It runs this one program, behind one that only sets up a runtime environment."""
    from ray._private import services
    from ray._private.runtime_env.context import RuntimeEnvContext

    raylet = inspect.getsource(services.start_raylet)
    assert 'f"--python_worker_command={subprocess.list2cmdline(start_worker_command)}"' in raylet
    assert "setup_worker_path,\n        ]\n        + _site_flags()" in raylet
    assert "            worker_path,\n" in raylet
    workers = Path(services.RAY_PATH) / "_private" / "workers"
    assert '"--language"' not in (workers / "default_worker.py").read_text()
    assert all(f'"--{name}"' in (workers / "setup_worker.py").read_text() for name in (
        "language", "serialized-runtime-env-context",
    ))  # fmt: skip
    assert parameters(RuntimeEnvContext.exec_worker) == ["self", "passthrough_args", "language"]


def test_what_the_cluster_says_goes_through_one_function_of_the_worker_module() -> None:
    from ray._private import worker

    assert parameters(worker.print_to_stdstream)[0] == "data"
    source = inspect.getsource(worker.listen_error_messages)
    assert "print_to_stdstream(" in source
    assert '"lines": [error_message]' in source


def test_a_token_is_sent_where_there_is_one_and_running_clusters_are_found() -> None:
    from ray._common.network_utils import build_address
    from ray._common.utils import get_ray_address_file
    from ray._private.authentication.authentication_token_setup import maybe_enable_token_auth_if_token_available
    from ray._private.grpc_utils import init_grpc_channel
    from ray._private.services import resolve_ip_for_localhost
    from ray._raylet import AuthenticationTokenLoader  # type: ignore[attr-defined]
    from ray.core.generated.gcs_service_pb2_grpc import NodeInfoGcsServiceStub

    assert parameters(maybe_enable_token_auth_if_token_available) == ["warn_if_disabled"]
    assert parameters(get_ray_address_file) == ["temp_dir"]
    assert parameters(resolve_ip_for_localhost) == ["host"]
    assert build_address("10.0.0.1", 6379) == "10.0.0.1:6379"
    assert callable(AuthenticationTokenLoader.instance().reset_cache)
    assert hasattr(NodeInfoGcsServiceStub(init_grpc_channel("127.0.0.1:1")), "GetAllNodeInfo")


def test_a_private_ray_can_be_kept_on_loopback_and_told_from_others() -> None:
    from ray._private import ray_constants, services
    from ray._private.node import Node

    assert ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR == "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
    assert "ray_constants.ENABLE_RAY_CLUSTER" in inspect.getsource(services.get_node_ip_address)
    assert "_node_ip_address" in inspect.getsource(ray.init)
    assert "labels" in parameters(ray.init)
    assert isinstance(vars(Node)["node_labels"], property)


def test_the_number_of_waiting_requests_is_ours_to_set() -> None:
    assert "TUNE_MAX_PENDING_TRIALS_PG" in inspect.getsource(_get_max_pending_trials)
