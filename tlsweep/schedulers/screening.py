"""ASHA, then PBT: many configurations are screened, and the best of them go on as a population.

A survivor is the same trial: its weights, its optimizer's state and its place in the order of the samples are its own,
bit for bit, from its checkpoint at the rung where it waited.
"""

from collections.abc import Callable, Mapping, Set
from itertools import islice
from typing import TypeAlias

from tlsweep.schedulers.asha import PromotionAsha
from tlsweep.schedulers.decisions import (
    EACH_EPOCH,
    Decision,
    DecisionPoints,
    Fact,
    Join,
    Joined,
    Observation,
    Rules,
    Step,
    Stop,
    diverged,
)
from tlsweep.schedulers.pbt import Pbt
from tlsweep.spec import AshaThenPbtSearch

Population: TypeAlias = Callable[[int], Pbt]
"""Makes the rules of a population of the given size."""


class Screening(Rules):
    """Successive halving up to a last rung, from which nobody goes on; who may yet be a survivor is not ended."""

    def __init__(self, search: AshaThenPbtSearch, epochs: int, *, limited: bool) -> None:
        last, size = search.last_rung(epochs), search.population
        self._halving = PromotionAsha(search, epochs, last_rung=last, survivors=size)
        self._survivors, self._share = search.population, search.screening_share
        self.over = False
        """Whether the screening has used its share of the budget: nobody begins, or goes on, in it."""
        self._limited = limited

    @property
    def decision_points(self) -> DecisionPoints:
        # Where there is a budget the share of the screening can be used up with any report.
        return EACH_EPOCH if self._limited else self._halving.decision_points

    def apply(self, fact: Fact) -> None:
        self._halving.apply(fact)
        if isinstance(fact, Observation):
            # Once over it stays so: a budget that is extended later must not open it again.
            self.over |= fact.spent >= self._share
            if self.over and not diverged(fact):
                self._halving.hold(fact.trial)

    def decide(self, report: Observation) -> Decision:
        return self._halving.decide(report)

    def next_steps(self, *, idle: bool = False) -> Mapping[str, Step]:
        """End those that will be neither promoted nor among the survivors; where nothing runs, hand over."""
        survivors = set(islice(self._halving.ranking(), self._survivors))
        steps = {
            trial: step
            for trial, step in self._halving.next_steps().items()
            if (trial not in survivors if isinstance(step, Stop) else not self.over)
        }
        # Who is promoted can still overtake a survivor, so nothing is handed over while somebody can go on by itself.
        return self._handover() if idle and not steps else steps

    def held(self, trial: str) -> bool:
        return self._halving.held(trial)

    def free(self, trials: Set[str]) -> Set[str]:
        return self._halving.free(trials)

    def verdict(self, trial: str) -> Stop:
        return self._halving.verdict(trial) if self._halving.standing(trial) else super().verdict(trial)

    def _handover(self) -> Mapping[str, Step]:
        """The end of those that wait and are not of the population; then who is."""
        ranking, size = list(self._halving.ranking()), self._survivors
        members = min(size, len(ranking))
        joining = {trial: Join(members, self._place(trial, rank)) for rank, trial in enumerate(ranking[:size], 1)}
        left = [*ranking[size:], *(trial for trial in self._halving.waiting() if not self._halving.standing(trial))]
        reason = f"the screening is over, and it is not among the best {members}"
        return {trial: Stop(reason, self._place(trial, rank)) for rank, trial in enumerate(left, members + 1)} | joining

    def _place(self, trial: str, rank: int) -> dict[str, float | int | None]:
        rung, score = self._halving.standing(trial) or (None, None)
        return {"rank": rank, "rung": rung, "score": score}


class AshaThenPbt(Rules):
    """The rules of the screening until its survivors have joined the population, then the population's."""

    def __init__(
        self, search: AshaThenPbtSearch, epochs: int, population: Population, *, limited: bool = False
    ) -> None:
        """Begin with the screening; `limited`: there is a budget, of which it has a share."""
        self._screening, self._make_population = Screening(search, epochs, limited=limited), population
        self._population: Pbt | None = None
        self._members: set[str] = set()
        self._size = search.population
        self._latest: dict[str, Observation] = {}

    @property
    def stage(self) -> str:
        return "pbt" if self._population and len(self._members) == self._size else "asha"

    @property
    def takes_turns(self) -> bool:
        return self._population is not None

    @property
    def decision_points(self) -> DecisionPoints:
        return (self._population or self._screening).decision_points

    @property
    def accepts_new(self) -> bool:
        return not (self._population or self._screening.over)

    def apply(self, fact: Fact) -> None:
        if isinstance(fact, Joined):
            self._join(fact)
            return
        if isinstance(fact, Observation) and not self._population:
            self._latest[fact.trial] = fact
        self._of(fact.trial).apply(fact)

    def _join(self, joined: Joined) -> None:
        """Make a trial a member, with where it stands: others may copy it from now on."""
        if self._population is None:
            self._population, self._size = self._make_population(joined.members), joined.members
        self._members.add(joined.trial)
        self._population.admit(self._latest[joined.trial])

    def decide(self, report: Observation) -> Decision:
        if self._population and report.trial not in self._members:
            return Stop("the screening was over before its first report")
        return self._of(report.trial).decide(report)

    def next_steps(self, *, idle: bool = False) -> Mapping[str, Step]:
        return (self._population or self._screening).next_steps(idle=idle)

    def held(self, trial: str) -> bool:
        return self._of(trial).held(trial)

    def free(self, trials: Set[str]) -> Set[str]:
        if not self._population:
            return self._screening.free(trials)
        return self._screening.free(trials - self._members) | self._population.free(trials & self._members)

    def verdict(self, trial: str) -> Stop:
        return self._of(trial).verdict(trial)

    def needed(self, trial: str) -> set[str]:
        return self._of(trial).needed(trial)

    def _of(self, trial: str) -> Rules:
        return self._population if self._population and trial in self._members else self._screening
