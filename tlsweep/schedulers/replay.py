"""A recipe, trained again: the piecewise schedule that led to a result, with other seeds."""

from tlsweep.schedulers.decisions import Continue, Decision, Exploit, Observation, Rules, Stop, diverged
from tlsweep.spec.search import RecipeSearch


class Replay(Rules):
    """At the end of each step of the schedule a trial goes on from its own checkpoint with the next step's values."""

    def __init__(self, search: RecipeSearch) -> None:
        self._schedule = search.schedule

    def decide(self, report: Observation) -> Decision:
        if stop := diverged(report):
            return stop
        if report.epoch >= self._schedule[-1].to_epoch:
            return Stop("the recipe ends here")
        step = next(step for step in self._schedule if report.epoch < step.to_epoch)
        new = {**report.hyperparameters, **step.values}
        if report.checkpoint is None or new == report.hyperparameters:
            return Continue()
        return Exploit(
            donor=report.trial,
            donor_generation=report.generation,
            epoch=report.epoch,
            checkpoint=report.checkpoint,
            digest=report.digest,
            hyperparameters=new,
            mutated={name: (report.hyperparameters[name], value) for name, value in step.values.items()},
            details={"recipe": f"to epoch {step.to_epoch}"},
        )
