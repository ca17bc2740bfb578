"""What the bridges to other trainers refuse: arguments with which epochs would not be those of the sweep."""

from collections.abc import Mapping
from typing import Any

import pytest

from tlsweep.errors import FunctionError
from tlsweep.functions.trial import Place, Terms, Trial

pytestmark = pytest.mark.slow  # the others take seconds to import


def a_trial(processes: int = 1) -> Trial:
    unused: Any = None
    return Trial(
        Terms("mine:finetune", 4, "val_loss"),
        {"lr": 0.01, "batch_size": 8},
        2**62,
        "cpu",
        receive=unused,
        checkpoint=None,
        share=unused,
        log=unused,
        place=Place(0, processes),
    )


OTHERS: dict[str, tuple[Mapping[str, Any], str]] = {
    "epochs": ({"num_train_epochs": 3}, "num_train_epochs = 3, and this sweep needs 4"),
    "steps": ({"max_steps": 100}, "max_steps = 100, and this sweep needs -1"),
    "evaluation": ({"eval_strategy": "steps", "eval_steps": 5}, "eval_strategy = steps, and this sweep needs epoch"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_hugging_faces_trainer_is_held_to_the_sweeps_epochs(name: str) -> None:
    pytest.importorskip("transformers")
    from torch import nn
    from transformers import Trainer, TrainingArguments

    from tlsweep.functions.huggingface import arguments, train

    changed, said = OTHERS[name]
    trial = a_trial()
    given = TrainingArguments(**{**arguments(trial), **changed})
    with pytest.raises(FunctionError) as raised:
        train(trial, Trainer(nn.Linear(1, 1), given, train_dataset=[0], eval_dataset=[0]))
    assert said in str(raised.value)


def test_lightnings_trainer_is_held_to_the_sweeps_epochs() -> None:
    lightning = pytest.importorskip("lightning")

    from tlsweep.functions.lightning import arguments, fit

    trial = a_trial()
    with pytest.raises(FunctionError, match="max_epochs = 3, and this sweep needs 4"):
        fit(trial, lightning.Trainer(**{**arguments(trial), "max_epochs": 3}), lightning.LightningModule())


@pytest.mark.parametrize("library", ["huggingface", "lightning"])
def test_they_train_in_one_process(library: str) -> None:
    pytest.importorskip({"huggingface": "transformers"}.get(library, library))
    if library == "huggingface":
        from tlsweep.functions.huggingface import arguments
    else:
        from tlsweep.functions.lightning import arguments
    with pytest.raises(FunctionError, match="trains in one process, and resources.processes = 2; write 1"):
        arguments(a_trial(processes=2))
