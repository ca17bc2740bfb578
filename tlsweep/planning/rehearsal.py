"""One real step before a sweep, so that what cannot work fails at once, and what it will cost is known."""

import itertools
import math
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from tlsweep.errors import ModelError, ResourceError, TlsweepError
from tlsweep.models.architectures import construct, is_own_code
from tlsweep.models.heads import check_logits
from tlsweep.models.network import too_few_to_normalise
from tlsweep.models.rebuilding import DIFFERENT, same_outputs
from tlsweep.spec import Hyperparameters, ModelSpec, TrainSettings
from tlsweep.text import one_line
from tlsweep.training.devices import Compute, device_name, isolated, synchronize
from tlsweep.training.evaluation import evaluation_batch_size
from tlsweep.training.runs import Runs
from tlsweep.training.trainer import Trainer
from tlsweep.training.transfer import Transfer

TIMED_SECONDS, TIMED_STEPS = 0.2, 3
"""Steps are repeated for so long, and so often: one step of a tiny network is too short to be timed, and a busy machine
is not as busy in each of them."""


@dataclass(frozen=True)
class Rehearsal:
    """What a trial costs."""

    seconds_per_training_image: float
    seconds_per_validation_image: float
    fastest: float
    """The fastest training step's time, as a part of the mean: what other work on the machine cost the others."""
    parameters: int
    checkpoint_bytes: int
    device: str
    head: str
    """The layer that makes the classes."""
    seconds_per_kept_image: float = 0.0
    """For the features of an image, which are computed once for all trials."""


def rehearse(
    hyperparameters: Hyperparameters,
    settings: TrainSettings,
    transfer: Transfer,
    compute: Compute = Compute(),
    *,
    on_features: bool = False,
) -> Rehearsal:
    """Train and validate for a moment, as at the end of a trial, when gradual unfreezing costs most.

    Args:
        hyperparameters, settings, transfer, compute: as for a trial.
        on_features: train the head alone, as on features that are kept.

    Raises:
        ModelError: the network, the weights and the images do not fit together.
        ResourceError: the device does not exist, or its memory is too small for the batch itself or for one image in
            the network.
    """
    with isolated(compute) as device, _mistakes_named(hyperparameters, transfer, device):
        runs = Runs(hyperparameters, settings, transfer, compute)
        for trainer in runs.trainers:
            trainer.thaw(1.0)  # what the optimizers remember is there before the first step
        trainer = runs.trainers[0]
        _check_outputs(trainer)
        kept = _go_through_features(trainer, device) if on_features else 0.0
        (training, fastest), checkpoint_bytes, validation = _run(trainer, device)
        if is_own_code(transfer.model.name):
            _check_rebuilding(trainer, transfer.model)
        return Rehearsal(
            seconds_per_training_image=training,
            seconds_per_validation_image=validation,
            fastest=fastest / training,
            parameters=sum(parameter.numel() for parameter in trainer.module.parameters()),
            checkpoint_bytes=checkpoint_bytes,
            device=device_name(device),
            head=trainer.network.groups[-1].name,
            seconds_per_kept_image=kept,
        )


def try_step(
    hyperparameters: Hyperparameters, settings: TrainSettings, transfer: Transfer, compute: Compute = Compute()
) -> None:
    """One step of a trial in which all layers learn that ever do; the arguments and what it raises are `rehearse`'s."""
    with isolated(compute) as device, _mistakes_named(hyperparameters, transfer, device):
        trainer = Trainer(hyperparameters, settings, transfer.runs()[0], compute)
        images, labels = next(iter(trainer.batches.train(0, hyperparameters.batch_size, trainer.seed)))
        trainer.epoch = settings.epochs - 1
        trainer.train_step(images, labels, seen=trainer.task.size("train") - len(labels))


@contextmanager
def _mistakes_named(hyperparameters: Hyperparameters, transfer: Transfer, device: str) -> Iterator[None]:
    """Name the mistake behind what is raised in the block.

    Raises:
        ModelError, ResourceError: instead of what torch raises where a batch is too small or too large, and of what the
            user's own network raises.
    """
    task, model = transfer.task, transfer.model
    many = f", {len(task.runs)} networks side by side (data.folds, data.repeats)," if task.runs else ""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise ResourceError(
            f"batch_size {hyperparameters.batch_size} with images of {task.image_size} pixels{many} does not fit "
            f"into the memory of {device_name(device)}; lower train.batch_size, data.image_size or the number of "
            "networks, or use precision bf16"
        ) from error
    except Exception as error:
        named = too_few_to_normalise(error, hyperparameters.batch_size, task.image_size)
        if named is error and is_own_code(model.name) and not isinstance(error, TlsweepError):
            said = one_line(f"{type(error).__name__}: {error}")[:300]
            named = ModelError(
                f"train.batch_size = {hyperparameters.batch_size}: a training step of model.name {model.name} fails"
                f"{_where(error)} ({said}); a network must take every batch of the space, of 2 images too"
            )
        raise named from error


