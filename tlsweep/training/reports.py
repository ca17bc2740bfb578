"""What a trial sends at the end of each epoch."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class ClientReport:
    """One round of one client of a federation."""

    client: int
    """Its number, from 0."""
    train_images: int
    """Images that it has to train on."""
    val_images: int
    """Images of the validation split that are its own."""
    train_loss: float | None
    """As of EpochReport, over its own training; this and the next two are None where it took no part in the round."""
    train_accuracy: float | None
    drift: float | None
    """The Euclidean distance of its parameters from those that it was given, at the end of its training."""
    val_accuracy: float | None
    """Of the network that the server made of the round; None without validation images, or where training diverged."""
    fold: int = 0
    repeat: int = 0


@dataclass(frozen=True)
class RunReport:
    """One epoch of one of the networks that a trial trains side by side; the names mean what they do in EpochReport."""

    fold: int
    repeat: int
    train_images: int
    """Images in its training split."""
    val_images: int
    samples: int
    step: int
    scheduled_lr: float
    scheduled_batch_size: int
    micro_batch: int
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    val_precision: float
    val_recall: float
    val_f1: float
    val_top5: float | None
    val_auroc: float | None
    val_ece: float
    val_worst_client: float | None
    train_seconds: float
    eval_seconds: float


@dataclass(frozen=True)
class EpochReport:
    """One epoch of one trial. Losses are means over samples, in nats; times are in seconds and do not overlap.

    Where a trial trains several networks side by side (folds, repeats), losses and other figures of merit are means
    over these runs, samples, steps and times their sums, and `scheduled_lr` is that of the first.
    """

    epoch: int
    """Epochs completed, from 1."""
    samples: int
    """Training images seen so far, over the life of these weights (restored with them)."""
    step: int
    """Steps of the optimizer so far, over the life of these weights."""
    scheduled_lr: float
    """The backbone's learning rate at the last step, schedule applied."""
    scheduled_batch_size: int
    """Images for each step of this epoch: `batch_size`, or what `decay_by: batch_size` made of it; of several runs the
    most."""
    micro_batch: int
    """`scheduled_batch_size` where batches go through the network whole; less where the memory is too small for that:
    then, at the end of the epoch, they are divided into nearly equal parts of at most this many images."""
    train_loss: float
    """The loss with label smoothing, and with the weights of each step; NaN or infinite where training diverged."""
    train_accuracy: float
    val_loss: float
    """Plain cross entropy. This and the other validation figures are NaN where the training loss is not finite."""
    val_accuracy: float
    val_precision: float
    """Mean over classes, as the next two; see `tlsweep.training.metrics`."""
    val_recall: float
    val_f1: float
    val_top5: float | None
    """None where it is not defined, as the next."""
    val_auroc: float | None
    val_ece: float
    noise_scale: float
    """The gradient noise scale, in samples; NaN unless `train.noise_scale` asks for it, before the first measurement,
    with batches of fewer than 4, and while the gradient cannot be told from its noise."""
    train_seconds: float
    """Time in training steps."""
    eval_seconds: float
    """Time in validation."""
    wait_seconds: float
    """Waiting for training batches, and for the receiver of the previous report."""
    samples_per_second: float
    """Training images over the time in training steps and waiting for batches."""
    device_memory: int
    """Peak of the memory allocated on the device since the trial started, in bytes; 0 on a CPU."""
    device: str
    """Name of the device, such as `cpu` or `NVIDIA H200`."""
    runs: int = 1
    """Networks that were trained side by side."""
    val_loss_se: float | None = None
    """Standard error of the mean over runs, as the next ones; None with one run. See `training.summary`."""
    val_accuracy_se: float | None = None
    val_precision_se: float | None = None
    val_recall_se: float | None = None
    val_f1_se: float | None = None
    val_top5_se: float | None = None
    val_auroc_se: float | None = None
    val_ece_se: float | None = None
    val_worst_client: float | None = None
    """The least accuracy that a client of a federation has; NaN where the training loss is not finite."""
    val_worst_client_se: float | None = None
    folds: tuple[RunReport, ...] = ()
    """Each run, where there are several."""
    by_client: tuple[ClientReport, ...] = ()
    """Each client, where it is a federation; of several runs those of each."""


Copy = Callable[[], bytes]
"""Makes a checkpoint of a copy of the state, at any later time and in any thread."""

Snapshot = Callable[[], Copy]
"""Copies the state at the end of the epoch that is being reported; costs nothing unless it is called."""

Receiver = Callable[[EpochReport, Snapshot], None]
"""Receives the reports. It ends the trial by raising; the exception leaves `finetune` as it is."""
