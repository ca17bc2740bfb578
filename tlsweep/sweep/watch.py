"""Which workers begin, and which are silent for too long."""

from collections.abc import Callable

from tlsweep.sweep.placing import Placing


class Watch:
    """Knows when each trial that has a slot was last heard of."""

    def __init__(self, placing: Placing, timeout: float | None, clock: Callable[[], float]) -> None:
        """`timeout`: `faults.report_timeout`."""
        self._placing, self._timeout = placing, timeout
        self._now = clock
        self._heard: dict[str, float] = {}

    def expect(self, trial: str) -> None:
        """Note that a trial got a slot, and that its worker is still to take it."""
        self._heard.pop(trial, None)

    def hear(self, trial: str) -> None:
        """Note that a worker took the trial, or reported."""
        self._heard[trial] = self._now()

    def starting(self) -> bool:
        """Whether a trial that was given a slot still waits for its worker."""
        return any(trial not in self._heard for trial in self._placing.placed)

    def overdue(self) -> list[str]:
        """Running trials that were not heard of for longer than the spec allows."""
        if self._timeout is None:
            return []
        running = [trial for trial in self._placing.placed if trial in self._heard]
        return [trial for trial in running if self._now() - self._heard[trial] > self._timeout]
