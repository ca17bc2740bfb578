"""ASHA, then PBT: many configurations are screened, and the best of them go on as a population.

A survivor is the same trial: its weights, its optimizer's state and its place in the order of the samples are its own,
bit for bit, from its checkpoint at the rung where it waited.
"""

from collections.abc import Callable, Mapping
from typing import TypeAlias

from tlsweep.schedulers.asha import PromotionAsha
from tlsweep.schedulers.decisions import Decision, Exploit, Join, Observation, Promotion, Rules, Stop, diverged
from tlsweep.schedulers.pbt import Pbt
from tlsweep.spec import AshaThenPbtSearch

Population: TypeAlias = Callable[[int], Pbt]
"""Makes the rules of a population of the given size."""


class Screening(Rules):
    """Successive halving up to a last rung, from which nobody goes on; who may yet be a survivor is not ended."""

    def __init__(self, search: AshaThenPbtSearch, epochs: int) -> None:
        self._halving = PromotionAsha(search, epochs, last_rung=search.last_rung(epochs))
        self._survivors, self._share = search.population, search.screening_share
        self.over = False
        """Whether the screening has used its share of the budget: nobody begins, or goes on, in it."""

    # The fold

    def observe(self, report: Observation) -> None:
        self._halving.observe(report)
        # Once over it stays so: a budget that is extended later must not open it again.
        self.over |= report.spent >= self._share
        if self.over and not diverged(report):
            self._halving.hold(report.trial)

    def promoted(self, trial: str) -> None:
        self._halving.promoted(trial)

    def ended(self, trial: str) -> None:
        self._halving.ended(trial)

    def reopened(self, trial: str) -> None:
        self._halving.reopened(trial)

    # The questions

    def decide(self, report: Observation) -> Decision:
        return self._halving.decide(report)

    def held(self, trial: str) -> bool:
        return self._halving.held(trial)

    def promotion(self, *, idle: bool) -> Promotion | None:
        return None if self.over else self._halving.promotion(idle=False)

    def due(self) -> Mapping[str, Stop]:
        """An end for those that will be neither promoted nor among the survivors."""
        survivors = self._halving.ranking()[: self._survivors]
        return {trial: stop for trial, stop in self._halving.due().items() if trial not in survivors}

    def verdict(self, trial: str) -> Stop:
        return self._halving.verdict(trial) if self._halving.standing(trial) else super().verdict(trial)

    def handover(self) -> Mapping[str, Join | Stop]:
        """The end of those that wait and are not of the population; then who is."""
        ranking, size = self._halving.ranking(), self._survivors
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

    def __init__(self, search: AshaThenPbtSearch, epochs: int, population: Population) -> None:
        self._screening, self._make_population = Screening(search, epochs), population
        self._population: Pbt | None = None
        self._members: set[str] = set()
        self._size = search.population
        self._latest: dict[str, Observation] = {}

    @property
    def stage(self) -> str:
        return "pbt" if self._population and len(self._members) == self._size else "asha"

    @property
    def last_stage(self) -> bool:
        return self._population is not None

    @property
    def takes_turns(self) -> bool:
        return self._population is not None

    @property
    def accepts_new(self) -> bool:
        return not (self._population or self._screening.over)

    # The fold

    def observe(self, report: Observation) -> None:
        if not self._population:
            self._latest[report.trial] = report
        self._of(report.trial).observe(report)

    def joined(self, trial: str, members: int) -> None:
        """Make a trial a member, with where it stands: others may copy it from now on."""
        if self._population is None:
            self._population, self._size = self._make_population(members), members
        self._members.add(trial)
        self._population.admit(self._latest[trial])

    def exploited(self, trial: str, generation: int, exploit: Exploit) -> None:
        self._of(trial).exploited(trial, generation, exploit)

    def promoted(self, trial: str) -> None:
        self._of(trial).promoted(trial)

    def ended(self, trial: str) -> None:
        self._of(trial).ended(trial)

    def reopened(self, trial: str) -> None:
        self._of(trial).reopened(trial)

    # The questions

    def decide(self, report: Observation) -> Decision:
        if self._population and report.trial not in self._members:
            return Stop("the screening was over before its first report")
        return self._of(report.trial).decide(report)

    def due(self) -> Mapping[str, Exploit | Stop]:
        return self._now.due()

    def held(self, trial: str) -> bool:
        return self._of(trial).held(trial)

    def promotion(self, *, idle: bool) -> Promotion | None:
        return self._now.promotion(idle=idle)

    def handover(self) -> Mapping[str, Join | Stop]:
        return {} if self._population else self._screening.handover()

    def verdict(self, trial: str) -> Stop:
        return self._of(trial).verdict(trial)

    def needed(self, trial: str) -> set[str]:
        return self._of(trial).needed(trial)

    # How

    @property
    def _now(self) -> Rules:
        return self._population or self._screening

    def _of(self, trial: str) -> Rules:
        return self._population if self._population and trial in self._members else self._screening
