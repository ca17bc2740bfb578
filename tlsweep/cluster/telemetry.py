"""What Prometheus can learn of a running sweep: gauges and counters at Ray's metrics endpoint.

An observer like those of the terminal. It counts records as they come; a thread hands the figures to Ray every few
seconds, so that a report costs no more than a count, and what is true goes on being said (Ray forgets a gauge that is
not set again). Ray puts `ray_` before each name, and `_total` behind that of a counter.
"""

import os
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from threading import Event, Thread
from typing import Any, NamedTuple

from tlsweep.observer import SweepView
from tlsweep.store import Record, Status

INTERVAL = 2.0
"""Seconds between two handings over; Ray passes them on every ten."""


class Metric(NamedTuple):
    """A metric; each has the tag `sweep` as well."""

    kind: str
    """`Gauge` or `Counter`."""
    description: str
    tags: tuple[str, ...] = ()


METRICS = {
    "tlsweep_trials": Metric("Gauge", "Trials by status, of those that have begun.", ("arm", "status")),
    "tlsweep_slots": Metric("Gauge", "Trials that run at once."),
    "tlsweep_best_score": Metric(
        "Gauge", "The best that a trial has reached on the validation split.", ("arm", "metric")
    ),
    "tlsweep_samples_per_second": Metric("Gauge", "Training samples, over the running trials' last epochs.", ("arm",)),
    "tlsweep_budget_used": Metric(
        "Gauge", "Share of the epochs, device hours or wall time that there are.", ("budget",)
    ),
    "tlsweep_epochs": Metric("Counter", "Epochs reported.", ("arm",)),
    "tlsweep_samples": Metric("Counter", "Training samples in the epochs reported.", ("arm",)),
    "tlsweep_trial_seconds": Metric(
        "Counter", "Seconds in which reported epochs were trained and evaluated.", ("arm",)
    ),
    "tlsweep_events": Metric("Counter", "Decisions and incidents, by kind as in events.parquet.", ("arm", "kind")),
    "tlsweep_driver_cpu_seconds": Metric("Counter", "CPU time of the driver; over epochs, what a report costs."),
}

Key = tuple[str, tuple[str, ...]]
"""Name of a metric, and values of its tags."""


class Telemetry:
    """An observer that feeds Ray's metrics; nothing where those are off. Needs a Ray that runs, from `begin` on."""

    def __init__(self) -> None:
        self._view: SweepView | None = None
        self._slots = 0
        self._counted: defaultdict[Key, float] = defaultdict(float)
        self._told: defaultdict[Key, float] = defaultdict(float)
        """What Ray was told of the counters."""
        self._metrics: dict[str, Any] = {}
        self._ended = Event()
        self._thread = Thread(target=self._run, name="telemetry", daemon=True)

    def phase(self, text: str) -> None: ...

    def progress(self, done: int, total: int) -> None: ...

    def warn(self, text: str) -> None: ...

    def begin(self, view: SweepView) -> None:
        """Trials are about to run."""
        if os.environ.get("RAY_enable_metrics_collection", "1").lower() in ("0", "false"):  # noqa: SIM112  # as Ray spells it
            return
        from ray.util import metrics

        self._view, self._slots = view, view.slots
        for name, metric in METRICS.items():
            made = getattr(metrics, metric.kind)(name, metric.description, ("sweep", *metric.tags))
            self._metrics[name] = made.set_default_tags({"sweep": view.folder.name})
        self._thread.start()

    def record(self, record: Record) -> None:
        """Count a record."""
        arm = record["arm"] or ""
        if record["type"] == "report":
            self._counted["tlsweep_epochs", (arm,)] += 1
            self._counted["tlsweep_samples", (arm,)] += (record.get("samples") or 0) // record["epoch"]
            self._counted["tlsweep_trial_seconds", (arm,)] += record["train_seconds"] + record["eval_seconds"]
        else:
            self._counted["tlsweep_events", (arm, record["kind"])] += 1
            self._slots = record["details"].get("slots", self._slots)  # where nodes come and go, these events say it

    def end(self) -> None:
        """Hand over the last figures: no trial runs any more."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        assert self._view is not None
        while not self._ended.wait(INTERVAL):
            self._tell(self._view)
        self._tell(self._view)

    def _tell(self, view: SweepView) -> None:
        """Hand the figures of now to Ray."""
        for (name, tags), value in (*gauges(view), (("tlsweep_slots", ()), self._slots)):
            self._metrics[name].set(value, dict(zip(METRICS[name].tags, tags, strict=True)))
        self._counted["tlsweep_driver_cpu_seconds", ()] = time.process_time()
        # A copy, because the driver's thread counts on meanwhile, and a new key would end the loop with a RuntimeError.
        for (name, tags), count in dict(self._counted).items():
            if (more := count - self._told[name, tags]) > 0:
                # Ray's counters take increments alone (ray/util/metrics.py), so the last total is kept here.
                self._metrics[name].inc(more, dict(zip(METRICS[name].tags, tags, strict=True)))
                self._told[name, tags] = count


def gauges(view: SweepView) -> Iterator[tuple[Key, float]]:
    """What a sweep's state tells. A status that no trial of an arm has is 0: a gap would look like a fault."""
    state, spec = view.state, view.spec
    # A copy, because another thread adds trials meanwhile.
    trials = list(state.trials.values())
    count = Counter((trial.arm, trial.status) for trial in trials)
    speed: defaultdict[str, float] = defaultdict(float)
    for trial in trials:
        if trial.status is Status.RUNNING and trial.last is not None:
            speed[trial.arm] += trial.last.get("samples_per_second") or 0.0
    for arm in spec.arms:
        for status in Status:
            yield ("tlsweep_trials", (arm, str(status))), count[arm, status]
        yield ("tlsweep_samples_per_second", (arm,)), speed[arm]
        if (winner := state.winner(arm)) and winner.best:
            yield ("tlsweep_best_score", (arm, state.metric)), winner.best[state.metric]
    yield ("tlsweep_budget_used", ("epochs",)), sum(list(view.spending.epochs.values())) / view.epochs_at_most
    if limit := spec.budget.device_hours:
        used = sum(view.spending.device_hours(arm) for arm in spec.arms)
        yield ("tlsweep_budget_used", ("device hours",)), used / (limit * len(spec.trained_arms))
    if limit := spec.budget.wall_time:
        yield ("tlsweep_budget_used", ("wall time",)), state.elapsed / limit
