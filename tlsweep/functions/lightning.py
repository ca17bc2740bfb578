"""A `lightning.Trainer` as a trial of a sweep: a callback, and what it is given (tests/examples/module.py)."""

import math
from collections.abc import Mapping
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.plugins.environments import LightningEnvironment

from tlsweep.errors import FunctionError
from tlsweep.functions.trial import Trial, as_name

_ACCELERATORS = {"cpu": "cpu", "cuda": "gpu", "mps": "mps"}


def arguments(trial: Trial) -> dict[str, Any]:
    """What `lightning.Trainer` is given in a sweep. Files, bars and loggers are left to the sweep."""
    trial.refuse_several("the bridge to Lightning's Trainer")
    return {
        "max_epochs": trial.last_epoch,
        "accelerator": _ACCELERATORS[trial.device.partition(":")[0]],
        "devices": 1,
        # A trial is one process, also where the cluster is a job of Slurm, which a trainer would take for its own.
        "plugins": [LightningEnvironment()],
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }


def fit(trial: Trial, trainer: Trainer, module: LightningModule, **data: Any) -> None:
    """`trainer.fit(module, **data)`, from where the trial stands to where the sweep ends it.

    Each epoch is reported with what the module has logged (`self.log`); what no name has, such as /, becomes _. The
    state has the module, its optimizers and schedules, and the scale of a loss in fp16. What other callbacks remember
    is not in it.

    Raises:
        FunctionError: the trainer's `max_epochs` is not the sweep's.
    """
    if trainer.max_epochs != trial.last_epoch:
        raise FunctionError(
            f"Trainer has max_epochs = {trainer.max_epochs}, and this sweep needs {trial.last_epoch}; write "
            "Trainer(**arguments(trial), …), with arguments of tlsweep.functions.lightning"
        )
    progress = trainer.fit_loop.epoch_progress
    for count in (progress.current, progress.total):
        count.ready = count.started = count.processed = count.completed = trial.reached
    trainer.callbacks.insert(0, _Reports(trial))
    trainer.fit(module, **data)


class _Reports(Callback):
    """Ties the epochs of a trainer to those of a trial."""

    def __init__(self, trial: Trial) -> None:
        self._trial = trial
        self._turns = trial.epochs()
        self._trains = False

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        state = self._trial.restore()
        if state is not None:
            _load(trainer, module, state, self._trial.reached)
        for optimizer in trainer.optimizers:
            schedules = [
                made.scheduler for made in trainer.lr_scheduler_configs if made.scheduler.optimizer is optimizer
            ]
            self._trial.apply_lr(optimizer, schedules[0] if schedules else None)

    def on_train_epoch_start(self, trainer: Trainer, module: LightningModule) -> None:
        # An epoch is over when the next begins: schedules that step once an epoch do so behind all hooks of its end.
        self._report(trainer, module)
        next(self._turns)
        self._trains = True

    def on_train_end(self, trainer: Trainer, module: LightningModule) -> None:
        self._report(trainer, module)

    def _report(self, trainer: Trainer, module: LightningModule) -> None:
        if self._trains:
            self._trains = False
            found = {as_name(name): value for name, value in trainer.callback_metrics.items()}
            self._trial.report(**found, state=lambda: _state_of(trainer, module))


def _state_of(trainer: Trainer, module: LightningModule) -> dict[str, Any]:
    return {
        "module": module.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in trainer.optimizers],
        "schedules": [made.scheduler.state_dict() for made in trainer.lr_scheduler_configs],
        "precision": trainer.precision_plugin.state_dict(),
    }


def _load(trainer: Trainer, module: LightningModule, state: Mapping[str, Any], epoch: int) -> None:
    module.load_state_dict(state["module"])
    for optimizer, content in zip(trainer.optimizers, state["optimizers"], strict=True):
        optimizer.load_state_dict(content)
    # With another batch size an epoch has another number of steps.
    each = math.ceil(trainer.num_training_batches / trainer.accumulate_grad_batches)
    for made, content in zip(trainer.lr_scheduler_configs, state["schedules"], strict=True):
        counted = {"last_epoch": epoch * each} if made.interval == "step" else {}
        made.scheduler.load_state_dict({**content, **counted})
    trainer.precision_plugin.load_state_dict(state["precision"])
