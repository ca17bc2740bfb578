"""ASHA, then PBT: many configurations are screened, and the best of them go on as a population.

A survivor is the same trial: its weights, its optimizer's state and its place in the order of the samples are its own,
bit for bit, from its checkpoint at the rung where it waited.
"""

from collections.abc import Callable, Mapping
from typing import TypeAlias

from tlsweep.schedulers.asha import PromotionAsha, rungs
from tlsweep.schedulers.decisions import Decision, Exploit, Join, Observation, Promotion, Rules, Stop, diverged
from tlsweep.schedulers.pbt import Pbt
from tlsweep.spec import AshaThenPbtSearch

Population: TypeAlias = Callable[[int], Pbt]
"""Makes the rules of a population of so many members."""


class Screening(PromotionAsha):
    """Successive halving up to a last rung, from which nobody goes on; who may yet be a survivor is not ended."""

    def __init__(self, search: AshaThenPbtSearch, epochs: int) -> None:
        super().__init__(search, epochs)
        self._arrivals = {
            rung: {} for rung in rungs(search.min_epochs, search.last_rung(epochs) + 1, search.reduction_factor)
        }
        self._survivors, self._share = search.population, search.screening_share
        self.over = False
        """Whether the screening has used its share of the budget: nobody begins, or goes on, in it."""

    def observe(self, report: Observation) -> None:
        super().observe(report)
        self.over |= report.spent >= self._share
        if self.over and not diverged(report):
            self._held.add(report.trial)

    def promotion(self, *, idle: bool) -> Promotion | None:
        return None if self.over else super().promotion(idle=False)

    def due(self) -> Mapping[str, Stop]:
        """An end for those that will be neither promoted nor among the survivors."""
        survivors = self.ranking()[: self._survivors]
        return {trial: stop for trial, stop in super().due().items() if trial not in survivors}

    def verdict(self, trial: str) -> Stop:
        return super().verdict(trial) if trial in self._at else Rules.verdict(self, trial)

    def ranking(self) -> list[str]:
        """The trials that have not ended, the best first: by rung, then by score there, then by arrival."""
        standing = [
            (rung, report.score, -place, trial)
            for rung, arrivals in self._arrivals.items()
            for place, (trial, report) in enumerate(arrivals.items())
            if self._at[trial] == rung and trial not in self._ended
        ]
        return [trial for *_, trial in sorted(standing, reverse=True)]

    def handover(self) -> Mapping[str, Join | Stop]:
        """The end of those that wait and are not of the population; then who is."""
        ranking, size = self.ranking(), self._survivors
        members = min(size, len(ranking))
        joining = {trial: Join(members, self._place(trial, rank)) for rank, trial in enumerate(ranking[:size], 1)}
        left = [*ranking[size:], *sorted(trial for trial in self._held if self.held(trial) and trial not in self._at)]
        reason = f"the screening is over, and it is not among the best {members}"
        return {trial: Stop(reason, self._place(trial, rank)) for rank, trial in enumerate(left, members + 1)} | joining

    def _place(self, trial: str, rank: int) -> dict[str, float | int | None]:
        rung = self._at.get(trial)
        score = None if rung is None else self._arrivals[rung][trial].score
        return {"rank": rank, "rung": rung, "score": score}

    def _places(self, rung: int, arrived: int) -> int:
        return 0 if rung == max(self._arrivals) else super()._places(rung, arrived)


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
        """It brings along where it stands: others may copy it from now on."""
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
