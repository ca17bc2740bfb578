"""The figures of a trial that trains several networks side by side: means over these runs, and how sure they are."""

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np

from tlsweep.data import Task
from tlsweep.training.metrics import FIGURES, ClassScores, Evaluation
from tlsweep.training.reports import EpochReport, RunReport


def mean(values: Sequence[float]) -> float:
    """Average: NaN or infinite where one of the values is, so that a run that diverged makes its trial diverge."""
    return sum(values) / len(values)


def standard_error(values: Sequence[float]) -> float:
    """The standard error s / √n, where s² = Σ (x - mean)² / (n - 1), of at least two values.

    Folds share most of their training images, and repeats all of them, so that it is rather too small: no estimator of
    the variance of a cross-validation is unbiased (Bengio & Grandvalet 2004, JMLR 5).
    """
    if math.isfinite(values[0]) and all(value == values[0] for value in values):
        return 0.0  # their mean as a float may be another value
    center, n = mean(values), len(values)
    # A product, not a power, which would raise where a huge loss overflows.
    return math.sqrt(sum((value - center) * (value - center) for value in values) / (n - 1) / n)


def _over(combine: Callable[[Sequence[float]], float], values: Sequence[float | None]) -> float | None:
    """Combine a figure of all runs; None where one of them has none."""
    known = [value for value in values if value is not None]
    return combine(known) if len(known) == len(values) else None


def summarise(rows: Sequence[EpochReport], task: Task, reporting_seconds: float) -> EpochReport:
    """One report of the rows of all runs, in the order of `task.runs`; a single row stays as it is.

    Args:
        rows: at least one.
        task: the trial's.
        reporting_seconds: how long the receiver of the report before took.
    """
    first = replace(rows[0], wait_seconds=reporting_seconds + rows[0].wait_seconds)
    if len(rows) == 1:
        return first

    def each(name: str) -> list[Any]:
        return [getattr(row, name) for row in rows]

    def total(name: str) -> Any:
        return sum(each(name))

    validation = [f"val_{name}" for name in (*FIGURES, "worst_client")]
    reached: dict[str, Any] = {name: _over(mean, each(name)) for name in ("train_loss", "train_accuracy", *validation)}
    reached |= {f"{name}_se": _over(standard_error, each(name)) for name in validation}
    measured = [scale for scale in each("noise_scale") if not math.isnan(scale)]
    images = [len(run.train) for run in task.runs]
    # Where batches grow with a run's own validation they differ: only a divided one tells of the memory.
    batch = max(each("scheduled_batch_size"))
    divided = [row.micro_batch for row in rows if row.micro_batch < row.scheduled_batch_size]
    return replace(
        first,
        samples=total("samples"),
        step=total("step"),
        scheduled_batch_size=batch,
        micro_batch=min(divided, default=batch),
        noise_scale=mean(measured) if measured else math.nan,
        train_seconds=total("train_seconds"),
        eval_seconds=total("eval_seconds"),
        wait_seconds=reporting_seconds + total("wait_seconds"),
        # All images over all time: the runs take turns, and the mean of their rates would favour the fast ones.
        samples_per_second=sum(images) / sum(map(operator.truediv, images, each("samples_per_second"))),
        device_memory=max(each("device_memory")),
        runs=len(rows),
        folds=tuple(_of_run(row, task, at) for at, row in enumerate(rows)),
        by_client=tuple(
            replace(client, fold=run.fold, repeat=run.repeat)
            for run, row in zip(task.runs, rows, strict=True)
            for client in row.by_client
        ),
        **reached,
    )


def _of_run(row: EpochReport, task: Task, at: int) -> RunReport:
    run = task.runs[at]
    same = {name: getattr(row, name) for name in RunReport.__dataclass_fields__ if hasattr(row, name)}
    return RunReport(
        **same,
        fold=run.fold,
        repeat=run.repeat,
        train_images=len(run.train),
        val_images=len(run.val),
    )


def over_runs(each: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """The figures of a single run; of several runs the means, and the standard errors as `…_se`."""

    def over(combine: Callable[[Sequence[float]], float], name: str) -> float | None:
        return _over(combine, [figures[name] for figures in each])

    means = {name: over(mean, name) for name in FIGURES}
    return means | ({f"{name}_se": over(standard_error, name) for name in FIGURES} if len(each) > 1 else {})


def summarise_test(evaluations: Sequence[Evaluation], task: Task) -> dict[str, Any]:
    """Plain values for JSON, as `Evaluation.to_dict`; of several runs the means.

    Then also `runs`, how many; `…_se`, standard errors; `folds`, the figures of each; and the confusion matrix is
    added up, so that each image counts once for every run.
    """
    each = [evaluation.to_dict() for evaluation in evaluations]
    if len(each) == 1:
        return each[0]
    per_class = {
        field.name: np.mean([figures["per_class"][field.name] for figures in each], axis=0)
        for field in fields(ClassScores)
    }
    return {
        **over_runs(each),
        "runs": len(each),
        "folds": [
            {"fold": run.fold, "repeat": run.repeat, **{name: figures[name] for name in FIGURES}}
            for run, figures in zip(task.runs, each, strict=True)
        ],
        "per_class": {name: values.tolist() for name, values in per_class.items()}
        | {"support": each[0]["per_class"]["support"]},
        "confusion": np.sum([figures["confusion"] for figures in each], axis=0).tolist(),
    }
