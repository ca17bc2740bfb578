"""A `transformers.Trainer` as a trial of a sweep: a callback, and what it is given (README.md has an example)."""

import math
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LRScheduler
from transformers import Trainer, TrainerCallback, TrainerState, TrainingArguments

from tlsweep.errors import FunctionError
from tlsweep.functions.trial import Trial, as_name

_MEASURED = ("_runtime", "_per_second")
"""How metrics end that say how fast the evaluation was."""


def arguments(trial: Trial) -> dict[str, Any]:
    """What `TrainingArguments` are given in a sweep: the hyperparameters, the seed, and one evaluation an epoch.

    Files, bars and trackers are left to the sweep.
    """
    trial.refuse_several("the bridge to Hugging Face's Trainer")
    seed = trial.seed % 2**32  # numpy takes no more
    return {
        "learning_rate": trial.values.lr,
        "per_device_train_batch_size": trial.values.batch_size,
        "num_train_epochs": trial.last_epoch,
        "eval_strategy": "epoch",
        "logging_strategy": "epoch",
        "save_strategy": "no",
        "output_dir": str(Path(gettempdir()) / "tlsweep-huggingface"),
        "use_cpu": trial.device == "cpu",
        "seed": seed,
        "data_seed": seed,
        "report_to": [],
        "disable_tqdm": True,
    }


def train(trial: Trial, trainer: Trainer) -> None:
    """`trainer.train()`, from where the trial stands to where the sweep ends it, with a report of each evaluation.

    An evaluation's `eval_NAME` is reported as `val_NAME`, and the `loss` that was logged in its epoch as `train_loss`.
    The state has the network (of a `peft` model, the adapter), the optimizer and the schedule. What other callbacks
    remember is not in it.

    Raises:
        FunctionError: the arguments of the trainer are others than `arguments(trial)` has, so that epochs would not be
            those of the sweep.
    """
    _check(trial, trainer.args)
    trainer.add_callback(_Reports(trial))
    state = trial.restore()
    if state is None:
        trainer.train()
        return
    # The trainer goes on from folders alone.
    with TemporaryDirectory() as folder:
        _write(Path(folder), trainer, state, trial.reached)
        trainer.train(resume_from_checkpoint=folder)


class _Reports(TrainerCallback):
    """Ties epochs and evaluations of a trainer to those of a trial."""

    def __init__(self, trial: Trial) -> None:
        self._trial = trial
        self._turns = trial.epochs()
        self._evaluates = False
        self._logged: dict[str, float] = {}

    def on_train_begin(
        self, args: TrainingArguments, state: Any, control: Any, *, optimizer: Any, lr_scheduler: Any, **others: Any
    ) -> None:
        self._trial.apply_lr(optimizer, lr_scheduler if isinstance(lr_scheduler, LRScheduler) else None)

    def on_epoch_begin(self, args: TrainingArguments, state: Any, control: Any, **others: Any) -> None:
        next(self._turns)
        self._evaluates = True
        self._logged = {}

    def on_log(
        self, args: TrainingArguments, state: Any, control: Any, *, logs: Mapping[str, float], **others: Any
    ) -> None:
        if "loss" in logs:
            self._logged = {"train_loss": logs["loss"]}

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: Any,
        control: Any,
        *,
        metrics: Mapping[str, float],
        model: nn.Module,
        optimizer: Any,
        lr_scheduler: Any,
        **others: Any,
    ) -> None:
        if not self._evaluates:  # one that is asked for before training or after it
            return
        self._evaluates = False
        found = {
            as_name(f"val_{name.removeprefix('eval_')}"): value for name, value in metrics.items() if _is_metric(name)
        }

        def content() -> dict[str, Any]:
            return {
                "model": _state_of(model),
                "optimizer": optimizer.state_dict(),
                "schedule": lr_scheduler.state_dict(),
            }

        self._trial.report(**self._logged, **found, state=content)


def _is_metric(name: str) -> bool:
    return name.startswith("eval_") and not name.endswith(_MEASURED)


def _check(trial: Trial, given: TrainingArguments) -> None:
    """Raises:
    FunctionError: epochs of the trainer would not be those of the sweep.
    """
    # In words that print alike, whether an argument is an enumeration or text.
    found = {
        "num_train_epochs": str(int(given.num_train_epochs)),
        "eval_strategy": str(given.eval_strategy.value),
        "max_steps": str(given.max_steps),
    }
    if given.lr_scheduler_type == "reduce_lr_on_plateau":
        raise FunctionError(
            "TrainingArguments has lr_scheduler_type = reduce_lr_on_plateau, which takes its step behind the report, "
            "so that no state has it; take another one"
        )
    needed = {"num_train_epochs": str(trial.last_epoch), "eval_strategy": "epoch", "max_steps": "-1"}
    for name, value in found.items():
        if value != needed[name]:
            raise FunctionError(
                f"TrainingArguments has {name} = {value}, and this sweep needs {needed[name]}; write "
                "TrainingArguments(**arguments(trial), …), with arguments of tlsweep.functions.huggingface"
            )


def _state_of(model: nn.Module) -> Mapping[str, Any]:
    if hasattr(model, "peft_config"):
        from peft import get_peft_model_state_dict

        adapter: Mapping[str, Any] = get_peft_model_state_dict(model)
        return adapter
    return model.state_dict()


def _load(model: nn.Module, state: Mapping[str, Any]) -> None:
    if hasattr(model, "peft_config"):
        from peft import set_peft_model_state_dict

        set_peft_model_state_dict(model, state)
    else:
        model.load_state_dict(state)


def _write(folder: Path, trainer: Trainer, state: Mapping[str, Any], epoch: int) -> None:
    """Write what `Trainer.train(resume_from_checkpoint=…)` reads, as if the present batch size had been there before:
    where it has changed, an epoch has other steps than those which the trainer counts."""
    _load(trainer.model, state["model"])
    trainer.save_model(str(folder))
    each = max(math.ceil(len(trainer.get_train_dataloader()) / trainer.args.gradient_accumulation_steps), 1)
    schedule = dict(state["schedule"])
    if "lr_lambdas" in schedule:  # it counts steps, as all schedules of transformers
        schedule["last_epoch"] = epoch * each
    torch.save(state["optimizer"], folder / "optimizer.pt")
    torch.save(schedule, folder / "scheduler.pt")
    reached = TrainerState(
        epoch=epoch, global_step=epoch * each, train_batch_size=trainer.args.per_device_train_batch_size
    )
    reached.compute_steps(trainer.args, math.ceil(trainer.args.num_train_epochs) * each)
    reached.save_to_json(str(folder / "trainer_state.json"))
