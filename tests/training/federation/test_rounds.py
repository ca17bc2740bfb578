"""Rounds of a federation: what they are equal to, what clients see, and going on from a checkpoint."""

import io
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from training_trials import ONE_THREAD, SMALL_CNN, Recorder, same, without_times

from tlsweep.data import Task
from tlsweep.data.federation import clients_of
from tlsweep.data.task import Federation
from tlsweep.models import Weights
from tlsweep.spec import Hyperparameters, ModelSpec, TrainSettings, derive_seed
from tlsweep.spec.federation import Federated, Split
from tlsweep.training import EpochReport, Transfer, finetune
from tlsweep.training.checkpoint import load_checkpoint
from tlsweep.training.devices import isolated
from tlsweep.training.federation.rounds import FederatedTrainer
from tlsweep.training.networks import new_network

BATCH_NORM = ModelSpec(name="training_networks:with_batch_norm")
PLAIN = ModelSpec(name="cnn", args={"channels": [8, 8], "dense": [16]})
SKEWED = Split(dirichlet=0.3)


def task_of(digits: Task, clients: int = 4, split: Split = SKEWED) -> Task:
    return replace(digits, federation=Federation(clients, split, 0))


def trained(
    values: Hyperparameters,
    task: Task,
    federated: Federated | None,
    *,
    epochs: int = 3,
    model: ModelSpec = SMALL_CNN,
    resume: bytes | None = None,
    weights: Weights | None = None,
    micro_batch: int | None = None,
    **settings: Any,
) -> Recorder:
    recorder = Recorder()
    told = TrainSettings(epochs=epochs, precision="fp32", federated=federated, pack="off", **settings)
    transfer = Transfer(task, model, weights, seed=1)
    compute = replace(ONE_THREAD, micro_batch=micro_batch)
    finetune(values, told, transfer, report=recorder, resume=resume, compute=compute)
    return recorder


def without_clients(row: EpochReport) -> EpochReport:
    return replace(without_times(row), val_worst_client=None, by_client=())


def content(checkpoint: bytes) -> dict[str, Any]:
    return dict(torch.load(io.BytesIO(checkpoint), weights_only=True))


@pytest.mark.parametrize(
    ("changed", "model"),
    [
        ({"momentum": 0.0}, SMALL_CNN),
        ({"momentum": 0.9, "clip_norm": 0.5, "lr_schedule": "one_cycle"}, BATCH_NORM),
        ({"optimizer": "adam", "lr": 0.01, "decay_by": "batch_size", "batch_size": 8}, SMALL_CNN),
        ({"optimizer": "schedule_free_adamw", "lr": 0.01, "mixup": 0.2, "rotation": 10.0}, BATCH_NORM),
        ({"optimizer": "prodigy", "lr": 1.0, "freeze": "gradual"}, SMALL_CNN),
    ],
)
def test_one_client_is_trained_as_without_a_federation(digits: Task, changed: dict[str, Any], model: ModelSpec) -> None:
    """Bit for bit, with any optimizer: it goes on with its own."""
    values = Hyperparameters(**{"lr": 0.05, "batch_size": 16, **changed})
    central = trained(values, digits, None, model=model)
    alone = trained(values, task_of(digits, 1, Split()), Federated(clients=1), model=model)
    assert [*map(without_clients, alone.rows)] == [*map(without_times, central.rows)]
    assert alone.checkpoints == central.checkpoints
    for row in alone.rows:
        (client,) = row.by_client
        assert (client.train_images, client.val_images) == (digits.size("train"), digits.size("val"))
        assert client.val_accuracy == row.val_worst_client == pytest.approx(row.val_accuracy, abs=1e-15)
        assert (client.train_loss, client.train_accuracy) == (row.train_loss, row.train_accuracy)


def test_one_client_with_more_local_epochs_has_trained_for_that_many(digits: Task) -> None:
    values = Hyperparameters(lr=0.05, batch_size=16, lr_schedule="constant")
    rounds = trained(values, task_of(digits, 1, Split()), Federated(clients=1, local_epochs=3), epochs=2)
    central = trained(values, digits, None, epochs=6)
    assert [row.samples for row in rounds.rows] == [3 * digits.size("train"), 6 * digits.size("train")]
    for at, checkpoint in enumerate(rounds.checkpoints):
        assert same(content(checkpoint)["tensors"], content(central.checkpoints[3 * at + 2])["tensors"])


