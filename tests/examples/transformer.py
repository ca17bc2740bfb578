"""Tells from a line of its description which of scikit-learn's data sets it is about: a BERT in a `Trainer`."""

import torch
from text import TOPICS, load
from torch.utils.data import Subset, TensorDataset
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

from tlsweep.functions.huggingface import arguments, train


def network():
    config = BertConfig(
        vocab_size=128, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=80, num_labels=len(TOPICS),
    )  # fmt: skip
    return BertForSequenceClassification(config)


def collate(rows):
    codes, labels = (torch.stack(column) for column in zip(*rows, strict=True))
    return {"input_ids": codes, "attention_mask": (codes > 0).long(), "labels": labels}


def measure(outcome):
    return {"accuracy": (outcome.predictions.argmax(1) == outcome.label_ids).mean()}


def fit(trial, model):
    codes, labels = trial.share("lines", load)
    lines = TensorDataset(codes, labels)
    is_val = torch.arange(len(labels)) % 4 == 0
    trainer = Trainer(
        model,
        TrainingArguments(**arguments(trial), weight_decay=0.01, warmup_steps=5),
        data_collator=collate,
        train_dataset=Subset(lines, (~is_val).nonzero()[:, 0].tolist()),
        eval_dataset=Subset(lines, is_val.nonzero()[:, 0].tolist()),
        compute_metrics=measure,
    )
    train(trial, trainer)


def finetune(trial):
    fit(trial, network())
