"""Patience: a trial that has stopped getting better ends, whatever else its search decides."""

from collections.abc import Mapping, Set

from tlsweep.schedulers.decisions import Completed, Decision, Fact, Observation, Rules, Step, Stop
from tlsweep.spec.search.common import SearchCommon


class Patience(Rules):
    """Ends a trial whose metric has not got better for `search.patience` epochs; all else is left to other rules.

    It says no more than that the trial is complete: scores, ranks and promotions are those of the other rules.
    """

    def __init__(self, rules: Rules, search: SearchCommon, epochs: int) -> None:
        assert search.patience is not None
        self._rules = rules
        self._patience, self._epochs = search.patience, epochs
        self._failing = f"{search.metric} has not {'risen' if search.sign > 0 else 'fallen'}"
        self._best: dict[str, Observation] = {}
        """The best report of each trial so far, the first of equals."""

    def apply(self, fact: Fact) -> None:
        self._rules.apply(fact)
        if not isinstance(fact, Observation):
            return
        best = self._best.get(fact.trial)
        # A trial whose loss is no number ends for that, and no comparison with it is true.
        if best is None or fact.score > best.score:
            self._best[fact.trial] = fact
        if self._over(fact):
            self._rules.apply(Completed(fact.trial))

    def _over(self, report: Observation) -> bool:
        # At the last epoch a trial is finished, not stopped.
        return self._patience <= report.epoch - self._best[report.trial].epoch and report.epoch < self._epochs

    def decide(self, report: Observation) -> Decision:
        decision = self._rules.decide(report)
        if isinstance(decision, Stop) or not self._over(report):
            return decision
        best = self._best[report.trial]
        numbers = {"score": report.score, "best_score": best.score, "best_epoch": best.epoch}
        since = report.epoch - best.epoch
        return Stop(f"{self._failing} for {since} epoch{'' if since == 1 else 's'}, since epoch {best.epoch}", numbers)

    # The others' answers

    @property
    def stage(self) -> str | None:
        return self._rules.stage

    @property
    def takes_turns(self) -> bool:
        return self._rules.takes_turns

    @property
    def accepts_new(self) -> bool:
        return self._rules.accepts_new

    def next_steps(self, *, idle: bool = False) -> Mapping[str, Step]:
        return self._rules.next_steps(idle=idle)

    def held(self, trial: str) -> bool:
        return self._rules.held(trial)

    def free(self, trials: Set[str]) -> Set[str]:
        return self._rules.free(trials)

    def verdict(self, trial: str) -> Stop:
        return self._rules.verdict(trial)

    def needed(self, trial: str) -> set[str]:
        return self._rules.needed(trial)
