"""The networks that one trial trains side by side, one for each fold and repeat; usually one.

An epoch of the trial is an epoch of each, so that they can be compared with other trials at any moment. All are on the
device at once: memory for weights, gradients and optimizer grows with their number, that for activations and images
does not.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from tlsweep.errors import ModelError, ResultsError
from tlsweep.spec import Hyperparameters, TrainSettings
from tlsweep.training.checkpoint import dump_checkpoint
from tlsweep.training.devices import Compute
from tlsweep.training.evaluation import evaluate_checkpoint
from tlsweep.training.federation.rounds import FederatedTrainer
from tlsweep.training.frozen import FeatureSource
from tlsweep.training.metrics import Evaluation
from tlsweep.training.reports import Copy
from tlsweep.training.trainer import Trainer
from tlsweep.training.transfer import Transfer


class Runs:
    """The state of a trial: a trainer for each run of its task."""

    def __init__(
        self,
        hyperparameters: Hyperparameters,
        settings: TrainSettings,
        transfer: Transfer,
        compute: Compute,
        features: FeatureSource | None = None,
    ) -> None:
        self.trainers: list[Trainer] = []
        self.task = transfer.task
        make = FederatedTrainer if settings.federated else Trainer
        for run in transfer.runs():
            beside = self.trainers[0] if self.trainers else None
            self.trainers.append(make(hyperparameters, settings, run, compute, beside=beside, features=features))

    @property
    def epoch(self) -> int:
        """Epochs completed, of each."""
        return self.trainers[0].epoch

    def copy(self) -> Copy:
        """Copy the state of this moment, which must be the end of an epoch."""
        states = [trainer.state() for trainer in self.trainers]
        return lambda: pack([dump_checkpoint(state) for state in states])

    def restore(self, content: bytes) -> None:
        """Go on from a checkpoint.

        Raises:
            ModelError, ResultsError: see `Trainer.restore` and `unpack`.
        """
        for trainer, part in zip(self.trainers, unpack(content, len(self.trainers)), strict=True):
            trainer.restore(part)


def pack(checkpoints: Sequence[bytes]) -> bytes:
    """The checkpoints of all runs as one: of a single one itself, of several a safetensors file of bytes."""
    if len(checkpoints) == 1:
        return checkpoints[0]
    arrays = {str(run): np.frombuffer(checkpoint, np.uint8) for run, checkpoint in enumerate(checkpoints)}
    # Like each of the checkpoints in it, plain data that can be read without running any code.
    packed: bytes = safetensors.numpy.save(arrays)
    return packed


def unpack(content: bytes, runs: int) -> list[bytes]:
    """The checkpoints of `runs` runs that `pack` put together.

    Raises:
        ResultsError: damaged bytes.
        ModelError: they are of another number of runs.
    """
    if runs == 1:
        return [content]
    try:
        parts = safetensors.numpy.load(content)
    except SafetensorError as error:
        raise ResultsError(
            f"a checkpoint of {len(content)} bytes cannot be read ({error}); remove it, and its trial begins again"
        ) from error
    if parts.keys() != {str(run) for run in range(runs)}:
        raise ModelError(
            f"a checkpoint holds {len(parts)} networks, but data.folds and data.repeats make {runs}; use the data "
            "section that it was made with"
        )
    return [parts[str(run)].tobytes() for run in range(runs)]


def evaluate_runs(checkpoint: bytes | None, transfer: Transfer, **options: Any) -> list[Evaluation]:
    """How the network of each run does on a split; the arguments are those of `evaluate_checkpoint`."""
    runs = transfer.runs()
    parts = [None] * len(runs) if checkpoint is None else unpack(checkpoint, len(runs))
    return [evaluate_checkpoint(part, run, **options) for part, run in zip(parts, runs, strict=True)]
