"""The decisions, as pure functions of reports; and the adapter that carries them out on Ray Tune."""

from collections.abc import Mapping

from tlsweep.schedulers.asha import PromotionAsha, StoppingAsha
from tlsweep.schedulers.decisions import (
    Continue,
    Decision,
    Exploit,
    Hold,
    Independent,
    Observation,
    Promotion,
    Rules,
    Stop,
    Yield,
)
from tlsweep.schedulers.explore import Explorer, Perturb, keep
from tlsweep.schedulers.pb2 import Bandit
from tlsweep.schedulers.pbt import Pbt
from tlsweep.schedulers.synchronous import SynchronousPbt
from tlsweep.spec import NO_EXPLORE_ARM, AshaSearch, PbtSearch, PopulationSearch, SweepSpec
from tlsweep.spec.space import Distribution


def make_rules(spec: SweepSpec, arm: str) -> Rules:
    """The rules of one arm. Every arm has its own; what they draw depends on the seed alone, so all arms draw alike."""
    search, epochs = spec.search, spec.train.epochs
    if isinstance(search, AshaSearch):
        return (PromotionAsha if search.form == "promotion" else StoppingAsha)(search, epochs)
    if isinstance(search, PopulationSearch):
        explorer = make_explorer(search, spec.space) if search.explore and arm != NO_EXPLORE_ARM else keep
        return (SynchronousPbt if search.synchronous else Pbt)(search, epochs, spec.space, spec.seed, explorer)
    return Independent()


def make_explorer(search: PopulationSearch, space: Mapping[str, Distribution]) -> Explorer:
    """How a population explores."""
    mutable = {name: space[name] for name in search.mutate if name in space}
    if isinstance(search, PbtSearch):
        return Perturb(mutable, search.factors, search.resample_probability)
    usual = PbtSearch(strategy="pbt")
    return Bandit(mutable, search.interval, Perturb(mutable, usual.factors, usual.resample_probability))


__all__ = [
    "Continue", "Decision", "Exploit", "Explorer", "Hold", "Independent", "Observation", "Pbt", "Promotion",
    "PromotionAsha", "Rules", "Stop", "StoppingAsha", "SynchronousPbt", "Yield", "make_explorer", "make_rules",
]  # fmt: skip
