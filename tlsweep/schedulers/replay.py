"""A recipe, trained again: the piecewise schedule that led to a result."""

from collections.abc import Mapping, Sequence

from tlsweep.schedulers.decisions import Continue, Decision, DecisionPoints, Exploit, Observation, Rules, Stop, diverged
from tlsweep.spec.search.space import Value
from tlsweep.spec.search.strategies import RecipeStep, step_after


class Replay(Rules):
    """Lets a trial go on from its own checkpoint with the next step's values, at the end of each step of the schedule.

    Args:
        steps: the schedule.
        constants: what holds wherever a step says nothing else.
    """

    def __init__(self, steps: Sequence[RecipeStep], constants: Mapping[str, Value]) -> None:
        self._steps, self._constants = steps, constants

    @property
    def decision_points(self) -> DecisionPoints:
        return DecisionPoints(at=tuple(step.to_epoch for step in self._steps))

    def decide(self, report: Observation) -> Decision:
        if stop := diverged(report):
            return stop
        if report.epoch >= self._steps[-1].to_epoch:
            return Stop("the recipe ends here")
        before, step = (step_after(self._steps, epoch) for epoch in (report.epoch - 1, report.epoch))
        wanted = {**self._constants, **step.values}
        new = {name: wanted.get(name, value) for name, value in report.hyperparameters.items()}
        if report.checkpoint is None or (new == report.hyperparameters and step.number == before.number):
            return Continue()
        return Exploit.of(report, new, {"recipe": f"to epoch {step.to_epoch}"})
