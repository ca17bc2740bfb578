"""What a trial sends at the end of each epoch."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class EpochReport:
    """One epoch of one trial. Losses are means over samples, in nats; times are in seconds and do not overlap."""

    epoch: int
    """Epochs completed, from 1."""
    samples: int
    """Training images seen so far, over the life of these weights (restored with them)."""
    step: int
    """Steps of the optimizer so far, over the life of these weights."""
    lr: float
    """The backbone's learning rate at the last step, schedule applied."""
    micro_batch: int
    """`batch_size` where batches go through the network whole; less where the memory is too small for that: then, at
    the end of the epoch, they are divided into nearly equal parts of at most so many images."""
    train_loss: float
    """With label smoothing, and with the weights of each step; NaN or infinite where training diverged."""
    train_accuracy: float
    val_loss: float
    """Plain cross entropy. This and the other validation figures are NaN where the training loss is not finite."""
    val_accuracy: float
    val_precision: float
    """Mean over classes, as the next two; see `tlsweep.training.metrics`."""
    val_recall: float
    val_f1: float
    train_seconds: float
    """In training steps."""
    eval_seconds: float
    """In validation."""
    wait_seconds: float
    """Waiting for training batches, and for the receiver of the previous report."""
    samples_per_second: float
    """Training images over the time in training steps and waiting for batches."""
    device_memory: int
    """Peak of the memory allocated on the device since the trial started, in bytes; 0 on a CPU."""
    device: str
    """Name of the device, such as `cpu` or `NVIDIA H200`."""


Snapshot = Callable[[], bytes]
"""Makes the checkpoint of the epoch that is being reported; costs nothing unless it is called."""

Report = Callable[[EpochReport, Snapshot], None]
"""Receives the reports. It ends the trial by raising; the exception leaves `finetune` as it is."""
