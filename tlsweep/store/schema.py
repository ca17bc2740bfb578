"""THE tables: names, types and meaning of every column. A public interface.

Columns are added, never changed or removed.
Written as plain data, without pyarrow, so that whoever only needs the names pays nothing for them.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal, get_args

from tlsweep.spec import Hyperparameters
from tlsweep.spec.model import WEIGHTS

SCHEMA_VERSION: Final = 1

Type = Literal["string", "int", "float", "bool", "time"]
"""`time` is UTC with microseconds; `int` 64 bits; `float` double precision."""


def _type_of(annotation: object) -> Type:
    kinds: dict[object, Type] = {float: "float", int: "int", bool: "bool"}
    return kinds.get(annotation, "string") if not get_args(annotation) else "string"


HYPERPARAMETERS: Final[Mapping[str, Type]] = MappingProxyType(
    {name: _type_of(field.annotation) for name, field in Hyperparameters.model_fields.items()}
    | {WEIGHTS: "string"}  # `none`: random ones
)

METRICS: Final[Mapping[str, Type]] = MappingProxyType(
    dict.fromkeys(
        ("train_loss", "train_accuracy", "val_loss", "val_accuracy", "val_precision", "val_recall", "val_f1"), "float"
    )
)

ERRORS: Final[Mapping[str, Type]] = MappingProxyType(
    {f"{name}_se": kind for name, kind in METRICS.items() if name.startswith("val_")}
)
"""Standard errors of the means over runs; null where a trial trains one network."""

REPORTS: Final[Mapping[str, Type]] = MappingProxyType(
    {
        "sweep": "string",  # name of the results folder
        "stage": "string",  # one Ray Tune run in the sweep
        "arm": "string",  # main, or one beside it (`controls`, `study`)
        "trial": "string",  # t0007; the control of the same configuration is t0007-scratch
        "generation": "int",  # 0; each exploit starts the next one
        "parent_trial": "string",  # where this generation's weights came from; null in generation 0
        "epoch": "int",  # passes over the training split, complete
        "samples": "int",  # training samples seen by these weights
        "step": "int",  # optimizer steps taken by these weights
        **HYPERPARAMETERS,  # in force in this epoch
        "scheduled_lr": "float",  # lr at the last step, after the schedule
        "scheduled_batch_size": "int",  # samples for each step: batch_size, or what it has grown to (decay_by)
        "micro_batch": "int",  # samples for each forward and backward pass
        **METRICS,  # precision, recall and F1 are macro averages; all are means over runs
        "runs": "int",  # networks trained side by side: folds × repeats
        **ERRORS,
        "noise_scale": "float",  # gradient noise scale, in samples; null or NaN where it was not measured
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

FOLDS: Final[Mapping[str, Type]] = MappingProxyType(
    {
        "sweep": "string",
        "stage": "string",
        "arm": "string",
        "trial": "string",
        "generation": "int",
        "epoch": "int",  # to here as in reports: each of its rows has one of these for each run
        "fold": "int",  # from 0; 0 without data.folds
        "repeat": "int",  # from 0
        "train_images": "int",  # in the training split of the run
        "val_images": "int",  # in the fold that validates it
        "samples": "int",  # training samples seen by these weights
        "step": "int",  # optimizer steps taken by these weights
        "scheduled_lr": "float",
        "scheduled_batch_size": "int",
        "micro_batch": "int",
        **METRICS,
        "train_seconds": "float",
        "eval_seconds": "float",
        "time": "time",
        "elapsed": "float",
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
        "joined": "it survived the screening and is a member of the population; details say where it ranked",
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
        "runs": "int",  # networks trained side by side; the metrics are means over them
        **{f"best_{name}": kind for name, kind in ERRORS.items()},
        **{f"last_{name}": kind for name, kind in ERRORS.items()},
        "checkpoint": "string",  # of the best epoch, below the sweep's folder; null where it was not kept
        "checkpoint_digest": "string",  # SHA-256 of that file
        "device_seconds": "float",  # training and evaluation, over all generations
        "failures": "int",  # retries that count; the loss of a node does not
        "error": "string",
    }
)

PREDICTIONS: Final[Mapping[str, Type]] = MappingProxyType(
    {
        "sweep": "string",
        "arm": "string",
        "trial": "string",  # the winner of its arm
        "fold": "int",  # of the run whose network it is, as in folds
        "repeat": "int",
        "image": "int",  # of the test split: its number in the data set, the same in all arms
        "label": "string",  # the class that it is of
        "predicted": "string",  # the class that the network finds most probable
        "probability": "float",  # of that class
    }
)

TABLES: Final = MappingProxyType(
    {"reports": REPORTS, "folds": FOLDS, "events": EVENTS, "trials": TRIALS, "predictions": PREDICTIONS}
)