@pytest.mark.parametrize("split", [Split(), SKEWED, Split(classes=2)], ids=lambda split: split.in_words)
def test_full_batches_and_one_step_are_one_step_on_all_images(digits: Task, split: Split) -> None:
    """The mean of steps, weighted by images, is the step by the mean gradient."""
    images = digits.size("train")
    values = Hyperparameters(lr=0.2, batch_size=images, momentum=0.0, lr_schedule="constant")
    central = trained(values, digits, None, model=PLAIN)
    rounds = trained(values, task_of(digits, 7, split), Federated(clients=7, split=split), model=PLAIN)
    assert [row.step for row in rounds.rows] == [7, 14, 21]
    for mine, other in zip(rounds.checkpoints, central.checkpoints, strict=True):
        for name, tensor in content(other)["tensors"].items():
            torch.testing.assert_close(content(mine)["tensors"][name], tensor, rtol=0, atol=1e-6)


def by_hand(digits: Task, values: Hyperparameters, federated: Federated, rounds: int) -> dict[str, Tensor]:
    """FedAvg and FedProx as their papers have them: plain SGD in a loop, copies of a network, a weighted mean."""
    task = task_of(digits, federated.clients)
    known = clients_of(task)
    transfer = Transfer(task, PLAIN, None, seed=1)
    module = new_network(transfer).module
    pixels = torch.from_numpy(np.asarray(task.images)).permute(0, 3, 1, 2).float() / 255
    pixels = (pixels - torch.tensor(transfer.task.mean).view(-1, 1, 1)) / torch.tensor(transfer.task.std).view(-1, 1, 1)
    labels = torch.from_numpy(task.labels)
    for number in range(rounds):
        draw = torch.Generator().manual_seed(derive_seed(1, "clients", number))
        picked = sorted(torch.randperm(federated.clients, generator=draw)[: federated.picked].tolist())
        start = {name: value.detach().clone() for name, value in module.named_parameters()}
        total = sum(len(known.train[client]) for client in picked)
        mean = {name: torch.zeros_like(value) for name, value in start.items()}
        for client in picked:
            own = torch.from_numpy(known.train[client])
            module.load_state_dict(start)
            for local in range(number * federated.local_epochs, (number + 1) * federated.local_epochs):
                seed = derive_seed(1, "client", client) if client else 1
                shuffle = torch.Generator().manual_seed(derive_seed(seed, "order", local))
                order = own[torch.randperm(len(own), generator=shuffle)]
                parts = list(order.split(values.batch_size))
                if len(parts) > 1 and len(parts[-1]) == 1:
                    parts[-2:] = [torch.cat(parts[-2:])]
                for part in parts:
                    module.zero_grad()
                    loss = torch.nn.functional.cross_entropy(module(pixels[part]), labels[part])
                    for name, value in module.named_parameters():
                        loss = loss + values.proximal / 2 * (value - start[name]).square().sum()
                    loss.backward()
                    with torch.no_grad():
                        for value in module.parameters():
                            value -= values.lr * value.grad
            for name, value in module.named_parameters():
                mean[name] += value.detach() * len(own) / total
        module.load_state_dict(mean)
    return dict(module.named_parameters())


@pytest.mark.parametrize("proximal", [0.0, 0.5])
def test_rounds_are_fedavg_and_fedprox_written_out(digits: Task, proximal: float) -> None:
    values = Hyperparameters(lr=0.1, batch_size=5, momentum=0.0, lr_schedule="constant", proximal=proximal)
    federated = Federated(clients=5, split=SKEWED, fraction=0.6, local_epochs=2)
    plain = replace(digits, augment=digits.augment.model_copy(update={"crop": "none", "flip": False}))
    found = content(trained(values, task_of(plain, 5), federated, model=PLAIN).checkpoints[-1])["tensors"]
    for name, value in by_hand(plain, values, federated, rounds=3).items():
        torch.testing.assert_close(found[name], value.detach(), rtol=1e-4, atol=1e-5)


