"""Ends a sweep before all of its trials have: its budget, what it stands on, and who asks it to stop."""

from collections.abc import Callable, Iterable

from tlsweep.spec import MAIN_ARM
from tlsweep.store import Record, diverged
from tlsweep.store.starts import best_start
from tlsweep.sweep.ground import LOOK_SECONDS, Loss
from tlsweep.sweep.ledger import Ledger, in_turn
from tlsweep.sweep.retention import Retention


class Ending:
    """Knows why no trial may run any more. The first reason counts."""

    def __init__(
        self, ledger: Ledger, retention: Retention, clock: Callable[[], float], ground: Callable[[], Loss | None]
    ) -> None:
        self.halted: str | None = None
        """Why no trial may run any more; None while they may."""
        self.resumable = False
        """Whether what halted it is no end: the sweep can be resumed as it is."""
        self.loss: Loss | None = None
        """What halted it, if that is something that it stood on."""
        self.turn = ledger.turn
        self._ledger, self._retention = ledger, retention
        self._now, self._ground = clock, ground
        self._look_due = clock()
        trials = ledger.state.trials.values()
        for arm in ledger.spec.arms:
            self.check_budget(arm, (trial.best for trial in trials if trial.arm == arm))
        self.tick()

    def why(self, arm: str) -> str | None:
        """Why the trials of an arm may train no more; None while they may."""
        return self.halted or self._ledger.spending.used_up(arm)

    def halt(self, reason: str, *, resumable: bool = False) -> None:
        """Let no trial run any more."""
        # Not in turn: a signal's handler calls this between two lines of the main thread, and must not wait for another
        # one.
        if self.halted is None:
            self.halted, self.resumable = reason, resumable

    @in_turn
    def tick(self, *, now: bool = False) -> bool:
        """Whether the stage must end now; asked several times a second. `now`: look at the ground in any case."""
        if now or self._now() >= self._look_due:
            self.look()
        limit = self._ledger.spec.budget.wall_time
        if limit is not None and self._ledger.elapsed >= limit:
            self.halt(f"the wall time of {limit:g} s is used up")
        return self.halted is not None

    def look(self) -> None:
        """See whether all that the sweep stands on is there."""
        self._look_due = self._now() + LOOK_SECONDS
        if self.loss is None and (loss := self._ground()):
            self.loss = loss
            self._retention.hands_off = loss.folder != self._ledger.folder
            self.halt(loss.reason, resumable=True)

    def check_budget(self, arm: str, reports: Iterable[Record | None]) -> None:
        """Halt if a report, or what trials begin with, reached the target, or every arm has used up what it may."""
        target = self._ledger.spec.budget.target
        if target is not None and arm == MAIN_ARM:
            for report in filter(None, reports):
                self._check_target(target, report)
        spending = self._ledger.spending
        if all(spending.used_up(arm) for arm in self._ledger.spec.trained_arms):
            self.halt(str(spending.used_up(arm)))

    def _check_target(self, target: float, report: Record) -> None:
        search = self._ledger.spec.search
        reached = {} if diverged(report, search.metric) else {report["trial"]: report[search.metric]}
        # With the first report and not before it, so that there is a trial to show beside what it began with.
        start = best_start((self._ledger.state.launched or {}).get("environment"), MAIN_ARM, search)
        if start is not None:
            reached = {"what trials begin with": start.figures[search.metric], **reached}
        for who, value in reached.items():
            if search.sign * value >= search.sign * target:
                self.halt(f"{who} reached the target: {search.metric} {value:.4g}")
