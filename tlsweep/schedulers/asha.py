"""ASHA: asynchronous successive halving, in its stopping form.

Li et al., "A System for Massively Parallel Hyperparameter Tuning" (MLSys 2020); the stopping form is Ray Tune's
(`AsyncHyperBandScheduler`, one bracket), whose decisions these equal for finite scores.
"""

from collections.abc import Sequence

import numpy as np

from tlsweep.schedulers.decisions import Continue, Decision, Observation, Stop, diverged


def rungs(min_epochs: int, epochs: int, reduction_factor: float) -> list[int]:
    """The epochs at which trials are compared: min_epochs × eta^k, below `epochs`, ascending."""
    milestones: list[int] = []
    milestone: float = min_epochs
    while milestone < epochs:
        if not milestones or int(milestone) > milestones[-1]:
            milestones.append(int(milestone))
        milestone *= reduction_factor
    return milestones


def cutoff(scores: Sequence[float], reduction_factor: float) -> float | None:
    """The score that the best 1/eta of `scores` reach (linear interpolation); None where there are none."""
    return float(np.percentile(scores, (1 - 1 / reduction_factor) * 100)) if scores else None


class Asha:
    """Stop a trial at a rung if it is worse than the best 1/eta of those that were there before it. Ties go on."""

    def __init__(self, min_epochs: int, epochs: int, reduction_factor: float) -> None:
        self._reduction_factor = reduction_factor
        self._scores: dict[int, dict[str, float]] = {
            milestone: {} for milestone in reversed(rungs(min_epochs, epochs, reduction_factor))
        }

    def observe(self, report: Observation) -> Decision:
        if stop := diverged(report):
            return stop
        for milestone, scores in self._scores.items():
            if report.epoch < milestone or report.trial in scores:
                continue
            before = list(scores.values())
            scores[report.trial] = report.score
            threshold = cutoff(before, self._reduction_factor)
            if threshold is not None and report.score < threshold:
                numbers = {"rung": milestone, "score": report.score, "threshold": threshold, "compared": len(before)}
                return Stop(f"below the best 1/{self._reduction_factor:g} at the rung of epoch {milestone}", numbers)
            break
        return Continue()

    def ended(self, trial: str) -> None:
        """Its scores stay: they are what later trials are measured against."""
