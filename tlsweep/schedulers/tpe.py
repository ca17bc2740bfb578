"""Configurations that Optuna's Tree-structured Parzen Estimator proposes from what was seen so far.

Bergstra et al., "Algorithms for Hyper-Parameter Optimization" (NIPS 2011). Trials that were stopped early count as in
BOHB (Falkner et al. 2018): the one that was trained longer ranks higher, then the one with the better score.
Optuna keeps nothing between two proposals: each time a study is made from the reports, with a seed of its own: a
resumed sweep is proposed what an undisturbed one would have been.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tlsweep.schedulers.decisions import Created, Fact, Observation, diverged
from tlsweep.spec import derive_seed
from tlsweep.spec.search.per_batch_size import UNSCALED, Scaling
from tlsweep.spec.search.space import Choice, Distribution, LogUniform, Value

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

STARTUP = 10
"""Configurations that are random, and trials that must have reported, before anything is proposed."""


@dataclass
class _Seen:
    """A trial: its values, and its best score so far (NaN: diverged) with the epochs it has."""

    values: Mapping[str, Value]
    epoch: int = 0
    score: float = -math.inf


class Tpe:
    """Knows the trials of an arm by the same fold as `Rules`, and proposes the next one."""

    def __init__(self, space: Mapping[str, Distribution], epochs: int, seed: int, scaling: Scaling = UNSCALED) -> None:
        self._space, self._scaling = space, scaling
        self._epochs, self._seed = epochs, seed
        self._seen: dict[str, _Seen] = {}

    def apply(self, fact: Fact) -> None:
        """Learn what happened; until a trial that was created reports, nothing near it is proposed."""
        match fact:
            case Created():
                self._seen[fact.trial] = _Seen(self._scaling.searched(fact.hyperparameters))
            case Observation():
                seen = self._seen[fact.trial]
                seen.epoch = fact.epoch
                seen.score = math.nan if diverged(fact) else max(seen.score, fact.score)

    def propose(self, number: int) -> dict[str, Value] | None:
        """Values for trial `number`; None while too little is known."""
        if number < STARTUP or sum(seen.epoch > 0 for seen in self._seen.values()) < STARTUP:
            return None
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)  # each study would announce itself
        # The first trials were drawn by our own generators, so none is random here; seeds of numpy's RandomState have
        # 32 bits.
        sampler = optuna.samplers.TPESampler(n_startup_trials=0, seed=derive_seed(self._seed, "tpe", number) % 2**32)
        study = optuna.create_study(direction="maximize", sampler=sampler)
        known = {name: known_to_optuna(distribution) for name, distribution in self._space.items()}
        study.add_trials([self._frozen(seen, known) for seen in self._seen.values()])
        params = study.ask(known).params
        proposed = {name: from_optuna(self._space[name], params[name]) for name in self._space}
        return self._scaling.in_force(proposed)

    def _frozen(self, seen: _Seen, known: Mapping[str, "BaseDistribution"]) -> "FrozenTrial":
        from optuna.trial import TrialState, create_trial

        params = {name: _to_optuna(self._space[name], seen.values[name]) for name in self._space}
        common: dict[str, Any] = {"params": params, "distributions": dict(known)}
        if not seen.epoch:
            return create_trial(state=TrialState.RUNNING, **common)
        if math.isnan(seen.score):  # below every other, however long it was trained
            return create_trial(state=TrialState.PRUNED, intermediate_values={0: math.nan}, **common)
        if seen.epoch >= self._epochs:
            return create_trial(value=seen.score, **common)
        # Optuna orders pruned trials by step and then by value, NaN last (samplers/_tpe/sampler.py,
        # `_get_pruned_trial_score`), which is BOHB's order.
        return create_trial(state=TrialState.PRUNED, intermediate_values={seen.epoch: seen.score}, **common)


def known_to_optuna(distribution: Distribution) -> "BaseDistribution":
    """What has an order is given as such: of a list of numbers the place in it."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(distribution, Choice):
        last = len(distribution.values) - 1
        if distribution.ordered:
            return IntDistribution(0, last)
        return CategoricalDistribution(distribution.values)
    low, high = map(float, distribution.extremes)
    return FloatDistribution(low, high, log=isinstance(distribution, LogUniform))


def _to_optuna(distribution: Distribution, value: Value) -> Value:
    if isinstance(distribution, Choice) and distribution.ordered:
        return distribution.values.index(value)
    return value


def from_optuna(distribution: Distribution, value: Any) -> Value:
    if isinstance(distribution, Choice) and distribution.ordered:
        value = distribution.values[value]
    return distribution.clip(value)
