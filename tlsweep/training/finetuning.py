"""The fine-tuning function: one trial, from the first epoch to the last."""

import math
import time
from collections.abc import Sequence
from typing import Any

from tlsweep.spec import Hyperparameters, TrainSettings
from tlsweep.training.devices import Compute, device_name, isolated, peak_memory, reset_peak_memory
from tlsweep.training.frozen import FeatureSource
from tlsweep.training.metrics import FIGURES
from tlsweep.training.reports import ClientReport, EpochReport, Receiver
from tlsweep.training.runs import Runs
from tlsweep.training.summary import summarise
from tlsweep.training.trainer import Trainer
from tlsweep.training.transfer import Transfer


def finetune(
    hyperparameters: Hyperparameters,
    settings: TrainSettings,
    transfer: Transfer,
    *,
    report: Receiver,
    resume: bytes | None = None,
    compute: Compute = Compute(),
    features: FeatureSource | None = None,
) -> None:
    """Fine-tune a network on a task for `settings.epochs` epochs, with a report at the end of each.

    The numbers follow from the arguments alone, whatever this process did before. Going on from a checkpoint gives the
    same later reports, bit for bit on a CPU, as never having stopped.

    Args:
        hyperparameters: those in force from the first step to the last, also after a restore.
        settings: what all trials of a sweep share.
        transfer: the network, what it starts from, and the images.
        report: receives each epoch's row, and a function that copies the state, to be called before it returns; it
            ends the trial by raising.
        resume: a checkpoint of this trial or of another one with the same model and task.
        compute: device, threads, and how much the memory is known to take.
        features: has what frozen layers give, for epochs in which the head alone learns: numbers are the same but for
            the order in which kernels add up. None: the frozen layers compute it in each epoch.

    Raises:
        ModelError: the weights or the checkpoint do not fit the network.
        ResultsError: the checkpoint cannot be read.
        ResourceError: the device does not exist, or its memory is too small for one image; `micro_batch` below 1.
    """
    with isolated(compute) as device:
        reset_peak_memory(device)
        runs = Runs(hyperparameters, settings, transfer, compute, features)
        if resume is not None:
            runs.restore(resume)
        reporting_seconds = 0.0
        while runs.epoch < settings.epochs:
            row = summarise([run_epoch(trainer, device) for trainer in runs.trainers], transfer.task, reporting_seconds)
            started = time.perf_counter()
            report(row, runs.copy)
            # Told with the next report, as this one has been sent.
            reporting_seconds = time.perf_counter() - started


def run_epoch(trainer: Trainer, device: str) -> EpochReport:
    """Train a network for an epoch, evaluate it, and say how it went."""
    trainer.choose_way()
    started = time.perf_counter()
    samples_before = trainer.samples
    training = trainer.train_epoch()
    trained = time.perf_counter()
    # A network that diverged has nothing to say, and the receiver of the report will end the trial.
    validation = trainer.evaluate("val") if math.isfinite(training.loss) else None
    evaluated = time.perf_counter()
    clients = trainer.by_client(validation)
    figures: dict[str, Any] = {f"val_{name}": getattr(validation, name, math.nan) for name in FIGURES}
    return EpochReport(
        epoch=trainer.epoch,
        samples=trainer.samples,
        step=trainer.step,
        scheduled_lr=training.scheduled_lr,
        scheduled_batch_size=trainer.scheduled_batch_size,
        micro_batch=min(trainer.micro_batch.limit or trainer.scheduled_batch_size, trainer.scheduled_batch_size),
        train_loss=training.loss,
        train_accuracy=training.accuracy,
        **figures,
        noise_scale=trainer.noise.value if trainer.noise is not None else math.nan,
        train_seconds=trained - started - training.data_seconds,
        eval_seconds=evaluated - trained,
        wait_seconds=training.data_seconds,
        samples_per_second=(trainer.samples - samples_before) / (trained - started),
        device_memory=peak_memory(device),
        device=device_name(device),
        val_worst_client=_worst(clients),
        by_client=clients,
    )


def _worst(clients: Sequence[ClientReport]) -> float | None:
    """The least accuracy of a client; None without a federation, NaN where it diverged."""
    known = [client.val_accuracy for client in clients if client.val_accuracy is not None]
    return min(known, default=math.nan) if clients else None