def test_the_proximal_term_keeps_clients_near(digits: Task) -> None:
    drifts = []
    for proximal in (0.0, 0.1, 10.0):
        values = Hyperparameters(lr=0.05, batch_size=10, momentum=0.0, proximal=proximal)
        rows = trained(values, task_of(digits), Federated(clients=4, local_epochs=3), epochs=1).rows
        drifts.append([client.drift for client in rows[0].by_client])
    for free, held, firmly in zip(*drifts, strict=True):
        assert firmly < held < free


SETTINGS: list[tuple[dict[str, Any], dict[str, Any], ModelSpec]] = [
    ({"server_optimizer": "sgd", "server_momentum": 0.9}, {"fraction": 0.5}, SMALL_CNN),
    ({"server_optimizer": "adam", "server_lr": 0.01, "optimizer": "adam", "lr": 0.01}, {"local_epochs": 2}, BATCH_NORM),
    ({"server_optimizer": "yogi", "server_lr": 0.01, "optimizer": "prodigy", "lr": 1.0}, {}, SMALL_CNN),
    ({"optimizer": "schedule_free_sgd", "proximal": 0.1, "lr_schedule": "plateau"}, {"fraction": 0.3}, BATCH_NORM),
]


@pytest.mark.parametrize(("changed", "federated", "model"), SETTINGS)
def test_going_on_is_as_if_never_stopped(
    digits: Task, changed: dict[str, Any], federated: dict[str, Any], model: ModelSpec
) -> None:
    values = Hyperparameters(**{"lr": 0.05, "batch_size": 8, **changed})
    told = Federated(clients=6, split=SKEWED, **federated)
    whole = trained(values, task_of(digits, 6), told, epochs=4, model=model)
    rest = trained(values, task_of(digits, 6), told, epochs=4, model=model, resume=whole.checkpoints[1])
    assert rest.checkpoints == whole.checkpoints[2:]
    assert [*map(repr, map(without_times, rest.rows))] == [*map(repr, map(without_times, whole.rows[2:]))]
    kept = load_checkpoint(whole.checkpoints[-1])
    assert kept.optimizer_state == {}  # every client begins anew
    assert bool(kept.server) == (values.server_optimizer != "sgd" or values.server_momentum > 0)


def test_a_mutated_value_of_the_server_holds_from_then_on(digits: Task) -> None:
    """As a member of a population goes on from another one's checkpoint."""
    task, told = task_of(digits), Federated(clients=4, split=SKEWED)
    values = Hyperparameters(lr=0.05, batch_size=8, server_optimizer="adam", server_lr=0.01)
    start = trained(values, task, told).checkpoints[0]
    ends = {
        lr: trained(values.model_copy(update={"server_lr": lr}), task, told, resume=start).checkpoints[0]
        for lr in (0.01, 0.02)
    }
    before = load_checkpoint(start)
    slow, fast = (load_checkpoint(ends[lr]) for lr in (0.01, 0.02))
    assert slow.server.keys() == fast.server.keys() == {"m", "v"}
    for name, tensor in before.tensors.items():
        # The clients did the same, and the server went twice as far.
        torch.testing.assert_close(fast.tensors[name] - tensor, 2 * (slow.tensors[name] - tensor), rtol=1e-3, atol=1e-6)


def test_frozen_layers_are_never_moved(digits: Task) -> None:
    state = new_network(Transfer(digits, BATCH_NORM, None, seed=5)).module.state_dict()
    weights = Weights.from_state_dict(state, "test")
    values = Hyperparameters(lr=0.05, batch_size=8, freeze="backbone", server_optimizer="adam", server_lr=0.1)
    found = trained(values, task_of(digits), Federated(clients=4), model=BATCH_NORM, weights=weights)
    kept = load_checkpoint(found.checkpoints[-1])
    assert {name.partition(".")[0] for name in kept.tensors} == {"8"}
    assert {name.partition(".")[0] for name in kept.server["m"]} == {"8"}


