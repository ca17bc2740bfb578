"""The columns of every table: their names, types and meaning."""

from collections.abc import Mapping
from types import MappingProxyType, NoneType
from typing import Final, Literal, NamedTuple, get_args

from tlsweep.spec import Hyperparameters
from tlsweep.spec.model import NO_WEIGHTS, WEIGHTS

SCHEMA_VERSION: Final = 1

Type = Literal["string", "int", "float", "bool", "time"]
"""`time` is UTC with microseconds; `int` 64 bits; `float` double precision."""


class Column(NamedTuple):
    """A column of a table."""

    type: Type
    meaning: str


Columns = Mapping[str, Column]


def _type_of(annotation: object) -> Type:
    kinds: dict[object, Type] = {float: "float", int: "int", bool: "bool"}
    types = [part for part in get_args(annotation) or (annotation,) if part is not NoneType]
    return kinds.get(types[0], "string") if len(types) == 1 else "string"


def _one_paragraph(text: str | None) -> str:
    return " ".join((text or "").split())


def _named(prefix: str, columns: Columns, meaning: str) -> Columns:
    """The same columns at another moment, such as `start_lr` beside `lr`."""
    return {f"{prefix}_{name}": Column(column.type, meaning.format(name)) for name, column in columns.items()}


HYPERPARAMETERS: Final[Columns] = MappingProxyType(
    {
        name: Column(_type_of(field.annotation), _one_paragraph(field.description))
        for name, field in Hyperparameters.model_fields.items()
    }
    | {WEIGHTS: Column("string", f"The weights that the trial started from; `{NO_WEIGHTS}`: random ones.")}
)

METRICS: Final[Columns] = MappingProxyType(
    {
        "train_loss": Column(
            "float",
            "Mean cross entropy in nats over the epoch's training images, with label smoothing and mixed labels.",
        ),
        "train_accuracy": Column(
            "float",
            "Share of the training images of the epoch that were classified rightly; of mixed ones the larger part.",
        ),
        "val_loss": Column("float", "Mean cross entropy in nats, without label smoothing, on the validation split."),
        "val_accuracy": Column("float", "Share of the validation images that are classified rightly."),
        "val_precision": Column("float", "Macro average over the classes, on the validation split."),
        "val_recall": Column(
            "float", "Macro average over the classes, on the validation split: what is also called balanced accuracy."
        ),
        "val_f1": Column("float", "Macro average over the classes, on the validation split."),
        "val_top5": Column(
            "float",
            "Share of the validation images whose class is among the five most probable ones; null with fewer than six "
            "classes.",
        ),
        "val_auroc": Column(
            "float",
            "Area under the ROC curve of a class against the rest, averaged over the classes, on the validation split; "
            "null where that is so large (2^27 images × classes) that not all probabilities are kept.",
        ),
        "val_ece": Column(
            "float",
            "Expected calibration error on the validation split: how far the share of right predictions is from their "
            "probability, in 15 equally wide bins of it, averaged over the images.",
        ),
        "val_worst_client": Column(
            "float",
            "The least share of a client's validation images that are classified rightly (`train.federated`), over the "
            "clients that have any; null without a federation.",
        ),
    }
)
"""The metrics that are means over the networks of a trial, where it trains several (folds, repeats)."""

ERRORS: Final[Columns] = MappingProxyType(
    {
        f"{name}_se": Column("float", f"Standard error of `{name}` over the trial's networks; null where it has one.")
        for name in METRICS
        if name.startswith("val_")
    }
)

_SWEEP = Column("string", "Name of the results folder.")
_STAGE = Column("string", "Phase of the strategy: `asha`, then `pbt`, of asha_then_pbt; of another its own name.")
_ARM = Column("string", "`main`, or an arm beside it (`controls`, `study`).")
_TRIAL = Column("string", "`t0007`; the control of the same configuration is `t0007-scratch`.")
_GENERATION = Column("int", "0; each exploit starts the next one.")
_EPOCH = Column("int", "Passes over the training split that the weights have completed.")
_SAMPLES = Column("int", "Training samples seen by these weights.")
_STEP = Column("int", "Optimizer steps taken by these weights.")
_SCHEDULED_LR = Column("float", "Learning rate at the last step, after the schedule.")
_SCHEDULED_BATCH_SIZE = Column("int", "Samples for each step: `batch_size`, or what it has grown to (`decay_by`).")
_MICRO_BATCH = Column("int", "Samples for each forward and backward pass.")
_TRAIN_SECONDS = Column("float", "Seconds of training in this epoch.")
_EVAL_SECONDS = Column("float", "Seconds of evaluation on the validation split after it.")
_TIME = Column("time", "When it was written down, UTC.")
_ELAPSED = Column("float", "Seconds that the sweep has run, over all its launches, by a clock that never goes back.")
_FOLD = Column("int", "From 0; 0 without `data.folds`.")
_REPEAT = Column("int", "From 0; 0 without `data.repeats`.")
_RUNS = Column("int", "Networks trained side by side, folds × repeats; the metrics are means over them.")

