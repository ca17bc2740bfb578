"""Trials that are trained side by side report what each reports alone."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from training_trials import ONE_THREAD, SMALL_CNN, Recorder, Train, same_checkpoint

from tlsweep.data import Task
from tlsweep.data.task import Federation
from tlsweep.models import Weights
from tlsweep.pretrained.features import KeptFeatures
from tlsweep.spec import Augment, Hyperparameters, ModelSpec, TrainSettings
from tlsweep.spec.federation import Federated, Split
from tlsweep.training import Transfer
from tlsweep.training.devices import isolated
from tlsweep.training.evaluation import evaluate_each
from tlsweep.training.frozen import Way
from tlsweep.training.metrics import Evaluation
from tlsweep.training.networks import new_network
from tlsweep.training.packs import company, validating
from tlsweep.training.packs.company import Company
from tlsweep.training.packs.packing import MOST
from tlsweep.training.packs.stack import Stack
from tlsweep.training.runs import Runs
from tlsweep.training.trainer import Trainer

MLP = ModelSpec(name="mlp", args={"hidden": [12], "dropout": 0.2})
VALUES = Hyperparameters(lr=0.05, batch_size=8)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    with isolated(ONE_THREAD):
        yield


@pytest.fixture
def sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many do each epoch together that is done in a stack."""
    seen: list[int] = []
    train = Stack.train_epoch

    def noted(stack: Stack) -> Any:
        seen.append(len(stack.trainers))
        return train(stack)

    monkeypatch.setattr(Stack, "train_epoch", noted)
    return seen


def some_runs(task: Task, values: Sequence[Hyperparameters], **options: Any) -> list[Runs]:
    settings = TrainSettings(**{"epochs": 3, "precision": "fp32"} | options.pop("settings", {}))
    model, weights = options.pop("model", SMALL_CNN), options.pop("weights", None)
    return [
        Runs(own, settings, Transfer(task, model, weights, seed), ONE_THREAD, **options)
        for seed, own in enumerate(values, 1)
    ]


def together(runs: Sequence[Runs], epochs: int = 3) -> list[Recorder]:
    """What each reports when they are trained side by side."""
    place, recorders = Company("cpu"), [Recorder() for _ in runs]
    for number, one in enumerate(runs):
        place.join(str(number), one)
    while any(one.epoch < epochs for one in runs):
        for name, row in place.advance().items():
            recorders[int(name)](row, runs[int(name)].copy)
    return recorders


def changed(*changes: dict[str, Any]) -> list[Hyperparameters]:
    return [VALUES.model_copy(update=change) for change in changes]


DIFFERENT = changed(
    {"lr": 0.1, "momentum": 0.5, "weight_decay": 0.1},
    {"clip_norm": 0.1, "nesterov": True, "lr_schedule": "one_cycle"},
    {"ema": 0.5, "head_lr_multiplier": 3.0, "layer_decay": 0.5},
    {"optimizer": "adam", "lr": 0.01, "weight_decay": 0.1, "dropout": 0.5},
    {"optimizer": "adamw", "lr": 0.01, "warmup_epochs": 1, "dropout": 0.0, "rotation": 10.0, "random_erasing": 0.5},
    {"momentum": 0.0, "lr_schedule": "plateau", "color_jitter": 0.2},
    {"batch_size": 16}, {"batch_size": 16, "label_smoothing": 0.1}, {"batch_size": 16, "lr": 0.01},
)  # fmt: skip


@pytest.mark.parametrize("model", [SMALL_CNN, MLP], ids=["cnn", "mlp"])
def test_each_reports_what_it_reports_alone(digits: Task, train: Train, sizes: list[int], model: ModelSpec) -> None:
    """Bit for bit, whatever the others' values are; those of one batch size do their epochs together."""
    beside = together(some_runs(digits, DIFFERENT, model=model))
    assert max(sizes) == 6
    for seed, (values, found) in enumerate(zip(DIFFERENT, beside, strict=True), 1):
        alone = train(values, seed=seed, model=model)
        assert found.numbers == alone.numbers
        assert all(map(same_checkpoint, found.checkpoints, alone.checkpoints))


@pytest.mark.parametrize(("most", "judged"), [(validating.MOST_LOGITS, [2, 2, 2]), (0, [])])
def test_networks_are_judged_together_as_long_as_that_takes_little_memory(
    digits: Task, train: Train, monkeypatch: pytest.MonkeyPatch, most: int, judged: list[int]
) -> None:
    def noted(ways: Sequence[Way], *rest: Any) -> list[Evaluation]:
        seen.append(len(ways))
        return evaluate_each(ways, *rest)

    seen: list[int] = []
    monkeypatch.setattr(validating, "MOST_LOGITS", most)
    monkeypatch.setattr(validating, "evaluate_each", noted)
    values = changed({"lr": 0.1}, {"lr": 0.01})
    found = together(some_runs(digits, values))
    assert seen == judged
    assert [one.numbers for one in found] == [train(own, seed=seed).numbers for seed, own in enumerate(values, 1)]


@pytest.mark.parametrize("values", DIFFERENT)
def test_it_is_the_training_that_it_is_without_packs(train: Train, values: Hyperparameters) -> None:
    """But for rounding: products are added up in another order."""
    packed, plain = (train(values, pack=pack) for pack in ("auto", "off"))
    for row, expected in zip(packed.rows, plain.rows, strict=True):
        assert row.train_loss == pytest.approx(expected.train_loss, rel=1e-4)
        assert row.val_loss == pytest.approx(expected.val_loss, rel=1e-4)
        assert (row.step, row.samples, row.scheduled_lr) == (expected.step, expected.samples, expected.scheduled_lr)


