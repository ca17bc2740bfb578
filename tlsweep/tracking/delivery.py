"""Hands records on to one tracker, in a thread of its own: neither its time nor its failures are the sweep's."""

import threading
from collections import defaultdict
from collections.abc import Callable, Iterable
from queue import Empty, SimpleQueue

from tlsweep.spec import MAIN_ARM, PopulationSearch, SweepSpec
from tlsweep.store import Record, Status, SweepState, TrialState
from tlsweep.tracking.figures import best_row, row, test_row
from tlsweep.tracking.tracker import Outcome, Row, TrackedSweep, TrackedTrial, Tracker, Update, said_by

INTERVAL = 1.0
"""Seconds in which records gather: what a trial has reported in them goes as one request, or one transaction."""


class Delivery:
    """A queue and a thread for one tracker."""

    def __init__(
        self,
        name: str,
        make: Callable[[TrackedSweep], Tracker],
        sweep: TrackedSweep,
        spec: SweepSpec,
        records: Iterable[Record],
    ) -> None:
        """Begin to hand on.

        Args:
            name: The tracker's.
            make: Opens it, in the thread.
            sweep: What its runs are nested under.
            spec: The spec of the sweep.
            records: What has come so far; with it the tracker sees at once which trials have ended.
        """
        self.name = name
        self.problem: str | None = None
        """Why it has stopped; None while it works."""
        self._make, self._sweep = make, sweep
        self._log = Log(spec)
        self._queue: SimpleQueue[Record] = SimpleQueue()
        for record in records:
            self._queue.put(record)
        self._ended = threading.Event()
        # A daemon: a tracker that never answers keeps no process alive.
        self._thread = threading.Thread(target=self._run, name=f"track-{name}", daemon=True)
        self._thread.start()

    def put(self, record: Record) -> None:
        """Take a record; of one that has stopped nothing is kept."""
        if self.problem is None:
            self._queue.put(record)

    def close(self) -> None:
        """No more will come; `join` waits for what is under way."""
        self._ended.set()

    def join(self, seconds: float) -> None:
        """Wait until all is handed on, no longer than `seconds`; else there is a problem."""
        self._thread.join(seconds)
        if self._thread.is_alive() and self.problem is None:
            self.problem = f"it takes too long, and {self._log.unsent + self._queue.qsize()} reports or events wait"

    def _run(self) -> None:
        try:
            tracker = self._make(self._sweep)
            while not self._ended.wait(INTERVAL):
                self._hand_on(tracker)
            self._hand_on(tracker)
            tracker.close(self._log.outcome())
        except (Exception, SystemExit) as error:  # some libraries end a process that they find no way out for
            self.problem = said_by(error)

    def _hand_on(self, tracker: Tracker) -> None:
        """Hand on what has come since the last time."""
        try:
            while True:
                self._log.add(self._queue.get_nowait())
        except Empty:
            self._log.hand_on(tracker)


class Log:
    """What a tracker has not been told yet: a fold over the records, as the state of a sweep is."""

    def __init__(self, spec: SweepSpec) -> None:
        self._state = SweepState(spec.search.metric, spec.search.sign)
        self._searched = tuple(dict.fromkeys(("lr", "batch_size", *spec.space)))
        changes = isinstance(spec.search, PopulationSearch)
        self._changing = set(spec.space) - {"lr", "batch_size"} if changes else set()
        self._rows: defaultdict[str, list[Row]] = defaultdict(list)
        self._reports: defaultdict[str, int] = defaultdict(int)
        self._began: dict[str, float] = {}
        self._test: dict[str, Row] = {}
        self._changed: dict[str, None] = {}
        """Names of trials, in the order of their changes."""
        self._known: dict[str, int] = {}
        """Of the trials that have begun, how many reports the tracker had."""

    @property
    def unsent(self) -> int:
        """Reports that wait."""
        return sum(len(rows) for rows in list(self._rows.values()))

    def add(self, record: Record) -> None:
        """Apply a record."""
        self._state.apply(record)
        trial = record["trial"]
        if record["type"] == "report":
            self._rows[trial].append(row(record, self._changing))
            self._reports[trial] += 1
        elif record["kind"] == "created":
            self._began[trial] = record["time"]
        elif record["kind"] == "evaluated":
            self._test[record["arm"]] = test_row(record)
        elif record["kind"] == "resumed":
            self._test.clear()  # the winner in the end will meet the test split
            self._changed |= dict.fromkeys(self._state.trials)
        if trial is not None:
            self._changed[trial] = None

    def hand_on(self, tracker: Tracker) -> None:
        """Tell what has changed, trial by trial."""
        while self._changed:
            name = next(iter(self._changed))
            self._tell(tracker, self._state.trials[name])
            del self._changed[name]

    def outcome(self) -> Outcome:
        """How the launch has ended, by what is known of it."""
        if self._state.interrupted:
            return Outcome(Status.INTERRUPTED, self._test)
        return Outcome(Status.FINISHED if MAIN_ARM in self._test else Status.FAILED, self._test)

    def _tell(self, tracker: Tracker, trial: TrialState) -> None:
        name, rows = trial.trial, self._rows[trial.trial]
        if name not in self._known:
            self._known[name] = tracker.begin(self._tracked(trial))
        del rows[: max(self._known[name] - (self._reports[name] - len(rows)), 0)]
        update = Update(
            first=self._reports[name] - len(rows),
            rows=tuple(rows),
            status=trial.status,
            reason=trial.reason,
            best=best_row(trial.best) if trial.best else None,
            test=self._test_of(trial),
        )
        tracker.update(self._tracked(trial), update)
        rows.clear()

    def _test_of(self, trial: TrialState) -> Row | None:
        """What it reached on the test split, if it is what met that for its arm."""
        met = self._state.test.get(trial.arm, {}).get("trial") == trial.trial
        return self._test.get(trial.arm) if met else None

    def _tracked(self, trial: TrialState) -> TrackedTrial:
        return TrackedTrial(
            name=trial.trial,
            arm=trial.arm,
            number=trial.number,
            hyperparameters=trial.start,
            searched=tuple(name for name in self._searched if name in trial.start),
            began=self._began[trial.trial],
            reports=self._reports[trial.trial],
            ended=trial.status.final,
        )
