"""The average of networks is torch's own, its batch norms included; and no soup is worse than its best ingredient."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim.swa_utils import AveragedModel, update_bn
from training_trials import ONE_THREAD, Train

from tlsweep.data import Task
from tlsweep.data.batches import Batches
from tlsweep.spec import Hyperparameters, ModelSpec, TrainSettings
from tlsweep.training import evaluate_checkpoint
from tlsweep.training.checkpoint import load_checkpoint
from tlsweep.training.networks import trained_network
from tlsweep.training.souping import (
    START_SHARES,
    STATISTICS_BATCH,
    Ingredient,
    Mix,
    blend,
    evaluate_ensemble,
    halves,
    search_mix,
    without_optimizer,
)
from tlsweep.training.transfer import Transfer

MODEL = ModelSpec(name="training_networks:with_batch_norm")
OPTIONS = {"seed": 7, "settings": TrainSettings(precision="fp32"), "compute": ONE_THREAD}


@pytest.fixture
def ingredients(train: Train, digits: Task) -> list[Ingredient]:
    """Three networks from one start; the last one's batch norms kept the statistics that they began with."""
    transfer = Transfer(digits, MODEL, None, 1)
    trials = [
        train(Hyperparameters(lr=lr), model=MODEL, epochs=1, batch_norm=batch_norm).checkpoints[-1]
        for lr, batch_norm in ((0.05, "train"), (0.01, "train"), (0.02, "frozen"))
    ]
    return [Ingredient(without_optimizer(checkpoint), transfer) for checkpoint in trials]


def tensors(checkpoint: bytes | None) -> dict[str, torch.Tensor]:
    assert checkpoint is not None
    return load_checkpoint(checkpoint).tensors


def test_the_average_of_a_network_with_itself_is_that_network(ingredients: list[Ingredient]) -> None:
    """To the last bit, its batch norms too: what equal networks agree on is not computed again."""
    first = ingredients[0]
    found = tensors(blend([first] * 3, Mix((0, 1, 2)), **OPTIONS))
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors(first.checkpoint).items())
    assert blend(ingredients, Mix((1,)), **OPTIONS) == ingredients[1].checkpoint


@pytest.mark.parametrize("start", [0.0, 0.25])
def test_weights_and_statistics_are_those_of_torch(ingredients: list[Ingredient], digits: Task, start: float) -> None:
    parts = ingredients[:2] if not start else [*ingredients, replace(ingredients[0], checkpoint=None)]  # 1/4 each
    modules = [trained_network(part.checkpoint, part.transfer).module for part in parts]
    averaged = AveragedModel(modules[0])
    for module in modules:
        averaged.update_parameters(module)
    update_bn(Batches(digits).train(0, STATISTICS_BATCH, 7), averaged)
    expected = averaged.module.state_dict()
    found = tensors(blend(ingredients, Mix(tuple(range(len(parts) - bool(start))), start), **OPTIONS))
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-4, atol=1e-5)


@given(st.integers(1, 6), st.randoms(use_true_random=False))
def test_no_soup_is_worse_than_its_best_ingredient(count: int, random: "st.random.Random") -> None:
    scores: dict[Mix, tuple[float, float]] = {}

    def score(mix: Mix) -> tuple[float, float]:
        assert mix not in scores
        scores[mix] = (random.randint(0, 3), random.random())
        return scores[mix]

    best, tried = search_mix(count, score)
    assert tried == scores
    assert len(tried) == 2 * count - 1 + len(START_SHARES)
    assert tried[best] >= max(tried[Mix((part,))] for part in range(count))
    assert search_mix(count, tried.__getitem__)[0] == best


def test_halves_share_every_class_and_no_image(digits: Task) -> None:
    found = halves(digits, 3)
    assert found is not None
    first, second = found
    assert sorted([*first, *second]) == digits.splits["val"].tolist()
    for label in range(digits.num_classes):
        assert abs(int((digits.labels[first] == label).sum() - (digits.labels[second] == label).sum())) <= 1
    few = replace(digits, splits={**digits.splits, "val": digits.splits["val"][:19]})
    assert halves(few, 3) is None


def test_an_ensemble_of_one_is_that_network(ingredients: list[Ingredient], digits: Task) -> None:
    settings = OPTIONS["settings"]
    alone = evaluate_checkpoint(
        ingredients[0].checkpoint, ingredients[0].transfer, split="test", settings=settings, compute=ONE_THREAD
    )
    found = evaluate_ensemble(ingredients[:1], split="test", settings=settings, compute=ONE_THREAD)
    assert found == {"networks": 1, "loss": pytest.approx(alone.loss), "accuracy": alone.accuracy}
