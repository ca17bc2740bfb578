"""How learning rate and batch size of one trial move away from their base values while it trains."""

import math
from dataclasses import asdict, replace
from typing import Any

from tlsweep.spec import Hyperparameters
from tlsweep.training.optimization.schedules import ROUNDING, lr_factor, rises
from tlsweep.training.optimization.validation_schedules import Performance, adjusted, dynamic, plateau


class TrialSchedule:
    """The learning-rate schedule of a trial, and what it remembers of its validation losses.

    The base values are the hyperparameters `lr` and `batch_size`: a value that a mutation has changed is the base from
    then on, and the schedule multiplies it. What is remembered travels in the checkpoint: a trial that goes on from it
    with the same `lr_schedule` goes on with its factor; with another one it starts again.

    `decay_by: batch_size` lets the batch grow where the schedule would lower the learning rate, because what decays is
    the noise of the steps, about lr over batch size (Smith, Kindermans, Ying & Le 2018, "Don't decay the learning rate,
    increase the batch size"). With f the schedule's factor at the beginning of an epoch, the batch of that epoch is
    batch_size × 2^k with the largest k ≥ 0 for which 2^k ≤ 1/f, and which batch_size_limit and the training split allow
    (k = 0 while the rate has yet to rise: in the warm-up, and until the peak of one_cycle). lr is multiplied with
    2^k × f, with f as of each step: so lr over batch size is that of the plain schedule, step by step.

    Args:
        hyperparameters: those of the trial, in force.
        epochs: the epoch at which training ends.
        samples: size of the training split.
    """

    def __init__(self, hyperparameters: Hyperparameters, epochs: int, samples: int) -> None:
        self._hyperparameters, self._epochs = hyperparameters, epochs
        self._samples = samples
        self._performance = Performance()

    @property
    def largest_batch(self) -> int:
        """The batch size that none will exceed."""
        base, limit = self._hyperparameters.batch_size, self._hyperparameters.batch_size_limit
        if self._hyperparameters.decay_by == "lr":
            return base
        return max(base, min(limit, self._samples))

    def batch_size(self, epoch: int) -> int:
        """The batch size of the epoch that begins when `epoch` are completed."""
        base = self._hyperparameters.batch_size
        if rises(self._hyperparameters, epoch, self._epochs):
            return base
        factor = self._factor(epoch, 0.0)
        growth = min(self.largest_batch / base, 1 / factor if factor > 0 else math.inf)
        # A quotient of floats may be a hair below the power of two that it stands for.
        return base << max(0, math.floor(math.log2(growth) + ROUNDING))

    def lr(self, epoch: float, step: float, batch_size: int) -> float:
        """The backbone's learning rate in a step that begins at `epoch` and passes `step` epochs; `batch_size` is that
        of the epoch."""
        base = self._hyperparameters
        return base.lr * self._factor(epoch, step) * (batch_size / base.batch_size)

    def observe(self, epoch: int, val_loss: float) -> None:
        """Take note of the validation loss after `epoch` epochs; the first time that it is told counts.

        Nothing is looked at before the warm-up has ended: its losses tell of the warm-up.
        """
        base, before = self._hyperparameters, self._performance
        if epoch <= before.epoch or epoch + ROUNDING < base.warmup_epochs:
            return
        match base.lr_schedule:
            case "plateau":
                after = plateau(base, before, val_loss)
            case "adjusted":
                after = adjusted(base, before, val_loss)
            case "dynamic":
                after = dynamic(base, before, val_loss, self._progress(epoch))
            case _:
                return
        self._performance = replace(after, epoch=epoch)

    def state(self) -> dict[str, Any]:
        """What a checkpoint must hold of it."""
        return {"lr_schedule": self._hyperparameters.lr_schedule, **asdict(self._performance)}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on with a state of the same schedule; with that of another one, or none, stay as new."""
        remembered = dict(state)
        if remembered.pop("lr_schedule", None) == self._hyperparameters.lr_schedule:
            self._performance = Performance(**remembered)

    def _factor(self, epoch: float, step: float) -> float:
        return lr_factor(self._hyperparameters, epoch, self._epochs, step=step, performance=self._performance.factor)

    def _progress(self, epoch: int) -> float:
        """Part of the training after the warm-up that is completed."""
        warmup = self._hyperparameters.warmup_epochs
        if self._epochs > warmup:
            return min(1.0, (epoch - warmup) / (self._epochs - warmup))
        return 1.0
