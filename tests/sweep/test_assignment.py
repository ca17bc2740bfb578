"""What goes between a worker and the referee arrives whole."""

from dataclasses import fields
from typing import Any

import pytest
from ray._private.dict import flatten_dict

from tlsweep.schedulers import DecisionPoints
from tlsweep.store import StoredCheckpoint
from tlsweep.sweep.assignment import Assignment, Message, forget, from_result, to_result
from tlsweep.training.reports import ClientReport, EpochReport, RunReport

COMMON: dict[str, Any] = {
    "trial": "t0007", "epoch": 3, "node": "n", "checkpoint": "checkpoints/t0007/g0-e0003.pt", "digest": "0" * 64,
}  # fmt: skip


def test_an_assignment_is_what_the_worker_reads_from_its_trials_configuration() -> None:
    trail = (StoredCheckpoint("checkpoints/t0007/g0-e0002.pt", "1" * 64, 2),)
    given = Assignment("t0007", "main", 1, "t0001", 5, {"lr": 0.1, "batch_size": 8}, trail, {"cpu": 4},
                       DecisionPoints((3, 9), 4), (0.5, 0.25))  # fmt: skip
    assert Assignment.from_config(given.to_config()) == given


def test_a_message_is_what_the_referee_reads_among_tunes_own_results() -> None:
    sent = Message(**COMMON, figures={"val_loss": 0.5}, folds=[{"fold": 0}], passed_over=[{"path": "p", "reason": "r"}])
    result = {"training_iteration": 3, "config": {"trial": "t0007"}} | to_result([sent, sent])
    assert from_result(flatten_dict(result)) == [sent, sent]  # as Tune gives it to its scheduler
    assert list(sent.columns()) == ["trial", "epoch", "val_loss", "node"]


def test_tunes_own_results_stay_when_a_message_is_taken_out_of_them() -> None:
    own = {"training_iteration": 3, "done": True}
    result = own | to_result([Message(**COMMON, figures={})])
    for _ in range(2):  # the second time there is none, as where a function ends
        forget(result)
        assert result == own


def test_all_that_a_trial_measures_has_a_column() -> None:
    figures = {field.name: 0 for field in fields(EpochReport) if field.name not in ("epoch", "folds", "by_client")}
    parts = {"folds": RunReport, "by_client": ClientReport}
    message = Message(
        **COMMON, figures=figures, **{name: [{field.name: 0 for field in fields(kind)}] for name, kind in parts.items()}
    )
    assert message.columns().keys() >= figures.keys()


@pytest.mark.parametrize("figure", ["val_acuracy", "lr", "generation"])
def test_a_figure_that_no_column_takes_is_a_mistake_of_ours(figure: str) -> None:
    with pytest.raises(TypeError, match=f"figures that no column takes: {figure}$"):
        Message(**COMMON, figures={"val_loss": 0.5, figure: 1})
    with pytest.raises(TypeError, match=f"figures that no column takes: _{figure}$"):
        Message(**COMMON, figures={}, folds=[{"fold": 0, f"_{figure}": 1}])
    with pytest.raises(TypeError, match=f"figures that no column takes: _{figure}$"):
        Message(**COMMON, figures={}, by_client=[{"client": 0, f"_{figure}": 1}])
