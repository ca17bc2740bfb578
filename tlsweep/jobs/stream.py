"""What an observer of a sweep is told, as lines of JSON: written by a job on a cluster, read where it was submitted.

The file lies beside the job's log, in the folder that Ray's dashboard serves. Each line has `at`, the driver's
monotonic clock, and `kind`: `phase`, `progress` and `warning`; `past`, a record of an earlier launch; `begin`;
`record`; `standing`, how far it is, for those who read no more than the end; `end`; and at last `outcome` or `error`.
"""

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from tlsweep.errors import TlsweepError
from tlsweep.observer import Observer, SweepView
from tlsweep.spec import load_spec
from tlsweep.spec.loading import StoredSpec
from tlsweep.store import Record, SweepFolder, SweepState, read_journal, to_location
from tlsweep.store.spending import Spending

JOB = "TLSWEEP_JOB"
"""Environment variable with the id of the job that this process is the driver of."""
WIDTHS = (80, 100, 120, 160)
"""Terminals that an outcome is drawn for, in characters."""
STANDING_RECORDS = 50
"""How many records lie between two lines `standing`, at most."""
_SECONDS = 1.0
"""The least time between two lines that only tell progress."""


def stream_name(job: str) -> str:
    """Name of the file."""
    return f"tlsweep-stream-{job}.jsonl"


def job_log_name(job: str) -> str:
    """Name of the file with what the job printed."""
    return f"job-driver-{job}.log"


def stream_path() -> Path | None:
    """The file to which this process writes its stream; None if it is not the driver of a job."""
    log = Path("/proc/self/fd/1").resolve()  # Ray lets a job print into its log
    job = os.environ.get(JOB)
    if job and log.name == job_log_name(job):
        return log.with_name(stream_name(job))
    return None


class JobStream:
    """The observer that writes the lines; and a context: an error that ends the block is written too.

    A disk that is full loses lines here, and the sweep goes on: they are no record.
    """

    def __init__(self, path: Path | None) -> None:
        """Prepare to write a stream; the file is opened with the block.

        Args:
            path: The file, which may have lines already; None to write nothing.
        """
        self._path = path
        self._file: int | None = None
        self._view: SweepView | None = None
        self._due = 0.0
        self._records = 0

    def __enter__(self) -> "JobStream":
        if self._path is not None:
            self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, TlsweepError):
            self._write("error", text=str(error))
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def phase(self, text: str) -> None:
        self._write("phase", text=text)
        self._due = 0.0

    def progress(self, done: int, total: int) -> None:
        if self._is_due():
            self._write("progress", done=done, total=total)

    def begin(self, view: SweepView) -> None:
        self._view = view
        if self._file is None:
            return
        for record in read_journal(view.folder.journal):
            self._write("past", record=record)
        spec = view.spec.model_dump(mode="json")
        self._write("begin", spec=spec, results=str(view.folder.path), slots=view.slots, began=view.began)
        self._standing(view)

    def warn(self, text: str) -> None:
        self._write("warning", text=text)

    def record(self, record: Record) -> None:
        if self._view is None or self._file is None:
            return
        self._write("record", record=record)
        self._records += 1
        if self._records >= STANDING_RECORDS or self._is_due():
            self._standing(self._view)

    def end(self) -> None:
        self._write("end")
        if self._view is not None:
            self._standing(self._view)

    def outcome(self, draw: Callable[[int], str]) -> None:
        """The last line: what `draw` makes of the results for a terminal of a width."""
        if self._file is not None:
            self._write("outcome", texts={width: draw(width) for width in WIDTHS})

    def _standing(self, view: SweepView) -> None:
        self._records = 0
        state = view.state
        trials = Counter(str(trial.status) for trial in list(state.trials.values()))
        best = [trial for arm in view.spec.arms if (trial := state.winner(arm)) and trial.best]
        self._write(
            "standing",
            sweep=view.folder.name,
            trials=trials,
            epochs=sum(view.spending.epochs.values()),
            best={
                trial.arm: {"trial": trial.trial, state.metric: trial.best[state.metric]}
                for trial in best
                if trial.best
            },
        )

    def _is_due(self) -> bool:
        now = time.monotonic()
        if now < self._due:
            return False
        self._due = now + _SECONDS
        return True

    def _write(self, kind: str, **content: Any) -> None:
        if self._file is None:
            return
        # By the monotonic clock: rates that a reader makes of the lines survive a clock that is set.
        line = {"at": round(time.monotonic(), 3), "kind": kind} | content
        with suppress(OSError):
            os.write(
                self._file, json.dumps(line, separators=(",", ":"), default=lambda value: value.item()).encode() + b"\n"
            )


class Playback:
    """Tells an observer what the lines of a stream say, whether they are new or an hour old.

    What it knows of a sweep is a fold over these lines, as everything else is over the journal.
    """

    def __init__(self, dashboard: str) -> None:
        """Begin before the first line.

        Args:
            dashboard: Address of the dashboard, as it is seen from here.
        """
        self.sweep: str | None = None
        self.error: str | None = None
        self._dashboard = dashboard
        self._past: list[Record] = []
        self._view: SweepView | None = None
        self._texts: dict[int, str] = {}
        self._at, self._received = 0.0, time.monotonic()

    def clock(self) -> float:
        """The driver's clock, as of the last line: so that rates come out right when hours are replayed in a second."""
        return self._at + time.monotonic() - self._received

    def outcome(self, width: int) -> str | None:
        """The results, drawn for the widest terminal that is not wider; None as long as the sweep has not ended."""
        fitting = [text for text in self._texts if text <= width] or sorted(self._texts)[:1]
        return self._texts[max(fitting)] if fitting else None

    def take(self, text: str, observer: Observer) -> None:
        """Tell the observer what the next line says."""
        try:
            line = json.loads(text)
        except ValueError:  # torn, as by a full disk; the journal has what it told
            return
        self._at, self._received = line["at"], time.monotonic()
        match line["kind"]:
            case "phase":
                observer.phase(line["text"])
            case "progress":
                observer.progress(line["done"], line["total"])
            case "warning":
                observer.warn(line["text"])
            case "past":
                self._past.append(line["record"])
            case "begin":
                self._begin(line, observer)
            case "record":
                self._fold(line["record"])
                observer.record(line["record"])
            case "end":
                observer.end()
            case "outcome":
                self._texts = {int(width): text for width, text in line["texts"].items()}
            case "error":
                self.error = line["text"]

    def _begin(self, line: Mapping[str, Any], observer: Observer) -> None:
        spec, folder = load_spec(StoredSpec(line["spec"])), SweepFolder(to_location(line["results"]))
        state, spending = SweepState(spec.search.metric, spec.search.sign), Spending(spec.budget, spec.resources)
        self._view = SweepView(spec, folder, state, spending, line["slots"], self._dashboard, line["began"])
        self.sweep = folder.name
        for record in self._past:
            self._fold(record)
        self._past.clear()
        observer.begin(self._view)

    def _fold(self, record: Record) -> None:
        assert self._view is not None
        self._view.state.apply(record)
        if record["type"] == "report":
            self._view.spending.add(record)
