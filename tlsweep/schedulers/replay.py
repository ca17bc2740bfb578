"""A recipe, trained again: the piecewise schedule that led to a result."""

from collections.abc import Mapping

from tlsweep.schedulers.decisions import Continue, Decision, DecisionPoints, Exploit, Observation, Rules, Stop, diverged
from tlsweep.spec.search.space import Value
from tlsweep.spec.search.strategies import RecipeSearch


class Replay(Rules):
    """Lets a trial go on from its own checkpoint with the next step's values, at the end of each step of the schedule.

    Args:
        constants: what holds wherever a step says nothing else.
    """

    def __init__(self, search: RecipeSearch, constants: Mapping[str, Value]) -> None:
        self._search, self._constants = search, constants

    @property
    def decision_points(self) -> DecisionPoints:
        return DecisionPoints(at=tuple(step.to_epoch for step in self._search.schedule))

    def decide(self, report: Observation) -> Decision:
        if stop := diverged(report):
            return stop
        if report.epoch >= self._search.schedule[-1].to_epoch:
            return Stop("the recipe ends here")
        before, step = (self._search.step_after(epoch) for epoch in (report.epoch - 1, report.epoch))
        wanted = {**self._constants, **step.values}
        new = {name: wanted.get(name, value) for name, value in report.hyperparameters.items()}
        if report.checkpoint is None or (new == report.hyperparameters and step.number == before.number):
            return Continue()
        return Exploit.of(report, new, {"recipe": f"to epoch {step.to_epoch}"})
