"""What each arm has used of the budget: a fold over the reports, so that a resumed sweep has spent what it spent."""

from collections import Counter, defaultdict
from collections.abc import Mapping

from tlsweep.spec import Budget, Resources
from tlsweep.store import Record

HOUR = 3600.0


class Spending:
    """Counts epochs and device time in each arm, all stages together."""

    def __init__(self, budget: Budget, resources: Resources) -> None:
        self._budget, self._resources = budget, resources
        self._epochs: Counter[str] = Counter()
        self._device_seconds: defaultdict[str, float] = defaultdict(float)
        self._elapsed = 0.0

    @property
    def epochs(self) -> Mapping[str, int]:
        """Reported so far in each arm."""
        return self._epochs

    def add(self, report: Record) -> None:
        """Count a report, at its price."""
        seconds = report["train_seconds"] + report["eval_seconds"] + report["wait_seconds"]
        self._epochs[report["arm"]] += 1
        self._device_seconds[report["arm"]] += seconds * self._devices(report)
        self._elapsed = report.get("elapsed", self._elapsed)

    def device_hours(self, arm: str) -> float:
        """Hours of GPUs, or of CPU cores where there are none, that the arm's trials took."""
        return self._device_seconds[arm] / HOUR

    def share(self, arm: str) -> float:
        """The part of the arm's budget that is used: 1 is all; of several limits the nearest counts."""
        budget = self._budget
        used = (
            (self._epochs[arm], budget.epochs),
            (self.device_hours(arm), budget.device_hours),
            (self._elapsed, budget.wall_time),
        )
        return max((amount / limit for amount, limit in used if limit is not None), default=0.0)

    def used_up(self, arm: str) -> str | None:
        """Why the arm may train no more; None while it may. Wall time is the sweep's, and not asked here."""
        budget = self._budget
        if budget.epochs is not None and self._epochs[arm] >= budget.epochs:
            return "the budget of epochs is used up"
        if budget.device_hours is not None and self.device_hours(arm) >= budget.device_hours:
            return f"the budget of {budget.device_hours:g} device hours is used up"
        return None

    def _devices(self, report: Record) -> float:
        """GPUs, or CPU cores, that the trial held."""
        gpus = self._resources.gpus
        if report["device"] == "cpu":
            return self._resources.cpus
        return 1.0 if gpus == "auto" else gpus
