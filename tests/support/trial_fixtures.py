"""Fixtures of the tests that train: digits, and a small trial on them."""

from typing import Any

import pytest
from training_trials import SMALL_CNN, Recorder, Train

from tlsweep.data import Task, load_task
from tlsweep.models import Weights
from tlsweep.models.starting_head import StartingHead
from tlsweep.spec import DigitsData, Hyperparameters, ModelSpec, TrainSettings
from tlsweep.training import Compute, Transfer, finetune


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Task:
    """10 tilted, noisy digits of each class to train on."""
    return load_task(DigitsData(source="digits", labels_per_class=10), 0, cache=tmp_path_factory.mktemp("digits"))


@pytest.fixture(scope="session")
def few_digits(tmp_path_factory: pytest.TempPathFactory) -> Task:
    """One of each class to train on."""
    return load_task(DigitsData(source="digits", labels_per_class=1), 0, cache=tmp_path_factory.mktemp("few"))


@pytest.fixture(scope="session")
def clean_digits(tmp_path_factory: pytest.TempPathFactory) -> Task:
    """The source domain."""
    return load_task(DigitsData(source="digits", domain="source"), 0, cache=tmp_path_factory.mktemp("clean"))


@pytest.fixture
def train(digits: Task) -> Train:
    """Runs a small trial on the digits, on one CPU thread, and returns what it reported."""

    def run(
        hyperparameters: Hyperparameters | None = None,
        *,
        task: Task = digits,
        epochs: int = 3,
        seed: int = 1,
        model: ModelSpec = SMALL_CNN,
        checkpoints: bool = True,
        precision: str = "fp32",
        batch_norm: str = "train",
        noise_scale: bool = False,
        pack: str | int = "auto",
        weights: Weights | None = None,
        threads: int = 1,
        micro_batch: int | None = None,
        heads: tuple[StartingHead, ...] = (),
        **options: Any,
    ) -> Recorder:
        recorder = Recorder(checkpoints=checkpoints)
        transfer = Transfer(task, model, weights, seed, heads)
        options = {"report": recorder, "compute": Compute("cpu", threads, micro_batch)} | options
        settings = TrainSettings(
            epochs=epochs, precision=precision, batch_norm=batch_norm, noise_scale=noise_scale, pack=pack
        )
        finetune(hyperparameters or Hyperparameters(lr=0.05), settings, transfer, **options)
        return recorder

    return run
