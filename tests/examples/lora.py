"""The BERT of `transformer.py`, of which LoRA's adapters alone are trained (Hu et al. 2021)."""

import torch
from peft import LoraConfig, TaskType, get_peft_model
from transformer import fit, network


def pretrained():
    """The same weights in all trials, as a file of weights would be."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return network()


def finetune(trial):
    adapters = LoraConfig(task_type=TaskType.SEQ_CLS, r=trial.values.lora_rank, target_modules=["query", "value"])
    fit(trial, get_peft_model(pretrained(), adapters))
