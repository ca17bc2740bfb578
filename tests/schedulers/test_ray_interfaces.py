"""Every private interface of Ray Tune that tlsweep leans on, by name: an upgrade fails here, not in a sweep."""

import inspect

from ray.tune.execution.tune_controller import TuneController, _get_max_pending_trials
from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import SearchAlgorithm


def parameters(function: object) -> list[str]:
    return list(inspect.signature(function).parameters)  # type: ignore[arg-type]


def test_the_controller_pauses_without_a_save() -> None:
    assert "should_checkpoint" in parameters(TuneController.pause_trial)
    source = inspect.getsource(TuneController._schedule_trial_pause)
    assert "_set_trial_status(trial, Trial.PAUSED)" in source


def test_the_wrapped_controller_offers_what_the_adapter_calls() -> None:
    source = inspect.getsource(TuneController._wrapped)
    for name in ("get_live_trials", "pause_trial"):
        assert f'"{name}"' in source


def test_an_actor_is_kept_only_while_the_search_goes_on() -> None:
    """Why TrialQueue.is_finished waits for the last member of a population."""
    source = inspect.getsource(TuneController._maybe_cache_trial_actor)
    assert "self._search_alg.is_finished() and not self._staged_trials" in source


def test_results_meet_the_stopper_then_the_scheduler_then_the_callbacks() -> None:
    source = inspect.getsource(TuneController._process_trial_result)
    order = ["self._stopper(", "self._scheduler_alg.on_trial_result", "self._callbacks.on_trial_result"]
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


def test_a_token_is_sent_where_there_is_one_and_running_clusters_are_found() -> None:
    from ray._private.authentication.authentication_token_setup import maybe_enable_token_auth_if_token_available
    from ray._private.services import canonicalize_bootstrap_address

    assert parameters(maybe_enable_token_auth_if_token_available) == ["warn_if_disabled"]
    assert parameters(canonicalize_bootstrap_address) == ["addr", "temp_dir"]


def test_the_number_of_waiting_requests_is_ours_to_set() -> None:
    assert "TUNE_MAX_PENDING_TRIALS_PG" in inspect.getsource(_get_max_pending_trials)
