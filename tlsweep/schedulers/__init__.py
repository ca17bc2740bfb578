"""Decides which configurations are tried and which trials go on, as pure functions of reports."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from tlsweep.schedulers.asha import PromotionAsha, StoppingAsha
from tlsweep.schedulers.decisions import (
    EACH_EPOCH,
    Continue,
    Created,
    Decision,
    DecisionPoints,
    Ended,
    Exploit,
    Exploited,
    Fact,
    Hold,
    Independent,
    Join,
    Joined,
    Observation,
    Promote,
    Promoted,
    Reopened,
    Rules,
    Step,
    Stop,
    Yield,
)
from tlsweep.schedulers.explore import AtReference, Explorer, Perturb, keep
from tlsweep.schedulers.patience import Patience
from tlsweep.schedulers.pb2 import Bandit
from tlsweep.schedulers.pbt import Pbt
from tlsweep.schedulers.replay import Replay
from tlsweep.schedulers.screening import AshaThenPbt
from tlsweep.schedulers.synchronous import SynchronousPbt
from tlsweep.schedulers.tpe import Tpe
from tlsweep.spec import AshaSearch, ImageSpec, PbtSearch, Perturbed, PopulationSearch, SweepSpec
from tlsweep.spec.search.common import Sampled
from tlsweep.spec.search.per_batch_size import UNSCALED, Scaling
from tlsweep.spec.search.space import Distribution, Value


def _asha(search: AshaSearch, spec: SweepSpec, _: str) -> Rules:
    kind = PromotionAsha if search.form == "promotion" else StoppingAsha
    return kind(search, spec.epochs)


def _constants(spec: SweepSpec) -> dict[str, Value]:
    """What a recipe's steps leave as it is."""
    assert isinstance(spec, ImageSpec)  # others have no recipe that can be trained again
    return spec.train.resolve({}).model_dump()


RULES: Final[Mapping[str, Callable[[Any, SweepSpec, str], Rules]]] = MappingProxyType({
    "random": lambda search, spec, arm: Independent(),
    "grid": lambda search, spec, arm: Independent(),
    "asha": _asha,
    "pbt": lambda search, spec, arm: make_population(spec, arm, search.population),
    "pb2": lambda search, spec, arm: make_population(spec, arm, search.population),
    "asha_then_pbt": lambda search, spec, arm: AshaThenPbt(
        search,
        spec.epochs,
        lambda members: make_population(spec, arm, members),
        limited=spec.budget.limited,
    ),
    "recipe": lambda search, spec, arm: Replay(search.steps_of(arm), _constants(spec)),
})  # fmt: skip
"""Make the rules of an arm, by `search.strategy`: from the section `search`, the whole spec and the arm's name."""


def make_rules(spec: SweepSpec, arm: str) -> Rules:
    """Make the rules of one arm. Each has its own; what they draw depends on the seed alone, so all arms draw alike."""
    if spec.arm(arm).trials is not None:  # a control of a few trials, each trained to the end
        return Independent()
    rules = RULES[spec.search.strategy](spec.search, spec, arm)
    return rules if spec.search.patience is None else Patience(rules, spec.search, spec.epochs)


def make_population(spec: SweepSpec, arm: str, members: int) -> Pbt:
    """Make the rules of a population of this size."""
    search = spec.search.model_copy(update={"population": members})
    assert isinstance(search, PopulationSearch)
    explores = search.explore and spec.arm(arm).explore
    explorer = make_explorer(search, spec.space_in(arm), spec.scaling) if explores else keep
    kind = SynchronousPbt if search.synchronous else Pbt
    return kind(search, spec.epochs, spec.space, spec.seed, explorer)


def make_tpe(spec: SweepSpec, arm: str) -> Tpe:
    """What proposes the configurations of an arm; each arm learns from its own trials."""
    return Tpe(spec.space_in(arm), spec.epochs, spec.seed, spec.scaling)


def uses_tpe(spec: SweepSpec) -> bool:
    """Whether configurations are proposed, and not all drawn at random or listed."""
    return isinstance(spec.search, Sampled) and spec.search.sampler == "tpe" and bool(spec.space)


def make_explorer(search: PopulationSearch, space: Mapping[str, Distribution], scaling: Scaling = UNSCALED) -> Explorer:
    """How a population explores."""
    if scaling.per:
        return AtReference(make_explorer(search, space), scaling)
    mutable = {name: space[name] for name in search.mutate if name in space}
    if isinstance(search, Perturbed):
        return Perturb(mutable, search.factors, search.resample_probability)
    usual = PbtSearch(strategy="pbt")
    return Bandit(mutable, search.interval, Perturb(mutable, usual.factors, usual.resample_probability))


__all__ = [
    "EACH_EPOCH",
    "AshaThenPbt",
    "Continue",
    "Created",
    "Decision",
    "DecisionPoints",
    "Ended",
    "Exploit",
    "Exploited",
    "Explorer",
    "Fact",
    "Hold",
    "Independent",
    "Join",
    "Joined",
    "Observation",
    "Patience",
    "Pbt",
    "Promote",
    "Promoted",
    "PromotionAsha",
    "Reopened",
    "Rules",
    "Step",
    "Stop",
    "StoppingAsha",
    "SynchronousPbt",
    "Tpe",
    "Yield",
    "make_explorer",
    "make_rules",
    "make_tpe",
    "uses_tpe",
]  # fmt: skip
