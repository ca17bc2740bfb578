"""The server's step against the papers' formulas, and against torch's optimizers where these are the same."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tlsweep.spec import Hyperparameters
from tlsweep.training.federation.server import Mean, Server

ROUNDS = 12


def rounds(seed: int = 0) -> tuple[dict[str, Tensor], list[dict[str, Tensor]]]:
    """What a network begins with, and how far the mean of its clients moves in each round: much here, hardly there."""
    draw = torch.Generator().manual_seed(seed)
    shapes = {"weight": (3, 4), "bias": (3,)}
    start = {name: torch.randn(shape, generator=draw, dtype=torch.float64) for name, shape in shapes.items()}
    scales = [10.0 ** (2 * math.sin(number)) * 1e-3 for number in range(ROUNDS)]
    moves = [
        {name: scale * torch.randn(shape, generator=draw, dtype=torch.float64) for name, shape in shapes.items()}
        for scale in scales
    ]
    return start, moves


def served(values: dict[str, Any], seed: int = 0) -> dict[str, Tensor]:
    start, moves = rounds(seed)
    server = Server(Hyperparameters(**values))
    for move in moves:
        server.step(start, {name: start[name] + move[name] for name in start})
    return start


def by_the_papers(optimizer: str, lr: float, momentum: float, seed: int = 0) -> dict[str, np.ndarray]:
    """Value by value: McMahan et al. 2017, Hsu et al. 2019 (equation of FedAvgM), Reddi et al. 2021 (algorithm 2)."""
    start, moves = rounds(seed)
    found = {}
    for name, tensor in start.items():
        values = tensor.numpy().ravel().tolist()
        for at, x in enumerate(values):
            m, v = 0.0, (1e-3) ** 2
            for move in moves:
                delta = float(move[name].ravel()[at])
                if optimizer == "sgd":
                    m = momentum * m + delta
                    x += lr * m
                    continue
                m = 0.9 * m + (1 - 0.9) * delta
                if optimizer == "adam":
                    v = 0.99 * v + (1 - 0.99) * delta**2
                else:
                    v = v - (1 - 0.99) * delta**2 * np.sign(v - delta**2)
                x += lr * m / (math.sqrt(v) + 1e-3)
            values[at] = x
        found[name] = np.array(values).reshape(tensor.shape)
    return found


@pytest.mark.parametrize("lr", [0.01, 1.0, 1.7])
@pytest.mark.parametrize(
    ("optimizer", "momentum"), [("sgd", 0.0), ("sgd", 0.5), ("sgd", 0.9), ("adam", 0.0), ("yogi", 0.0)]
)
def test_a_step_is_what_the_papers_say(optimizer: str, momentum: float, lr: float) -> None:
    expected = by_the_papers(optimizer, lr, momentum)
    for name, tensor in served({"server_optimizer": optimizer, "server_lr": lr, "server_momentum": momentum}).items():
        assert tensor.numpy() == pytest.approx(expected[name], rel=1e-12, abs=1e-12)


def test_adam_and_yogi_are_not_the_same() -> None:
    adam, yogi = (served({"server_optimizer": name, "server_lr": 0.1})["weight"] for name in ("adam", "yogi"))
    assert (adam - yogi).abs().max() > 1e-4


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd_is_that_of_torch_with_the_change_as_its_gradient(momentum: float) -> None:
    start, moves = rounds()
    parameters = [torch.nn.Parameter(tensor) for tensor in start.values()]
    optimizer = torch.optim.SGD(parameters, lr=0.7, momentum=momentum)
    for move in moves:
        for parameter, name in zip(parameters, start, strict=True):
            parameter.grad = -move[name]
        optimizer.step()
    found = served({"server_lr": 0.7, "server_momentum": momentum})
    for parameter, name in zip(parameters, start, strict=True):
        torch.testing.assert_close(found[name], parameter.detach(), rtol=1e-12, atol=1e-12)


def test_averaging_gives_the_mean_to_the_last_bit() -> None:
    draw = torch.Generator().manual_seed(1)
    start, mean = (torch.randn(1000, generator=draw) * 10 ** torch.randn(1000, generator=draw) for _ in range(2))
    parameters = {"weight": start.clone()}
    Server(Hyperparameters(server_lr=1.0)).step(parameters, {"weight": mean})
    assert torch.equal(parameters["weight"], mean)


def test_the_mean_is_weighted_and_exact_where_all_agree() -> None:
    draw = torch.Generator().manual_seed(2)
    networks = [torch.randn(500, generator=draw) for _ in range(7)]
    weights = [3, 1, 40, 2, 2, 9, 1]
    same, mean = torch.randn(500, generator=draw), Mean()
    for number, (network, weight) in enumerate(zip(networks, weights, strict=True)):
        mean.add({"weight": network, "frozen": same, "steps": torch.tensor(number)}, weight)
    expected = np.average([network.double().numpy() for network in networks], axis=0, weights=weights)
    assert mean.values["weight"].numpy() == pytest.approx(expected, abs=1e-6)
    assert torch.equal(mean.values["frozen"], same)
    assert mean.values["steps"] == 6
    alone = Mean()
    alone.add({"weight": networks[0]}, 5)
    assert torch.equal(alone.values["weight"], networks[0])
    assert alone.values["weight"] is not networks[0]  # which the next client changes


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "yogi"])
def test_going_on_is_as_if_never_stopped(optimizer: str) -> None:
    values = Hyperparameters(server_optimizer=optimizer, server_lr=0.1, server_momentum=0.9)
    start, moves = rounds()
    server = Server(values)
    for number, move in enumerate(moves):
        if number == 5:
            memory = {kind: {name: tensor.clone() for name, tensor in of.items()} for kind, of in server.memory.items()}
            server = Server(values)
            server.restore(memory, values.model_dump(), "cpu")
        server.step(start, {name: start[name] + move[name] for name in start})
    whole = served({"server_optimizer": optimizer, "server_lr": 0.1, "server_momentum": 0.9})
    assert all(torch.equal(start[name], whole[name]) for name in start)


def test_the_memory_of_another_optimizer_is_not_taken_over() -> None:
    adam, sgd = Hyperparameters(server_optimizer="adam"), Hyperparameters(server_momentum=0.9)
    start, moves = rounds()
    server = Server(adam)
    server.step(start, {name: start[name] + moves[0][name] for name in start})
    assert server.memory.keys() == {"m", "v"}
    other = Server(sgd)
    other.restore(server.memory, adam.model_dump(), "cpu")
    assert other.memory == {}


BY_FLOWER: dict[str, tuple[dict[str, Any], list[float]]] = {
    "FedAvg": (
        {"server_optimizer": "sgd", "server_lr": 1.0},
        [1.7806286184026252, 0.5186107373346138, 0.990996998803992, 2.262153761237398, 1.9314637904947793],
    ),
    "FedAvgM": (
        {"server_optimizer": "sgd", "server_lr": 0.5, "server_momentum": 0.9},
        [1.7327974082847788, 0.3024240033375736, 0.973310855208148, 2.1462314271392415, 1.9175433532088653],
    ),
    "FedAdam": (
        {"server_optimizer": "adam", "server_lr": 0.1},
        [1.6878095375614441, 0.3661010307707767, 0.9608268436588672, 2.088118502357329, 1.9303885054462948],
    ),
    "FedYogi": (
        {"server_optimizer": "yogi", "server_lr": 0.1},
        [1.7435184735322233, 0.29066644162772914, 1.0177592049331439, 2.090692090518824, 1.9207489559909847],
    ),
}
"""What Flower 1.42 makes of six rounds of three clients with 5, 17 and 40 images: the strategies of those names, with
eta 0.1, tau 1e-3, beta_1 0.9 and beta_2 0.99, FedAvgM with server_learning_rate 0.5 and server_momentum 0.9."""


@pytest.mark.parametrize("strategy", BY_FLOWER)
def test_clients_are_averaged_and_served_as_by_flower(strategy: str) -> None:
    values, expected = BY_FLOWER[strategy]
    draw = np.random.RandomState(0)
    weights = torch.from_numpy(draw.standard_normal(5))
    clients = torch.from_numpy(weights.numpy() + 0.1 * draw.standard_normal((6, 3, 5)))
    server = Server(Hyperparameters(**values))
    if values["server_optimizer"] != "sgd":  # Flower begins with v = 0, the paper with tau²
        server.memory = {kind: {"weights": torch.zeros(5, dtype=torch.float64)} for kind in ("m", "v")}
    for number, networks in enumerate(clients, 1):
        mean = Mean()
        for network, images in zip(networks, (5, 17, 40), strict=True):
            mean.add({"weights": network}, images)
        if strategy == "FedAdam":  # whose bias Flower corrects, as of one round later
            corrected = math.sqrt(1 - 0.99 ** (number + 1)) / (1 - 0.9 ** (number + 1))
            server._lr = values["server_lr"] * corrected
        server.step({"weights": weights}, mean.values)
    assert weights.numpy() == pytest.approx(expected, rel=1e-12)
