"""What a function is given, and what it is told when it breaks the contract."""

import io
import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import own_functions
import pytest
import torch
from own_functions import QUADRATIC

from tlsweep.errors import FunctionError
from tlsweep.functions import FunctionReport, Trial, find_function, run_function
from tlsweep.functions.sharing import shared
from tlsweep.functions.states import load_state
from tlsweep.functions.trial import Terms
from tlsweep.spec import FunctionSpec, load_spec
from tlsweep.store.tables.own import reserved_for_metrics
from tlsweep.training import Compute

VALUES = {"lr": 0.05, "batch_size": 16, "momentum": 0.5, "scale": 1.0, "form": "a"}
Row = dict[str, Any]


def run(
    function: str | Callable[[Trial], None],
    tmp_path: Path,
    *,
    epochs: int = 4,
    resume: bytes | None = None,
    values: Row = VALUES,
    patch: pytest.MonkeyPatch | None = None,
) -> tuple[list[FunctionReport], list[bytes]]:
    """Run a function of `own_functions`, or this one; its reports, and its state after each."""
    if not isinstance(function, str):
        assert patch is not None
        patch.setattr(own_functions, "written_here", function, raising=False)
        function = "written_here"
    spec = load_spec(QUADRATIC)
    assert isinstance(spec, FunctionSpec)
    rows: list[FunctionReport] = []
    states: list[bytes] = []

    def report(row: FunctionReport, snapshot: Callable[[], Callable[[], bytes]]) -> None:
        rows.append(row)
        states.append(snapshot()())

    run_function(
        Terms(f"own_functions:{function}", epochs, "distance", reserved_for_metrics(spec)),
        values,
        7,
        report=report,
        share=lambda name, make: shared(tmp_path / "shared" / "token", name, make),
        resume=resume,
        compute=Compute("cpu", threads=1),
    )
    return rows, states


BROKEN = {
    "ends_the_process": "it called sys.exit(3); return, or raise",
    "reports_nothing": "it returned without a report; loop over trial.epochs()",
    "forgets_an_epoch": "epoch 2 ended without a report",
    "reports_twice": "epoch 2 is reported already; call it once in each turn",
    "reports_before_an_epoch": "no epoch has begun",
    "sets_a_value": "trial.values.lr cannot be set",
    "reads_an_unknown_value": "there are lr, batch_size, momentum, scale, form: take one of them, or add it to space",
    "shares_by_a_path": "a name has letters",
    "no_state": "has no state, from which the trial would go on",
    "swallows_what_is_wrong": "lacks distance, which search.metric compares",
    "name_with_a_slash": "trial.report(val/f1=…): a metric's name has letters, digits and _ only",
    "no_metric": "lacks distance, which search.metric compares; it has val_loss",
    "text_for_a_number": "trial.report(distance=…) is 'low'; a metric is one number",
    "true_for_a_number": "is True; a metric is one number",
    "several_for_a_number": "a metric is one number",
    "name_of_a_column": "every sweep has a column node that means something else",
    "name_of_a_hyperparameter": "trial.report(scale=…)",
    "state_is_no_mapping": "must be a mapping, or a function that returns one",
    "state_of_numpy": "state['rng']['state'][0] is a numpy.ndarray",
    "state_of_objects": "state['model'] is a torch.nn.modules.linear.Linear",
    "state_with_odd_keys": "state has the key (1, 2)",
}


@pytest.mark.parametrize(("function", "said"), BROKEN.items(), ids=BROKEN)
def test_what_breaks_the_contract_is_told_in_one_line(tmp_path: Path, function: str, said: str) -> None:
    with pytest.raises(FunctionError) as error:
        run(function, tmp_path)
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("own_function:digits", "there is no module 'own_function'"),
        ("__main__:digits", "no worker can import from the script or notebook that is run"),
        ("own_functions.py:digits", "is a file's name, and a module's is needed: write own_functions:digits"),
        ("own_functions:digit", "the module has no function 'digit'"),
        ("own_functions:not_callable", "'not_callable' is no function, but of type int"),
        ("own_functions:two_arguments", "it is called with a tlsweep.Trial and nothing else"),
    ],
)
def test_a_function_that_cannot_be_called_is_told_before_anything_starts(path: str, said: str) -> None:
    with pytest.raises(FunctionError) as error:
        find_function(path)
    assert said in str(error.value)