def _where(error: Exception) -> str:
    """The last line of the user's code that an exception came through."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if "site-packages" not in frame.filename and Path(__file__).parents[1] not in Path(frame.filename).parents:
            return f" at {one_line(frame.filename)}:{frame.lineno}"
    return ""


@torch.inference_mode()
def _check_outputs(trainer: Trainer) -> None:
    """Check what the network gives before any training.

    Raises:
        ModelError: before any training, the network gives something else than numbers, one for each image and class.
    """
    trainer.leave_training()
    images, labels = next(iter(trainer.batches.evaluate("val", 2)))
    with trainer.autocast:
        parts = trainer.inference_batch.run(lambda images, _: (trainer.forward(images), len(images)), images, labels)
    trainer.thaw(1.0)
    for logits, count in parts:
        check_logits(logits, count, trainer.task.num_classes, "evaluation")
    logits = torch.cat([logits for logits, _ in parts])
    if not logits.isfinite().all():
        raise ModelError(
            "before any training the network gives NaN or infinite values for validation images; look at how it draws "
            "its weights, and at the range of its numbers (train.precision: fp32)"
        )


def _check_rebuilding(trainer: Trainer, model: ModelSpec) -> None:
    """Check that the trained network can be had again from its state dict.

    Raises:
        ModelError: training changes something of the network that no state dict holds.
    """
    task = trainer.task
    twin = construct(model, task.num_classes, task.channels, task.image_size, without_values=False)
    twin.load_state_dict(trainer.module.state_dict())
    images, _ = next(iter(trainer.batches.evaluate("val", 2)))
    if not same_outputs(trainer.module, twin.to(trainer.device), images):
        raise ModelError(
            f"model.name {model.name}: after training {DIFFERENT}; what training changes belongs into buffers"
        )


def _go_through_features(trainer: Trainer, device: str) -> float:
    """Have the trainer go on as if features were kept; seconds per image for computing them."""
    whole = partial(trainer.batches.evaluate, "train", evaluation_batch_size(trainer.task))
    trainer.module.eval()
    computing, _ = _seconds_per_image(whole, partial(_infer, trainer), device)
    trainer.leave_training()
    way = trainer.through(None)
    trainer.goes_through, trainer.forward = way.batches, way.forward
    return computing


def _infer(trainer: Trainer, images: Tensor, labels: Tensor) -> None:
    with torch.inference_mode(), trainer.autocast:
        trainer.inference_batch.run(lambda images, _: trainer.forward(images), images, labels)


def _run(trainer: Trainer, device: str) -> tuple[tuple[float, float], int, float]:
    """Seconds per training image (mean, fastest), bytes of the checkpoint, seconds per validation image."""
    task, batches = trainer.task, trainer.goes_through
    trainer.epoch = trainer.settings.epochs - 1

    def train(images: Tensor, labels: Tensor) -> None:
        trainer.train_step(images, labels, seen=task.size("train") - len(labels))

    def validation_batches() -> Iterator[tuple[Tensor, Tensor]]:
        return batches.evaluate("val", evaluation_batch_size(task))

    batch_size, seed = trainer.hyperparameters.batch_size, trainer.seed
    training = _seconds_per_image(lambda: batches.train(trainer.epoch, batch_size, seed), train, device)
    checkpoint_bytes = len(trainer.snapshot())
    trainer.module.eval()
    validation, _ = _seconds_per_image(validation_batches, partial(_infer, trainer), device)
    return training, checkpoint_bytes, validation


def _seconds_per_image(
    batches: Callable[[], Iterable[tuple[Tensor, Tensor]]], work: Callable[[Tensor, Tensor], None], device: str
) -> tuple[float, float]:
    """Mean over some batches, loading included, and the fastest; the first is not timed, as it sets things up."""
    endless = itertools.chain.from_iterable(batches() for _ in itertools.count())
    # A GPU works behind the program: without waiting for it only the queueing would be timed.
    work(*next(endless))
    synchronize(device)
    images, elapsed = 0, 0.0
    fastest = math.inf
    started = time.perf_counter()
    for step, batch in enumerate(endless, 1):
        work(*batch)
        synchronize(device)
        before, elapsed = elapsed, time.perf_counter() - started
        images += len(batch[1])
        fastest = min(fastest, (elapsed - before) / len(batch[1]))
        if elapsed >= TIMED_SECONDS and step >= TIMED_STEPS:
            break
    return elapsed / images, fastest
