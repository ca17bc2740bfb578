"""What the tests of the schedulers share: reports, populations, and a small sweep without training."""

import copy
import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tlsweep.schedulers import (
    Decision,
    Ended,
    Exploit,
    Exploited,
    Fact,
    Hold,
    Observation,
    Pbt,
    Promote,
    Rules,
    Stop,
    SynchronousPbt,
    keep,
    make_explorer,
)
from tlsweep.spec import Pb2Search, PbtSearch
from tlsweep.spec.search.space import Distribution, LogUniform, PowersOfTwo, Value

SPACE: dict[str, Distribution] = {"lr": LogUniform(1e-4, 1e-1), "batch_size": PowersOfTwo(16, 128)}
VALUES: dict[str, Value] = {"lr": 1e-2, "batch_size": 32, "momentum": 0.9}


def population(
    members: int = 4,
    interval: int = 2,
    epochs: int = 20,
    *,
    seed: int = 0,
    explore: bool = True,
    space: dict[str, Distribution] = SPACE,
    strategy: str = "pbt",
    **options: object,
) -> Pbt:
    """Rules of a population, synchronous if the options say so."""
    model = PbtSearch if strategy == "pbt" else Pb2Search
    search: PbtSearch | Pb2Search = model.model_validate(
        {"strategy": strategy, "population": members, "interval": interval, **options}
    )
    kind = SynchronousPbt if search.synchronous else Pbt
    return kind(search, epochs, space, seed, make_explorer(search, space) if explore else keep)


def report(
    trial: str,
    epoch: int,
    score: float,
    *,
    generation: int = 0,
    checkpoint: bool = True,
    values: dict[str, Value] = VALUES,
    spent: float = 0.0,
) -> Observation:
    """A report of the trial called `trial`; one called 'c' is number 2."""
    path = f"{trial}/g{generation}-e{epoch}" if checkpoint else None
    number = ord(trial) - ord("a") if len(trial) == 1 else int(trial[1:])
    digest = f"sha of {path}" if path else None
    return Observation(trial, number, generation, epoch, score, values, path, digest, spent)


class Promotion(NamedTuple):
    """Who goes on next from where it is held."""

    trial: str
    details: Mapping[str, Any]


def next_promotion(rules: Rules, *, idle: bool) -> Promotion | None:
    """The promotion among the next steps, if there is one."""
    steps = rules.next_steps(idle=idle).items()
    return next((Promotion(trial, step.details) for trial, step in steps if isinstance(step, Promote)), None)


def due_now(rules: Rules) -> dict[str, Any]:
    """The steps that need no slot."""
    return {trial: step for trial, step in rules.next_steps().items() if not isinstance(step, Promote)}


def tell(rules: Rules, one: Observation) -> Decision:
    """Report and ask."""
    rules.apply(one)
    return rules.decide(one)


@dataclass
class Simulated:
    """A member that is trained by a function instead of a network."""

    name: str
    values: dict[str, Value]
    generation: int = 0
    epoch: int = 0
    score: float = 0.0
    ended: bool = False
    waits: bool = False
    """It was told to hold."""


@dataclass
class Simulation:
    """Trains a population as a sweep would; every fact of the fold is kept."""

    rules: Rules
    epochs: int
    members: dict[str, Simulated]
    gain: Callable[[Simulated], float]
    """Change of score in the next epoch; NaN: it diverges."""
    saves: Callable[[], bool] = lambda: True
    """Whether the next checkpoint is written."""
    facts: list[Fact] = field(default_factory=list)
    decisions: list[tuple[str, Any]] = field(default_factory=list)
    states: dict[str, float] = field(default_factory=dict)
    """Score at each checkpoint."""

    def fold(self, fact: Fact) -> None:
        self.rules.apply(fact)
        self.facts.append(fact)

    def runnable(self) -> list[str]:
        return [one.name for one in self.members.values() if not one.ended and not self.rules.held(one.name)]

    def train(self, trial: str) -> None:
        """One epoch of a member, and what is decided then."""
        one = self.members[trial]
        one.epoch, one.score = one.epoch + 1, one.score + self.gain(one)
        row = report(
            trial, one.epoch, one.score, generation=one.generation, checkpoint=self.saves(), values=dict(one.values)
        )
        if row.checkpoint and math.isfinite(one.score):
            self.states[row.checkpoint] = one.score
        self.fold(row)
        decision = self.rules.decide(row)
        self.carry_out(trial, decision)
        if not one.ended and one.epoch >= self.epochs and not isinstance(decision, Exploit):
            self.end(trial)
        self.settle()

    def end(self, trial: str) -> None:
        self.members[trial].ended = True
        self.fold(Ended(trial))

    def settle(self) -> None:
        while due := due_now(self.rules):
            for trial, decision in due.items():
                self.carry_out(trial, decision)

    def carry_out(self, trial: str, decision: Decision) -> None:
        self.decisions.append((trial, decision))
        one = self.members[trial]
        one.waits = isinstance(decision, Hold)
        if isinstance(decision, Stop):
            self.end(trial)
        if isinstance(decision, Exploit):
            one.generation, one.epoch = one.generation + 1, decision.epoch
            one.score, one.values = self.states[decision.checkpoint], dict(decision.hyperparameters)
            self.fold(Exploited(trial, one.generation, decision))

    def run(self, rng: random.Random) -> None:
        """Train members in random order until all have ended."""
        self.settle()
        while runnable := self.runnable():
            self.train(rng.choice(runnable))
        assert all(one.ended for one in self.members.values()), "nobody may go on, but not all have ended"


def copied(donor: str, epoch: int) -> Exploit:
    """What a member took from `donor`."""
    values = {"lr": 0.1, "batch_size": 16, "momentum": 0.9}
    return Exploit(donor, 0, epoch, f"{donor}/g0-e{epoch}", "sha", values, {}, {"donor_score": 0.9})


def simulation(rules: Rules, epochs: int, gain: Callable[[Simulated], float], members: int = 4) -> Simulation:
    """Members a, b, … with configurations of their own."""
    values = [{"lr": 10 ** -(1 + at % 3), "batch_size": 2 ** (4 + at % 4), "momentum": 0.9} for at in range(members)]
    names = [chr(ord("a") + at) for at in range(members)]
    return Simulation(
        rules, epochs, {name: Simulated(name, dict(start)) for name, start in zip(names, values, strict=True)}, gain
    )


def answers(rules: Rules, trials: list[str]) -> dict[str, object]:
    """All that can be asked without a report."""
    return {
        "steps": [rules.next_steps(idle=idle) for idle in (False, True)],
        "held": [rules.held(trial) for trial in trials],
        "free": sorted(rules.free({*trials, "of another arm"})),
        "verdict": [rules.verdict(trial) for trial in trials],
        "needed": [rules.needed(trial) for trial in trials],
    }


def equal(one: object, other: object) -> bool:
    """Equality where NaN equals NaN."""
    return repr(one) == repr(other)


def replayed(fresh: Rules, facts: list[Fact]) -> Rules:
    """Other rules after the same fold."""
    for fact in copy.deepcopy(facts):
        fresh.apply(fact)
    return fresh