def test_heads_on_kept_features_do_too(digits: Task, train: Train, sizes: list[int], tmp_path: Path) -> None:
    still = replace(digits, augment=Augment(crop="none", flip=False))
    weights = Weights.from_state_dict(new_network(Transfer(still, MLP, None, 9)).module.state_dict(), "elsewhere")
    values = [one.model_copy(update={"freeze": "backbone"}) for one in DIFFERENT[:4]]
    options: dict[str, Any] = {"model": MLP, "weights": weights, "features": KeptFeatures(tmp_path, tell=print)}
    beside = together(some_runs(still, values, **options))
    assert set(sizes) == {4}
    for seed, (own, found) in enumerate(zip(values, beside, strict=True), 1):
        alone = train(own, seed=seed, task=still, **options)
        assert found.numbers == alone.numbers
        plain = train(own, seed=seed, task=still, pack="off", **options)
        assert [row.train_loss for row in found.rows] == pytest.approx([row.train_loss for row in plain.rows], rel=1e-4)


def test_who_comes_goes_and_comes_back_is_not_noticed(digits: Task, train: Train, sizes: list[int]) -> None:
    """In a company that changes after each epoch, one of them from a checkpoint."""
    values = changed(*({"lr": lr} for lr in (0.1, 0.05, 0.01)))
    expected = [train(own, seed=seed) for seed, own in enumerate(values, 1)]
    first, second, third = some_runs(digits, values)
    place, found = Company("cpu"), Recorder()

    def advance() -> None:
        for name, row in place.advance().items():
            if name == "first":
                found(row, members[name].copy)

    members = {"first": first, "second": second}
    for name, one in members.items():
        place.join(name, one)
    advance()
    place.leave("second")
    place.join("third", third)
    advance()
    place.leave("first")
    members["first"] = some_runs(digits, values)[0]
    members["first"].restore(found.checkpoints[-1])
    place.join("second", second)
    place.join("first", members["first"])
    advance()
    assert sizes[-3:] == [2, 2, 3]
    assert found.numbers == expected[0].numbers
    assert all(map(same_checkpoint, found.checkpoints, expected[0].checkpoints))


def test_the_time_of_all_is_the_time_that_passed(digits: Task) -> None:
    rows = [row for one in together(some_runs(digits, DIFFERENT)) for row in one.rows]
    assert all(row.train_seconds > 0 and row.samples_per_second > 0 for row in rows)


def first_room(task: Task, change: dict[str, Any], **options: Any) -> int:
    (runs,) = some_runs(task, changed(change), **options)
    place = Company("cpu")
    place.join("it", runs)
    return place.room("it")


@pytest.mark.parametrize(
    ("change", "options", "room"),
    [
        ({}, {}, MOST),
        ({}, {"settings": {"pack": 5}}, 5),
        ({"batch_size": 64}, {"settings": {"pack": 5}, "model": ModelSpec(name="cnn")}, 5),
        ({"batch_size": 64}, {"model": ModelSpec(name="cnn")}, 1),
        ({}, {"settings": {"pack": "off"}}, 1),
        ({}, {"settings": {"noise_scale": True}}, 1),
        ({}, {"settings": {"class_weights": "balanced"}}, 1),
        ({"focal_gamma": 2.0}, {"settings": {"loss": "focal"}}, 1),
        ({}, {"settings": {"precision": "bf16"}}, 1),
        ({"mixup": 0.2}, {}, 1),
        ({"optimizer": "prodigy", "lr": 1.0}, {}, 1),
        ({"freeze": "backbone"}, {}, 1),
        ({"freeze": "gradual"}, {}, 1),
        ({}, {"model": ModelSpec(name="training_networks:with_batch_norm")}, 1),
    ],
)
def test_who_can_be_trained_with_others(
    digits: Task, change: dict[str, Any], options: dict[str, Any], room: int
) -> None:
    assert first_room(digits, change, **options) == room


def test_there_is_room_for_as_many_networks_as_memory_is_meant_for(
    digits: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = sum(parameter.nbytes for parameter in new_network(Transfer(digits, MLP, None, 0)).module.parameters())
    monkeypatch.setattr(company, "MOST_BYTES", 5 * size + 1)
    assert first_room(digits, {}, model=MLP) == 5
    monkeypatch.setattr(company, "MOST_BYTES", 1)
    assert first_room(digits, {}, model=MLP) == 1


@pytest.mark.parametrize("change", [{"lr": 1e20}, {"lr": 1e9, "momentum": 0.0}])
def test_one_that_diverges_changes_nobody(digits: Task, train: Train, change: dict[str, Any]) -> None:
    """Nor is it changed by one whose gradients are clipped."""
    values = changed(change, {"clip_norm": 0.5}, {})
    beside = together(some_runs(digits, values, model=MLP))
    for seed, (own, found) in enumerate(zip(values, beside, strict=True), 1):
        assert found.numbers == train(own, seed=seed, model=MLP).numbers


def test_the_clients_of_a_federation_are_not(digits: Task) -> None:
    task = replace(digits, federation=Federation(2, Split(), 0))
    assert first_room(task, {}, settings={"federated": Federated(clients=2)}) == 1


def test_a_stack_that_is_taken_apart_leaves_the_parameters_as_they_are(digits: Task) -> None:
    runs = some_runs(digits, VALUES_OF_TWO)
    place = Company("cpu")
    for number, one in enumerate(runs):
        place.join(str(number), one)
    place.advance()
    trainer: Trainer = runs[0].trainers[0]
    before = {name: tensor.clone() for name, tensor in trainer.module.state_dict().items()}
    place.leave("0")
    place.advance()
    assert all(torch.equal(tensor, before[name]) for name, tensor in trainer.module.state_dict().items())


VALUES_OF_TWO = changed({"lr": 0.1}, {"lr": 0.01})