def test_statistics_of_batch_norm_are_averaged_whatever_the_server_does(digits: Task) -> None:
    task = task_of(digits, 3)
    values = Hyperparameters(lr=1e-9, batch_size=8, momentum=0.0, server_optimizer="adam", server_lr=1e-9)
    together = content(trained(values, task, Federated(clients=3), epochs=1, model=BATCH_NORM).checkpoints[0])
    statistics = []
    for client in range(3):
        settings = TrainSettings(epochs=1, precision="fp32", federated=Federated(clients=3))
        with isolated(ONE_THREAD):
            trainer = FederatedTrainer(values, settings, Transfer(task, BATCH_NORM, None, seed=1), ONE_THREAD)
            trainer._train_client(client)
        statistics.append({name: value.numpy() for name, value in trainer.module.named_buffers()})
    sizes = [len(own) for own in clients_of(task).train]
    for name in ("1.running_mean", "1.running_var", "4.running_var"):
        expected = np.average([own[name] for own in statistics], axis=0, weights=sizes)
        assert together["tensors"][name].numpy() == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_clients_are_told_of_and_judged_by_the_network_of_all(digits: Task) -> None:
    task, told = task_of(digits, 6), Federated(clients=6, split=SKEWED, fraction=0.5)
    known = clients_of(task)
    values = Hyperparameters(lr=0.05, batch_size=8)
    recorder = trained(values, task, told, epochs=3)
    parts = set()
    for row in recorder.rows:
        assert [client.client for client in row.by_client] == list(range(6))
        assert [client.train_images for client in row.by_client] == [len(own) for own in known.train]
        part = [client for client in row.by_client if client.train_loss is not None]
        assert len(part) == 3
        assert all(client.drift > 0 for client in part if client.drift is not None)
        parts.add(tuple(client.client for client in part))
        images = sum(client.train_images for client in part)
        loss = sum(client.train_images * (client.train_loss or 0) for client in part) / images
        assert row.train_loss == pytest.approx(loss)
        judged = [(client.val_images, client.val_accuracy) for client in row.by_client if client.val_images]
        assert sum(count for count, _ in judged) == task.size("val")
        accuracy = sum(count * (accuracy or 0) for count, accuracy in judged) / task.size("val")
        assert row.val_accuracy == pytest.approx(accuracy)
        assert row.val_worst_client == min(accuracy for _, accuracy in judged if accuracy is not None)
    assert len(parts) > 1
    steps = [row.samples for row in recorder.rows]
    assert steps == sorted(set(steps))


def test_a_single_client_beside_a_federation_is_judged_by_its_clients(digits: Task) -> None:
    """The arm `central` of a study."""
    values = Hyperparameters(lr=0.05, batch_size=16)
    central = trained(values, digits, None)
    beside = trained(values, task_of(digits, 5), Federated(clients=1))
    assert [row.val_loss for row in beside.rows] == [row.val_loss for row in central.rows]
    for row in beside.rows:
        assert [client.drift for client in row.by_client] == [None] * 5
        assert row.val_worst_client == min(
            client.val_accuracy for client in row.by_client if client.val_accuracy is not None
        )


def test_a_client_that_diverges_makes_the_trial_diverge(digits: Task) -> None:
    row = trained(Hyperparameters(lr=1e30, batch_size=8), task_of(digits), Federated(clients=4), epochs=1).rows[0]
    assert not math.isfinite(row.train_loss)
    assert math.isnan(row.val_accuracy)
    assert row.val_worst_client is not None
    assert math.isnan(row.val_worst_client)


@pytest.mark.parametrize("changed", [{"sampler": "balanced"}, {"class_weights": "balanced"}, {"batch_norm": "frozen"}])
def test_settings_of_training_hold_for_clients(digits: Task, changed: dict[str, Any]) -> None:
    rows = trained(Hyperparameters(lr=0.05, batch_size=8), task_of(digits), Federated(clients=4), **changed).rows
    assert rows[-1].val_loss < rows[0].val_loss


def test_divided_batches_train_as_whole_ones(digits: Task) -> None:
    values = Hyperparameters(lr=0.05, batch_size=8, dropout=0.0)
    whole, divided = (
        trained(values, task_of(digits), Federated(clients=4), model=PLAIN, micro_batch=limit).rows[-1]
        for limit in (None, 3)
    )
    assert (whole.micro_batch, divided.micro_batch) == (8, 3)
    assert divided.train_loss == pytest.approx(whole.train_loss, rel=1e-5)
    assert divided.val_loss == pytest.approx(whole.val_loss, rel=1e-5)
