"""The decisions, as pure functions of reports; and the adapter that carries them out on Ray Tune."""

from tlsweep.schedulers.asha import Asha
from tlsweep.schedulers.decisions import Continue, Decision, Exploit, Independent, Observation, Rules, Stop, Yield
from tlsweep.schedulers.pbt import Pbt
from tlsweep.spec import AshaSearch, PbtSearch, SweepSpec, generator


def make_rules(spec: SweepSpec, arm: str) -> Rules:
    """The rules of one arm. Every arm has its own, with a generator that draws alike."""
    search, epochs = spec.search, spec.train.epochs
    if isinstance(search, AshaSearch):
        return Asha(search.min_epochs, epochs, search.reduction_factor)
    if isinstance(search, PbtSearch):
        return Pbt(search, epochs, spec.space, generator(spec.seed, "mutation"))
    return Independent()


__all__ = [
    "Asha", "Continue", "Decision", "Exploit", "Independent", "Observation", "Pbt", "Rules", "Stop", "Yield",
    "make_rules",
]  # fmt: skip
