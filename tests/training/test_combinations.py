"""Settings of training that nobody planned together: trials go on, take over others, and divide batches."""

import random
from typing import Any

import pytest
from training_trials import ONE_THREAD, SMALL_CNN, Recorder, without_times

from tlsweep.data import Task, load_task
from tlsweep.models import Weights
from tlsweep.spec import DigitsData, Hyperparameters, ModelSpec, TrainSettings
from tlsweep.training import Compute, EpochReport, Transfer, evaluate_runs, finetune, unpack
from tlsweep.training.checkpoint import load_checkpoint
from tlsweep.training.networks import new_network

BATCH_NORM = ModelSpec(name="training_networks:with_batch_norm")
SETTINGS: dict[str, tuple[Any, ...]] = {
    "loss": ("cross_entropy", "focal"),
    "class_weights": ("none", "balanced", {"3": 2.5}),
    "sampler": ("shuffle", "balanced"),
    "batch_norm": ("train", "frozen"),
    "noise_scale": (False, True),
    "precision": ("fp32", "bf16"),
}
HYPERPARAMETERS: dict[str, tuple[Any, ...]] = {
    "lr": (0.01, 0.03),
    "batch_size": (5, 8, 20),
    "optimizer": ("sgd", "adam", "schedule_free_adamw", "prodigy"),
    "ema": (0.0, 0.3, 0.9),
    "clip_norm": (0.0, 0.5),
    "dropout": (None, 0.0, 0.5),
    "label_smoothing": (0.0, 0.1),
    "focal_gamma": (0.5, 2.0),
    "lr_schedule": ("cosine", "wsd", "one_cycle", "plateau", "dynamic"),
    "decay_by": ("lr", "batch_size"),
    "freeze": ("nothing", "backbone", "gradual"),
    "layer_decay": (1.0, 0.75),
    "auto_augment": ("none", "trivial", "rand"),
    "rotation": (0.0, 20.0),
    "random_erasing": (0.0, 0.5),
    "mixup": (0.0, 0.2),
    "cutmix": (0.0, 1.0),
}


def drawn(draw: random.Random) -> Hyperparameters:
    """Any combination that a spec may have."""
    values = {name: draw.choice(values) for name, values in HYPERPARAMETERS.items()}
    if values["optimizer"] == "schedule_free_adamw":
        values["ema"] = 0.0
    if values["optimizer"] == "prodigy":
        values |= {"lr": 1.0, "layer_decay": 1.0}
    return Hyperparameters.model_validate(values)


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> list[Task]:
    cache = tmp_path_factory.mktemp("combinations")
    shapes: list[dict[str, int]] = [{}, {"folds": 2}, {"repeats": 2}]
    return [load_task(DigitsData(source="digits", labels_per_class=4, **shape), 0, cache=cache) for shape in shapes]


def plain(rows: list[EpochReport]) -> list[str]:
    return [repr(without_times(row)) for row in rows]


@pytest.mark.parametrize("seed", range(6))
def test_any_combination_goes_on_and_takes_over(tasks: list[Task], seed: int) -> None:
    draw = random.Random(seed)
    task, model = draw.choice(tasks), draw.choice([SMALL_CNN, BATCH_NORM])
    settings = TrainSettings(epochs=4, **{name: draw.choice(values) for name, values in SETTINGS.items()})
    state = new_network(Transfer(task, model, None, seed=5)).module.state_dict()
    transfer = Transfer(task, model, draw.choice([None, Weights.from_state_dict(state, "test")]), seed=1)

    def trained(values: Hyperparameters, resume: bytes | None = None) -> Recorder:
        recorder = Recorder()
        finetune(values, settings, transfer, report=recorder, resume=resume, compute=ONE_THREAD)
        return recorder

    mine, other = drawn(draw), drawn(draw)
    trial = trained(mine)
    assert len(trial.rows) == 4
    resumed = trained(mine, trial.checkpoints[1])
    assert plain(resumed.rows) == plain(trial.rows[2:])
    assert resumed.checkpoints == trial.checkpoints[2:]
    [first, *_] = evaluate_runs(trial.checkpoints[-1], transfer, split="val", settings=settings, compute=ONE_THREAD)
    shown = trial.rows[-1].folds[0] if trial.rows[-1].folds else trial.rows[-1]
    assert (first.loss, first.accuracy) == (shown.val_loss, shown.val_accuracy)
    # As a member of a population goes on from another one: what it trains is the other's, how it trains its own.
    taken = trained(mine, trained(other).checkpoints[1])
    kept = load_checkpoint(unpack(taken.checkpoints[-1], len(transfer.runs()))[0])
    assert kept.hyperparameters == mine.model_dump()
    assert bool(kept.trained) == bool(mine.ema)
    if mine.lr_schedule not in ("plateau", "dynamic"):
        assert [row.scheduled_lr for row in taken.rows] == [row.scheduled_lr for row in trial.rows[2:]]
        assert [row.scheduled_batch_size for row in taken.rows] == [row.scheduled_batch_size for row in trial.rows[2:]]


@pytest.mark.parametrize("seed", range(5))
def test_a_divided_batch_trains_as_a_whole_one(tasks: list[Task], seed: int) -> None:
    """Where batch norm is frozen and nothing is dropped, whatever the loss and its targets are."""
    draw = random.Random(seed)
    # Adam's first steps have the sign of a gradient alone, and so make much of its last digit.
    values = drawn(draw).model_copy(
        update={"optimizer": "sgd", "dropout": 0.0, "lr": 0.01, "ema": draw.choice([0.0, 0.3])}
    )
    chosen = {name: draw.choice(SETTINGS[name]) for name in ("loss", "class_weights", "sampler")}
    settings = TrainSettings(epochs=2, batch_norm="frozen", precision="fp32", **chosen)
    rows = []
    for micro_batch in (None, 3):
        recorder = Recorder(checkpoints=False)
        transfer = Transfer(tasks[0], BATCH_NORM, None, seed=1)
        finetune(values, settings, transfer, report=recorder, compute=Compute("cpu", 1, micro_batch))
        rows.append(recorder.rows)
    for whole, divided in zip(*rows, strict=True):
        assert divided.micro_batch == 3
        assert divided.train_loss == pytest.approx(whole.train_loss, rel=1e-5)
        assert divided.val_loss == pytest.approx(whole.val_loss, rel=1e-5)
