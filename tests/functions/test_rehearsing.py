"""What `check` finds out about a function before a sweep."""

from typing import Any

import pytest
from own_functions import QUADRATIC

from tlsweep.errors import FunctionError
from tlsweep.functions.rehearsing import FunctionRehearsal, rehearse_function
from tlsweep.functions.states import load_state
from tlsweep.functions.trial import Terms
from tlsweep.planning.function_plan import make_function_plan
from tlsweep.spec import FunctionSpec, load_spec
from tlsweep.training import Compute

VALUES: dict[str, Any] = {"lr": 0.05, "batch_size": 16}


def rehearse(function: str, other_lr: float | None = 0.02) -> FunctionRehearsal:
    terms = Terms(f"own_functions:{function}", 9, "distance")
    share: Any = None
    return rehearse_function(terms, VALUES, other_lr, 0, share, Compute("cpu", threads=1))


def test_a_sound_function_passes_and_says_what_it_costs() -> None:
    found = rehearse("applies_lr")
    assert found.steps_seen
    assert list(found.metrics) == ["distance"]
    assert load_state(found.state).epoch == 1


@pytest.mark.parametrize("function", ["applies_lr_too_early", "never_applies_lr"])
def test_an_optimizer_that_keeps_its_old_lr_is_found_out(function: str) -> None:
    """What ray#36660, #54755 and #62173 are about: PBT seems to run, and mutates nothing."""
    with pytest.raises(FunctionError) as error:
        rehearse(function)
    assert "with lr 0.02 in place of 0.05 the optimizer still takes its first step after a restore with 0.05" in str(
        error.value
    )
    assert "\n" not in str(error.value)
    assert rehearse(function, other_lr=None).steps_seen  # where lr is a constant there is nothing to find


@pytest.mark.parametrize("function", ["keeps_no_momentum", "draws_from_elsewhere"])
def test_a_state_from_which_another_report_follows_is_found_out(function: str) -> None:
    with pytest.raises(FunctionError, match="from a restored state epoch 2 has distance"):
        rehearse(function)


def test_a_function_that_returns_unasked_is_found_out() -> None:
    with pytest.raises(FunctionError, match="it returned without a report"):
        rehearse("reports_nothing")


def test_of_a_function_without_an_optimizer_of_torch_nobody_knows() -> None:
    assert not rehearse("without_an_optimizer").steps_seen


def test_the_plan_counts_what_a_sweep_takes(tmp_path: Any) -> None:
    spec = load_spec(QUADRATIC)
    assert isinstance(spec, FunctionSpec)
    plan = make_function_plan(spec, results=tmp_path)
    assert (plan.function, plan.reports, plan.trials) == ("own_functions:quadratic", ("distance",), 9)
    assert plan.epochs_at_most == 81
    assert plan.seconds_at_most == pytest.approx(81 * plan.seconds_per_epoch / plan.slots)
    assert plan.lr.startswith("a changed lr reaches")
    assert plan.tests is None


def test_what_finalises_a_sweep_is_called_before_one(tmp_path: Any) -> None:
    spec = load_spec({**QUADRATIC, "finalise": "own_functions:measures_quadratic"})
    assert isinstance(spec, FunctionSpec)
    assert make_function_plan(spec, results=tmp_path).tests == ("distance", "scale_of_it", "unknown")
    broken = load_spec({**QUADRATIC, "finalise": "own_functions:finalises_to_text"})
    assert isinstance(broken, FunctionSpec)
    with pytest.raises(FunctionError, match="a metric is one number"):
        make_function_plan(broken, results=tmp_path)


def test_what_is_no_metric_of_the_network_may_change_after_a_restore() -> None:
    assert rehearse("measures_time", other_lr=None).moved == ("seconds",)


def test_of_several_groups_those_that_keep_their_lr_are_counted() -> None:
    assert rehearse("applies_lr").kept_lr == (0, 1)
    assert rehearse("applies_lr_to_one_of_two").kept_lr == (1, 2)
