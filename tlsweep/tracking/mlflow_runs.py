"""MLflow: a run for the sweep, and below it a run for each trial with its parameters, and its figures by epoch.

Where MLFLOW_TRACKING_URI names no other store, it is a SQLite file below the sweep's folder: folders of text files
(`mlruns/`) are no store any more unless MLFLOW_ALLOW_FILE_STORE is set (mlflow 3.17). SQLAlchemy and Alembic, which
`mlflow-skinny` leaves out, come with Optuna.
"""

import logging
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import Any

# Before mlflow is imported, which else tells its makers of its use, and prints where a run is between our own lines.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")

from mlflow import MlflowClient
from mlflow.entities import Metric, Param
from mlflow.exceptions import MlflowException

from tlsweep.store import Status
from tlsweep.text import shortened
from tlsweep.tracking.tracker import Outcome, Row, TrackedSweep, TrackedTrial, Update, own_file

FOLDER = "mlflow"
EXPERIMENT = "tlsweep"
"""The experiment, unless MLFLOW_EXPERIMENT_NAME says another one."""
EPOCH = "epoch"
"""The figure by which the reports are counted that a run has."""
_SWEEP, _TRIAL = "tlsweep.sweep_id", "tlsweep.trial"
_METRICS = 1000
"""At most so many go in one request (mlflow, utils/validation.py)."""
_TAG = 5000
"""Characters of a tag's value that every version of the server takes."""
_STATUS = {
    Status.STOPPED: "KILLED",
    Status.INTERRUPTED: "KILLED",
    Status.FINISHED: "FINISHED",
    Status.FAILED: "FAILED",
}
"""The others are RUNNING."""


class MlflowTracker:
    """Asks the store what earlier launches left there, by the tags of its runs: MLflow chooses their ids itself."""

    def __init__(self, sweep: TrackedSweep) -> None:
        # What it says of each table that it makes would go between our own lines.
        logging.getLogger("mlflow").setLevel(logging.WARNING)
        logging.getLogger("alembic").setLevel(logging.WARNING)
        self._sweep = sweep
        self._client = MlflowClient(tracking_uri=os.environ.get("MLFLOW_TRACKING_URI") or _own_store(sweep))
        self._experiment = self._find_experiment()
        self._runs = {run.data.tags.get(_TRIAL, ""): run for run in self._earlier_runs()}
        self._status = {trial: run.info.status for trial, run in self._runs.items()}
        self._parent = self._run_of("", sweep.name, sweep.began, {"mlflow.note.content": _note(sweep)})

    def begin(self, trial: TrackedTrial) -> int:
        is_new = trial.name not in self._runs
        tags = {_TRIAL: trial.name, "mlflow.parentRunId": self._parent, "tlsweep.arm": trial.arm}
        run = self._run_of(trial.name, trial.name, trial.began, tags)
        if is_new or not self._runs[trial.name].data.params:
            self._client.log_batch(run, params=[Param(name, str(v)) for name, v in trial.hyperparameters.items()])
        return 0 if is_new else len(self._client.get_metric_history(run, EPOCH))

    def update(self, trial: TrackedTrial, update: Update) -> None:
        run = self._runs[trial.name].info.run_id
        for part in _parts(update.rows):
            self._client.log_batch(run, metrics=[metric for row in part for metric in _metrics(row)])
        wanted = _STATUS.get(update.status, "RUNNING")
        figures = [metric for row in (update.best, update.test) if row for metric in _metrics(row)]
        # The store takes a metric of the same time and value once, so that the winner may be told of twice.
        if figures and update.status.final:
            self._client.log_batch(run, metrics=figures)
        if wanted != self._status.get(trial.name):
            self._set_status(run, wanted)
            self._status[trial.name] = wanted
            if update.reason:
                self._client.set_tag(run, "tlsweep.reason", shortened(update.reason, _TAG))

    def close(self, outcome: Outcome) -> None:
        figures = {
            # The main arm's as they are, as people look for them.
            name if arm == "main" else f"{arm}/{name}": (row, value)
            for arm, row in outcome.test.items()
            for name, value in row.figures.items()
        }
        if figures:
            metrics = [Metric(name, value, _ms(row.time), row.epoch) for name, (row, value) in figures.items()]
            self._client.log_batch(self._parent, metrics=metrics)
        self._set_status(self._parent, _STATUS[outcome.status])

    def _find_experiment(self) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
        found = self._client.get_experiment_by_name(name)
        if found is None:
            try:
                return str(self._client.create_experiment(name, _artifacts(self._sweep)))
            except MlflowException:  # another sweep may have made it this moment
                found = self._client.get_experiment_by_name(name)
                if found is None:
                    raise
        return str(found.experiment_id)

    def _earlier_runs(self) -> Iterator[Any]:
        token: str | None = None
        while True:
            page = self._client.search_runs(
                [self._experiment], f"tags.`{_SWEEP}` = '{self._sweep.id}'", max_results=1000, page_token=token
            )
            yield from page
            token = page.token
            if not token:
                return

    def _run_of(self, trial: str, name: str, began: float, tags: Mapping[str, str]) -> str:
        """Find the run of a trial, or of the sweep, or make it; it is running from now on, unless it has ended."""
        if trial not in self._runs:
            facts = {_SWEEP: self._sweep.id, "tlsweep.version": version("tlsweep"), "tlsweep.sweep": self._sweep.name}
            self._runs[trial] = self._client.create_run(self._experiment, _ms(began), {**facts, **tags}, name)
            self._status[trial] = "RUNNING"
        run = str(self._runs[trial].info.run_id)
        if not trial and self._status[trial] != "RUNNING":
            self._set_status(run, "RUNNING")
        return run

    def _set_status(self, run: str, status: str) -> None:
        if status == "RUNNING":
            self._client.update_run(run, status)
        else:
            self._client.set_terminated(run, status)


def _own_store(sweep: TrackedSweep) -> str:
    file = own_file(sweep, f"{FOLDER}/mlflow.db")
    file.parent.mkdir(exist_ok=True)
    return f"sqlite:///{file}"


def _artifacts(sweep: TrackedSweep) -> str | None:
    """Where files of runs go: a SQLite store would make a folder in the working directory; a server knows itself."""
    if os.environ.get("MLFLOW_TRACKING_URI") or sweep.folder is None:
        return None
    return (sweep.folder / FOLDER / "artifacts").as_uri()


def _note(sweep: TrackedSweep) -> str:
    """The spec as the description of the sweep, which MLflow shows as Markdown."""
    return f"```yaml\n{sweep.spec[: _TAG - 20]}\n```"


def _parts(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    """Cut reports into parts that are one request each, and one transaction of the store."""
    size = _METRICS // max((len(row.figures) + 1 for row in rows), default=1)
    for first in range(0, len(rows), size):
        yield rows[first : first + size]


def _metrics(row: Row) -> list[Metric]:
    metrics = [Metric(name, value, _ms(row.time), row.epoch) for name, value in row.figures.items()]
    # Only reports have it: their best epoch, and the test, are no more of them.
    if not any(name.startswith(("best/", "test/")) for name in row.figures):
        metrics.append(Metric(EPOCH, row.epoch, _ms(row.time), row.epoch))
    return metrics


def _ms(time: float) -> int:
    return math.floor(1000 * time)
