"""One real step before a sweep, so that what cannot work fails at once, and what it will cost is known."""

import itertools
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from tlsweep.data import Task
from tlsweep.errors import ResourceError
from tlsweep.models import Weights
from tlsweep.spec import Hyperparameters, ModelSpec, TrainSettings
from tlsweep.training.devices import choose_device, device_name, isolated, synchronize
from tlsweep.training.evaluation import evaluation_batch_size
from tlsweep.training.runs import Runs
from tlsweep.training.trainer import Trainer

TIMED_SECONDS = 0.2
"""Steps are repeated for so long: one step of a tiny network is too short to be timed."""


@dataclass(frozen=True)
class Rehearsal:
    """What a trial costs."""

    seconds_per_training_image: float
    seconds_per_validation_image: float
    parameters: int
    checkpoint_bytes: int
    device: str


def rehearse(
    hyperparameters: Hyperparameters,
    settings: TrainSettings,
    task: Task,
    model: ModelSpec,
    *,
    weights: Weights | None,
    seed: int,
    device: str = "auto",
    threads: int | None = None,
) -> Rehearsal:
    """Train and validate for a moment, as at the end of a trial, when gradual unfreezing costs most.

    Raises:
        ModelError: the network, the weights and the images do not fit together.
        ResourceError: the device does not exist, or its memory is too small for the batch itself or for one image in
            the network.
    """
    device = choose_device(device)
    with isolated(device, threads):
        many = f", {len(task.runs)} networks side by side (data.folds, data.repeats)," if task.runs else ""
        try:
            runs = Runs(hyperparameters, settings, task, model, weights=weights, seed=seed, device=device)
            for trainer in runs.trainers:
                trainer.thaw(1.0)  # what the optimizers remember is there before the first step
            trainer = runs.trainers[0]
            training, checkpoint_bytes, validation = _run(trainer, device)
        except torch.OutOfMemoryError as error:
            raise ResourceError(
                f"batch_size {hyperparameters.batch_size} with images of {task.image_size} pixels{many} does not fit "
                f"into the memory of {device_name(device)}; lower train.batch_size, data.image_size or the number of "
                "networks, or use precision bf16"
            ) from error
        return Rehearsal(
            seconds_per_training_image=training,
            seconds_per_validation_image=validation,
            parameters=sum(parameter.numel() for parameter in trainer.module.parameters()),
            checkpoint_bytes=checkpoint_bytes,
            device=device_name(device),
        )


def _run(trainer: Trainer, device: str) -> tuple[float, int, float]:
    """Seconds per training image, bytes of the checkpoint, seconds per validation image."""
    task, batches = trainer.task, trainer.batches
    trainer.epoch = trainer.settings.epochs - 1

    def train(images: Tensor, labels: Tensor) -> None:
        trainer.train_step(images, labels, seen=task.size("train") - len(labels))

    def infer(images: Tensor, labels: Tensor) -> None:
        with torch.inference_mode(), trainer.autocast:
            trainer.inference_batch.run(lambda images, _: trainer.forward(images), images, labels)

    batch_size, seed = trainer.hyperparameters.batch_size, trainer.seed
    training = _seconds_per_image(lambda: batches.train(trainer.epoch, batch_size, seed), train, device)
    checkpoint_bytes = len(trainer.snapshot())
    trainer.module.eval()
    validation = _seconds_per_image(lambda: batches.evaluate("val", evaluation_batch_size(task)), infer, device)
    return training, checkpoint_bytes, validation


def _seconds_per_image(
    batches: Callable[[], Iterable[tuple[Tensor, Tensor]]], work: Callable[[Tensor, Tensor], None], device: str
) -> float:
    """Mean over some batches, loading included; the first is not timed, because it sets things up."""
    endless = itertools.chain.from_iterable(batches() for _ in itertools.count())
    work(*next(endless))
    synchronize(device)
    images, elapsed, started = 0, 0.0, time.perf_counter()
    while elapsed < TIMED_SECONDS:
        batch = next(endless)
        work(*batch)
        synchronize(device)
        images, elapsed = images + len(batch[1]), time.perf_counter() - started
    return elapsed / images