REPORTS: Final[Columns] = MappingProxyType(
    {
        "sweep": _SWEEP,
        "stage": _STAGE,
        "arm": _ARM,
        "trial": _TRIAL,
        "generation": _GENERATION,
        "parent_trial": Column("string", "Where this generation's weights came from; null in generation 0."),
        "epoch": _EPOCH,
        "samples": _SAMPLES,
        "step": _STEP,
        **HYPERPARAMETERS,
        "scheduled_lr": _SCHEDULED_LR,
        "scheduled_batch_size": _SCHEDULED_BATCH_SIZE,
        "micro_batch": _MICRO_BATCH,
        **METRICS,
        "runs": _RUNS,
        **ERRORS,
        "noise_scale": Column("float", "Gradient noise scale, in samples; null or NaN where it was not measured."),
        "train_seconds": _TRAIN_SECONDS,
        "eval_seconds": _EVAL_SECONDS,
        "wait_seconds": Column(
            "float", "Seconds of waiting for training batches, and for the answer to the report before."
        ),
        "samples_per_second": Column(
            "float", "Training samples over the time in training steps and waiting for batches."
        ),
        "device_memory": Column("int", "Peak bytes on the device; 0 on a CPU."),
        "device": Column("string", "Name of the device that trained, such as `cpu` or `NVIDIA H200`."),
        "node": Column("string", "Name of the machine."),
        "time": _TIME,
        "elapsed": _ELAPSED,
    }
)

FOLDS: Final[Columns] = MappingProxyType(
    {
        "sweep": _SWEEP,
        "stage": _STAGE,
        "arm": _ARM,
        "trial": _TRIAL,
        "generation": _GENERATION,
        "epoch": _EPOCH,
        "fold": _FOLD,
        "repeat": _REPEAT,
        "train_images": Column("int", "Images in the training split of this network."),
        "val_images": Column("int", "Images in the fold that validates it."),
        "samples": _SAMPLES,
        "step": _STEP,
        "scheduled_lr": _SCHEDULED_LR,
        "scheduled_batch_size": _SCHEDULED_BATCH_SIZE,
        "micro_batch": _MICRO_BATCH,
        **METRICS,
        "train_seconds": _TRAIN_SECONDS,
        "eval_seconds": _EVAL_SECONDS,
        "time": _TIME,
        "elapsed": _ELAPSED,
    }
)

CLIENTS: Final[Columns] = MappingProxyType(
    {
        "sweep": _SWEEP,
        "stage": _STAGE,
        "arm": _ARM,
        "trial": _TRIAL,
        "generation": _GENERATION,
        "epoch": Column("int", "The round, from 1."),
        "fold": _FOLD,
        "repeat": _REPEAT,
        "client": Column("int", "From 0."),
        "train_images": Column("int", "Images that it has to train on."),
        "val_images": Column("int", "Images of the validation split that are its own."),
        "train_loss": Column(
            "float", "As in the reports, over its own training; null, as the next two, where it took no part."
        ),
        "train_accuracy": Column("float", "As in the reports, over its own training."),
        "drift": Column(
            "float", "Euclidean distance of its parameters, when it had trained, from those that it was given."
        ),
        "val_accuracy": Column(
            "float",
            "Share of its validation images that the network of all clients classifies rightly after the round; null "
            "where it has none.",
        ),
        "time": _TIME,
        "elapsed": _ELAPSED,
    }
)

EVENTS: Final[Columns] = MappingProxyType(
    {
        "sweep": _SWEEP,
        "stage": _STAGE,
        "arm": _ARM,
        "trial": Column("string", "The trial; null for an event of the whole sweep."),
        "generation": _GENERATION,
        "kind": Column("string", "What happened; `tlsweep events` lists the kinds."),
        "epoch": Column("int", "Epochs that the trial had completed."),
        "details": Column("string", "JSON: why, with the numbers that decided; null for one that is not finite."),
        "time": _TIME,
        "elapsed": _ELAPSED,
    }
)

TRIALS: Final[Columns] = MappingProxyType(
    {
        "sweep": _SWEEP,
        "stage": _STAGE,
        "arm": _ARM,
        "trial": _TRIAL,
        "number": Column("int", "Of the configuration in its arm, from 0."),
        "status": Column("string", "pending, running, paused, stopped, finished, failed or interrupted."),
        "reason": Column("string", "Why it ended, in words; `tlsweep trial` tells the whole story."),
        "generation": _GENERATION,
        "parent_trial": Column("string", "The member that its present weights were copied from; null for its own."),
        "epoch": Column("int", "Of the last report."),
        **HYPERPARAMETERS,
        **_named("start", HYPERPARAMETERS, "`{}` at the start."),
        "best_epoch": Column("int", "The epoch with the best metric."),
        "best_generation": Column("int", "The generation of that epoch."),
        **_named("best", METRICS, "`{}` at the best epoch."),
        **_named("last", METRICS, "`{}` at the last epoch."),
        "runs": _RUNS,
        **_named("best", ERRORS, "`{}` at the best epoch."),
        **_named("last", ERRORS, "`{}` at the last epoch."),
        "checkpoint": Column("string", "Of the best epoch, below the sweep's folder; null where it was not kept."),
        "checkpoint_digest": Column("string", "SHA-256 of that file."),
        "device_seconds": Column("float", "Training and evaluation, over all generations."),
        "failures": Column("int", "Retries that count; the loss of a node does not."),
        "error": Column("string", "The traceback of a trial that failed."),
    }
)

