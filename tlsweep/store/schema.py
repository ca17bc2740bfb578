"""THE tables: names, types and meaning of every column. A public interface.

Columns are added, never changed or removed.
Written as plain data, without pyarrow, so that whoever only needs the names pays nothing for them.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal, get_args

from tlsweep.spec import Hyperparameters

SCHEMA_VERSION: Final = 1

Type = Literal["string", "int", "float", "bool", "time"]
"""`time` is UTC with microseconds; `int` 64 bits; `float` double precision."""


def _type_of(annotation: object) -> Type:
    kinds: dict[object, Type] = {float: "float", int: "int", bool: "bool"}
    return kinds.get(annotation, "string") if not get_args(annotation) else "string"


HYPERPARAMETERS: Final[Mapping[str, Type]] = MappingProxyType(
    {name: _type_of(field.annotation) for name, field in Hyperparameters.model_fields.items()}
)

METRICS: Final[Mapping[str, Type]] = MappingProxyType(
    dict.fromkeys(
        ("train_loss", "train_accuracy", "val_loss", "val_accuracy", "val_precision", "val_recall", "val_f1"), "float"
    )
)

REPORTS: Final[Mapping[str, Type]] = MappingProxyType(
    {
        "sweep": "string",  # name of the results folder
        "stage": "string",  # one Ray Tune run in the sweep
        "arm": "string",  # main, or a control
        "trial": "string",  # t0007; the control of the same configuration is t0007-scratch
        "generation": "int",  # 0; each exploit starts the next one
        "parent_trial": "string",  # where this generation's weights came from; null in generation 0
        "epoch": "int",  # passes over the training split, complete
        "samples": "int",  # training samples seen by these weights
        "step": "int",  # optimizer steps taken by these weights
        **HYPERPARAMETERS,  # in force in this epoch
        "scheduled_lr": "float",  # lr at the last step, after the schedule
        "micro_batch": "int",  # samples for each forward and backward pass
        **METRICS,  # precision, recall and F1 are macro averages
        "train_seconds": "float",
        "eval_seconds": "float",
        "wait_seconds": "float",  # for data, and for the sweep's answer to the report before
        "samples_per_second": "float",  # training samples in training time
        "device_memory": "int",  # peak bytes on the device; 0 on a CPU
        "device": "string",
        "node": "string",
        "time": "time",
        "elapsed": "float",  # seconds that the sweep has run, over all its launches, by a clock that never goes back
    }
)

EVENTS: Final[Mapping[str, Type]] = MappingProxyType(
    {
        "sweep": "string",
        "stage": "string",
        "arm": "string",
        "trial": "string",  # null for an event of the whole sweep
        "generation": "int",
        "kind": "string",  # see KINDS
        "epoch": "int",  # epochs the trial had completed
        "details": "string",  # JSON: why, with the numbers that decided; null for one that is not finite
        "time": "time",
        "elapsed": "float",
    }
)

KINDS: Final = MappingProxyType(
    {
        "launched": "the sweep began: details hold its spec, and the fingerprints of data and weights",
        "resumed": "the sweep goes on after it was stopped or killed; details say what was extended",
        "created": "a configuration was drawn",
        "started": "a worker began to train it, or to go on with it",
        "paused": "it gave up its place to others, or waits for them, and will go on",
        "moved": "its node is about to be taken away; it goes on elsewhere from the checkpoint it just wrote",
        "promoted": "it goes on from the rung where it was held (ASHA, promotion form)",
        "stopped": "it was ended before its last epoch: details say by what rule and numbers",
        "exploited": "it took weights and configuration of a better member",
        "perturbed": "values of the copied configuration were changed",
        "retried": "its function raised, it hung, or its process died; it goes on from its last checkpoint",
        "restored": "its last checkpoint was missing or damaged; it went on from the one before",
        "repeated": "an epoch that was reported already was trained again, from an older checkpoint",
        "failed": "it failed for good; details hold the traceback",
        "finished": "it was trained to the last epoch",
        "interrupted": "the sweep was stopped before it ended; --resume goes on with it",
        "evaluated": "the winner of an arm met the test split",
        "node_joined": "a node came to the cluster; details: its address, what it has, how many trials now run at once",
        "node_refused": "a node that joined is not ready for this sweep; details say why; no trial runs there",
        "node_draining": "a node will be taken away: trials on it move with their next report, none begins there",
        "node_lost": "a node is gone; its trials go on elsewhere from their last checkpoints",
    }
)

TRIALS: Final[Mapping[str, Type]] = MappingProxyType(
    {
        "sweep": "string",
        "stage": "string",
        "arm": "string",
        "trial": "string",
        "number": "int",  # of the configuration in its arm, from 0
        "status": "string",  # pending, running, paused, stopped, finished, failed or interrupted
        "reason": "string",  # of the last stop or failure, in words
        "generation": "int",
        "parent_trial": "string",
        "epoch": "int",  # of the last report
        **HYPERPARAMETERS,  # at the end
        **{f"start_{name}": kind for name, kind in HYPERPARAMETERS.items()},
        "best_epoch": "int",
        "best_generation": "int",
        **{f"best_{name}": kind for name, kind in METRICS.items()},
        **{f"last_{name}": kind for name, kind in METRICS.items()},
        "checkpoint": "string",  # of the best epoch, below the sweep's folder; null where it was not kept
        "checkpoint_digest": "string",  # SHA-256 of that file
        "device_seconds": "float",  # training and evaluation, over all generations
        "failures": "int",  # retries that count; the loss of a node does not
        "error": "string",
    }
)

TABLES: Final = MappingProxyType({"reports": REPORTS, "events": EVENTS, "trials": TRIALS})
