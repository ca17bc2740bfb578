"""TensorBoard: a folder of event files for each trial, scalars by epoch, and the table of hyperparameters.

They are written by tensorboardX, which comes with Ray Tune and needs neither TensorFlow nor torch. Only its writer of
events is used: its SummaryWriter has a thread and a pipe for each trial.
"""

import math
from collections import OrderedDict
from contextlib import suppress
from typing import Any

from tensorboardX import summary
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary

from tlsweep.tracking.tracker import Outcome, Row, TrackedSweep, TrackedTrial, Update, own_file

FOLDER = "tensorboard"
SWEEP = "sweep"
"""The run with the figures of the whole sweep; no trial is called that."""
_OPEN = 64
"""Files that are open at once, where a process may have 1,024; TensorBoard reads several in a folder as one run."""


class TensorboardTracker:
    """Writes the files anew in each launch, from the journal: what a kill has torn off, or left twice, is not there."""

    def __init__(self, sweep: TrackedSweep) -> None:
        self._sweep = sweep
        self._files: OrderedDict[str, EventsWriter] = OrderedDict()
        self._parts: dict[str, int] = {}
        self._ends: dict[str, tuple[Row, ...]] = {}
        """What was written when a trial had ended."""

    def begin(self, trial: TrackedTrial) -> int:
        self._clear(trial.name)
        values = {name: _plain(trial.hyperparameters[name]) for name in trial.searched}
        best = dict.fromkeys(("best/val/loss", "best/val/accuracy", "test/accuracy"))
        experiment, start, _ = summary.hparams(values, best)
        for part in (experiment, start):
            self._write(trial.name, trial.began, 0, part)
        return 0

    def update(self, trial: TrackedTrial, update: Update) -> None:
        for row in update.rows:
            self._scalars(trial.name, row)
        if update.status.final:
            self._end(trial, update)
            self._close(trial.name)
        elif trial.name in self._files:
            self._files[trial.name].flush()

    def close(self, outcome: Outcome) -> None:
        self._clear(SWEEP)
        text = summary.text("spec", f"```yaml\n{self._sweep.spec}\n```")
        self._write(SWEEP, self._sweep.began, 0, text)
        for arm, row in outcome.test.items():
            figures = {f"{name}/{arm}": value for name, value in row.figures.items()}
            self._scalars(SWEEP, row._replace(figures=figures))
        for run in list(self._files):
            self._close(run)

    def _end(self, trial: TrackedTrial, update: Update) -> None:
        """Write the figures of the table of hyperparameters, those that are new: the winner is told of twice."""
        rows = tuple(filter(None, (update.best, update.test)))
        before = self._ends.get(trial.name)
        for row in rows:
            if row not in (before or ()):
                self._scalars(trial.name, row)
        if before is None:
            _, _, end = summary.hparams({}, {})
            self._write(trial.name, max((row.time for row in (*update.rows, *rows)), default=trial.began), 0, end)
        self._ends[trial.name] = rows

    def _clear(self, run: str) -> None:
        """Remove what an earlier launch wrote, and tell a TensorBoard that has read it to forget it."""
        for file in own_file(self._sweep, f"{FOLDER}/{run}").glob("events.out.tfevents.*"):
            file.unlink()
        # All from this step on is dropped (tensorboard 2.21, event_accumulator.py, `_MaybePurgeOrphanedData`).
        self._event(run, Event(wall_time=self._sweep.began, step=0, session_log=SessionLog(status=SessionLog.START)))

    def _scalars(self, run: str, row: Row) -> None:
        # Not by `summary.scalar`, which logs a warning where a loss is not finite.
        values = [Summary.Value(tag=name, simple_value=value) for name, value in row.figures.items()]
        self._write(run, row.time, row.epoch, Summary(value=values))

    def _write(self, run: str, when: float, step: int, part: Any) -> None:
        self._event(run, Event(wall_time=when, step=step, summary=part))

    def _event(self, run: str, event: Any) -> None:
        if run not in self._files:
            self._files[run] = self._opened(run)
            if len(self._files) > _OPEN:
                self._close(next(iter(self._files)))
        self._files.move_to_end(run)
        self._files[run].write_event(event)

    def _opened(self, run: str) -> EventsWriter:
        folder = own_file(self._sweep, f"{FOLDER}/{run}")
        # One by one: of a sweep whose folder was removed meanwhile nothing is made again.
        for made in (folder.parent, folder):
            made.mkdir(exist_ok=True)
        # A number of its own: files are named by the second, and one of that name would be written over.
        self._parts[run] = self._parts.get(run, -1) + 1
        return EventsWriter(str(folder / "events"), f".{self._parts[run]:06d}")

    def _close(self, run: str) -> None:
        with suppress(KeyError):
            self._files.pop(run).close()


def _plain(value: Any) -> Any:
    """A value that the table of hyperparameters can hold; an infinite number as a word."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, bool | int | float | str) else str(value)
