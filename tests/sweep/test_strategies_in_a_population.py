"""A population whose members differ in strategy and optimizer: lr and batch size of each epoch follow from the log."""

import json
from pathlib import Path
from typing import Any, get_args

import pandas as pd
import pytest
from completeness import assert_complete

from tlsweep.spec import Hyperparameters, load_spec
from tlsweep.store import Results
from tlsweep.sweep import launch

EPOCHS = 8
SPEC: dict[str, Any] = {
    "data": {"source": "digits", "labels_per_class": 5},
    "model": {"name": "mlp", "args": {"hidden": [16]}},
    "train": {
        "epochs": EPOCHS,
        "optimizer": {"choice": ["adam", "schedule_free_adamw", "prodigy"]},
        "lr": {"loguniform": [1e-3, 1e-1]},
        "batch_size": {"powers_of_two": [4, 16]},
        "lr_schedule": {"choice": list(get_args(Hyperparameters.model_fields["lr_schedule"].annotation))},
        "lr_patience": 0,
        "lr_gamma": {"uniform": [0.5, 0.9]},
        "decay_by": "batch_size",
        "batch_size_limit": 40,
    },
    "search": {
        "strategy": "pbt", "population": 8, "interval": 1, "quantile": 0.5,
        "mutate": ["lr", "batch_size", "lr_schedule", "lr_gamma"],
    },
}  # fmt: skip


def ancestry(reports: pd.DataFrame, begins: dict[tuple[str, int], dict[str, Any]], row: Any) -> list[Any]:
    """The reports that led to a report's weights, the first epoch first, itself last."""
    found, (trial, generation, epoch) = [row], (row.trial, row.generation, row.epoch - 1)
    while epoch:
        if generation and epoch == begins[trial, generation]["donor_epoch"]:
            begun = begins[trial, generation]
            trial, generation = begun["donor"], begun["donor_generation"]
            continue
        one = reports[(reports.trial == trial) & (reports.generation == generation) & (reports.epoch == epoch)]
        found.append(next(one.itertuples()))
        epoch -= 1
    return found[::-1]


def in_force(row: Any) -> dict[str, Any]:
    """The hyperparameters of a report; pandas reads null, what is left as the network has it, as NaN."""
    values = {name: getattr(row, name) for name in Hyperparameters.model_fields}
    return {name: None if pd.isna(value) else value for name, value in values.items()}


def scheduled(line: list[Any], samples: int) -> tuple[float, int]:
    """lr at the last step, and batch size, of the last report of a line, from the losses and values of the others."""
    from tlsweep.data.batches import batch_bounds
    from tlsweep.training.optimization.trial_schedule import TrialSchedule

    state: dict[str, Any] = {}
    for row in line:
        strategy = TrialSchedule(Hyperparameters.model_validate(in_force(row)), EPOCHS, samples)
        strategy.restore(state)
        batch = strategy.batch_size(row.epoch - 1)
        start, end = batch_bounds(samples, batch)[-1]
        lr = strategy.lr(((row.epoch - 1) * samples + start) / samples, (end - start) / samples, batch)
        strategy.observe(row.epoch, row.val_loss)
        state = strategy.state()
    return lr, batch


@pytest.mark.slow
def test_lr_and_batch_size_are_the_strategys_on_the_mutated_base(ray_address: str, tmp_path: Path) -> None:
    results: Results = launch(load_spec(SPEC), results=tmp_path, address=ray_address)
    reports, events = assert_complete(results), results.to_pandas("events")
    assert set(results.to_pandas("trials").status) == {"finished"}
    exploits = events[events.kind == "exploited"]
    begins = {(row.trial, row.generation): json.loads(row.details) for row in exploits.itertuples()}
    assert len(begins) > 5
    for row in reports.itertuples():
        assert (row.scheduled_lr, row.scheduled_batch_size) == scheduled(ancestry(reports, begins, row), samples=50)
        if row.generation:
            told = begins[row.trial, row.generation]["hyperparameters"]
            assert in_force(row) == {name: told[name] for name in Hyperparameters.model_fields}
    assert reports.lr_schedule.nunique() > 4
    assert (reports.scheduled_batch_size > reports.batch_size).any()
    perturbed = events[events.kind == "perturbed"].details
    assert any("lr_schedule" in details for details in perturbed)
