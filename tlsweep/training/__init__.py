"""Trains one trial, without Ray: the fine-tuning function, optimizers, schedules, checkpoints, the exported model."""

from tlsweep.training.devices import Compute, choose_device, device_name
from tlsweep.training.evaluation import evaluate_checkpoint
from tlsweep.training.export import export_model
from tlsweep.training.exported import ExportInfo, load_exported
from tlsweep.training.finetuning import finetune
from tlsweep.training.metrics import ClassScores, Evaluation
from tlsweep.training.optimization.schedules import lr_factor
from tlsweep.training.reports import Copy, EpochReport, Receiver, Snapshot
from tlsweep.training.runs import evaluate_runs, pack, unpack
from tlsweep.training.summary import summarise_test
from tlsweep.training.transfer import Transfer

__all__ = [
    "ClassScores", "Compute", "Copy", "EpochReport", "Evaluation", "ExportInfo", "Receiver", "Snapshot", "Transfer",
    "choose_device", "device_name", "evaluate_checkpoint", "evaluate_runs", "export_model", "finetune", "load_exported",
    "lr_factor", "pack", "summarise_test", "unpack",
]  # fmt: skip