def test_what_a_module_raises_passes_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "imports_what_is_missing.py").write_text("import no_such_package\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="no_such_package"):
        find_function("imports_what_is_missing:train")


def test_a_state_that_is_not_restored_is_no_state_to_go_on_from(tmp_path: Path) -> None:
    _, states = run("quadratic", tmp_path)
    with pytest.raises(FunctionError, match="before trial.restore.*a state of epoch 2"):
        run("does_not_restore", tmp_path, resume=states[1])


@pytest.mark.parametrize("at", [1, 2, 3])
def test_going_on_from_a_state_gives_the_same_numbers_and_states(tmp_path: Path, at: int) -> None:
    """Also of what draws from the global generators of torch and numpy."""
    whole, states = run("quadratic", tmp_path)
    rest, later = run("quadratic", tmp_path, resume=states[at - 1])
    assert [(row.epoch, row.metrics) for row in rest] == [(row.epoch, row.metrics) for row in whole[at:]]
    assert later == states[at:]


def test_the_global_generators_are_as_before(tmp_path: Path) -> None:
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    run("quadratic", tmp_path)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1].tolist(), random.getstate()) == before[1:]


def test_a_state_is_a_copy_that_torch_reads_with_weights_only(tmp_path: Path) -> None:
    _, states = run("quadratic", tmp_path)
    weights = [load_state(content).content["weight"] for content in states]
    assert len({tuple(weight.tolist()) for weight in weights}) == len(states)
    read = torch.load(io.BytesIO(states[0]), weights_only=True)
    assert read["epoch"] == 1
    assert torch.equal(read["state"]["weight"], weights[0])


def test_a_generator_follows_from_its_name_and_the_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: dict[tuple[str, int], int] = {}

    def function(trial: Trial) -> None:
        trial.restore()
        for epoch in trial.epochs():
            for name in ("order", "noise"):
                first, second = (int(torch.randint(2**60, (1,), generator=trial.generator(name))) for _ in range(2))
                assert first != second
                known = drawn.setdefault((name, epoch), first)
                assert known == first
            trial.report(distance=0.0, state={})

    _, states = run(function, tmp_path, patch=monkeypatch)
    run(function, tmp_path, patch=monkeypatch, resume=states[1])
    assert len(set(drawn.values())) == 8


def test_the_lr_of_the_sweep_wins_over_what_the_optimizer_remembers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In each group times its `lr_scale`, and by what a scheduler has made of it so far."""
    seen: list[list[float]] = []

    def function(trial: Trial) -> None:
        weights = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
        groups = [{"params": [weights[0]]}, {"params": [weights[1]], "lr": trial.values.lr / 2, "lr_scale": 0.5}]
        optimizer = torch.optim.SGD(groups, lr=trial.values.lr)
        schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.1)
        if state := trial.restore():
            optimizer.load_state_dict(state["optimizer"])
            schedule.load_state_dict(state["schedule"])
        trial.apply_lr(optimizer, schedule)
        for _ in trial.epochs():
            seen.append([group["lr"] for group in optimizer.param_groups])
            optimizer.step()
            schedule.step()
            trial.report(
                distance=0.0,
                state=lambda: {"optimizer": optimizer.state_dict(), "schedule": schedule.state_dict()},
            )

    _, states = run(function, tmp_path, epochs=3, patch=monkeypatch)
    first, seen[:] = seen.copy(), []
    run(function, tmp_path, epochs=3, patch=monkeypatch, resume=states[0], values={**VALUES, "lr": 0.5})
    assert first == [pytest.approx([0.05 * factor, 0.025 * factor]) for factor in (1, 0.1, 0.01)]
    assert seen == [pytest.approx([0.5 * factor, 0.25 * factor]) for factor in (0.1, 0.01)]


def test_metrics_may_be_tensors_and_numbers_of_numpy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def function(trial: Trial) -> None:
        for _ in trial.epochs():
            trial.report(distance=torch.tensor([0.5]), other=np.float32(0.25), count=3, state={})

    rows, _ = run(function, tmp_path, epochs=1, patch=monkeypatch)
    assert rows[0].metrics == {"distance": 0.5, "other": 0.25, "count": 3.0}


def test_a_bare_except_does_not_hold_up_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    turns: list[int] = []

    def function(trial: Trial) -> None:
        for epoch in trial.epochs():
            turns.append(epoch)
            with suppress(BaseException):
                trial.report(distance=0.0, state={"epoch": object()})

    with pytest.raises(FunctionError, match="object"):
        run(function, tmp_path, patch=monkeypatch)
    assert turns == [1]


def test_values_are_a_mapping_that_may_be_asked_for_what_it_lacks(tmp_path: Path) -> None:
    assert len(run("asks_for_what_may_not_be", tmp_path, epochs=1)[0]) == 1


def test_one_that_goes_on_may_find_that_it_has_enough(tmp_path: Path) -> None:
    """A count in its own state: it returns at once where it goes on from there, as it would have without a pause."""
    rows, states = run("has_enough", tmp_path, epochs=9)
    assert len(rows) == 3
    assert run("has_enough", tmp_path, epochs=9, resume=states[-1])[0] == []