PREDICTIONS: Final[Columns] = MappingProxyType(
    {
        "sweep": _SWEEP,
        "arm": _ARM,
        "trial": Column("string", "The winner of its arm; `start` where no epoch of training is better than none."),
        "fold": _FOLD,
        "repeat": _REPEAT,
        "image": Column("int", "Of the test split: its number in the data set, the same in all arms."),
        "label": Column("string", "The class that it is of."),
        "predicted": Column("string", "The class that the network finds most probable."),
        "probability": Column("float", "Of that class."),
        "label_probability": Column("float", "Of the class that it is of."),
    }
)

HARD_IMAGES: Final[Columns] = MappingProxyType(
    {name: column for name, column in PREDICTIONS.items() if name != "arm"}
    | {
        "trial": Column(
            "string", "The winner of the main arm; `start` where no epoch of training is better than none."
        ),
        "image": Column("int", "Its number in the data set."),
        "split": Column("string", "`train` or `val`; of several networks `val`: what they were not trained on."),
    }
)

SCHEDULE: Final[Columns] = MappingProxyType(
    {
        "sweep": _SWEEP,
        "stage": _STAGE,
        "arm": _ARM,
        "trial": _TRIAL,
        "generation": _GENERATION,
        "began": Column(
            "string",
            "`sampled`: with values that were drawn; `exploited`: with weights and values of the parent; `perturbed`: "
            "the same, and some of the values were changed; `recipe`: the next step of a recipe.",
        ),
        "parent_trial": Column("string", "Whose weights it began with; null where it was sampled."),
        "parent_generation": Column("int", "The generation of the parent that they are from."),
        "from_epoch": Column("int", "Epochs that its weights had been trained for when it began."),
        "to_epoch": Column(
            "int", "Epochs that they have been trained for at its end; `from_epoch` if none was completed."
        ),
        "lr": Column("float", "Base learning rate, the same in all its epochs; `lr_schedule` multiplies it."),
        "batch_size": Column("int", "Base batch size, the same in all its epochs."),
        "parent_lr": Column("float", "Base learning rate of the parent, which perturbing changed into `lr`."),
        "parent_batch_size": Column("int", "Base batch size of the parent."),
        "metric": Column("string", "What the sweep compares (`search.metric`), and the next three columns are of."),
        "start_value": Column("float", "The metric of the weights that it began with; null where it was sampled."),
        "end_value": Column("float", "The metric after its last epoch; null where it diverged, or completed none."),
        "gain": Column("float", "How much better the metric became: above 0 is better, also for a loss."),
        "time": Column("time", "When it began, UTC."),
        "elapsed": Column("float", "Seconds that the sweep had run when it began."),
    }
)

TABLES: Final[Mapping[str, Columns]] = MappingProxyType(
    {
        "reports": REPORTS,
        "folds": FOLDS,
        "clients": CLIENTS,
        "events": EVENTS,
        "trials": TRIALS,
        "schedule": SCHEDULE,
        "predictions": PREDICTIONS,
        "hard_images": HARD_IMAGES,
    }
)

ROWS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "reports": "a row for each trial, generation and epoch; hyperparameters are those in force in that epoch",
        "folds": "a row for each trial, generation, epoch, fold and repeat; only where a trial trains several networks",
        "clients": "a row for each trial, generation, epoch (a round) and client; only of federations",
        "events": "a row for each decision or incident",
        "trials": "a row for each trial; hyperparameters are those at its end",
        "schedule": "a row for each stretch of a trial with the same base lr and batch size",
        "predictions": "a row for each test image and each arm's winner, once these have met the test split",
        "hard_images": "a row for each of the 100 images outside the test split whose label the winner doubts most",
    }
)
"""What a row of each table is."""

REQUIRED: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "reports": (
            "arm", "trial", "generation", "epoch", "lr", "batch_size", "val_loss", "val_accuracy", "val_precision",
            "val_recall", "val_f1", "time",
        ),
        "folds": ("arm", "trial", "generation", "epoch", "fold", "repeat"),
        "clients": ("arm", "trial", "generation", "epoch", "fold", "repeat", "client"),
        "events": ("arm", "trial", "generation", "kind", "epoch", "details", "time"),
        "trials": (
            "arm", "trial", "number", "status", "reason", "generation", "epoch", "best_epoch", "best_generation",
            "best_val_loss", "best_val_accuracy", "best_val_precision", "best_val_recall", "best_val_f1",
            "device_seconds", "error",
        ),
        "schedule": ("arm", "trial", "generation", "began", "from_epoch", "to_epoch", "lr", "batch_size"),
        "predictions": ("arm", "trial", "image", "label", "predicted"),
        "hard_images": ("trial", "split", "image", "label", "predicted", "label_probability"),
    }
)  # fmt: skip
"""What a table of any version has; one that lacks a column of these is damaged."""
