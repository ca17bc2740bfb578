"""The optimizers that `train.optimizer` may name, and what a spec must know of each."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal

from tlsweep.spec.search.space import Value


@dataclass(frozen=True)
class OptimizerTraits:
    """What the spec must know of an optimizer; `training/optimization/optimizers.py` knows how it is made."""

    meaning: str
    """What it is, for the documentation of `train.optimizer`."""
    defaults: Mapping[str, Value] = field(default_factory=dict)
    """What other fields of `train` default to with it, as its authors recommend."""
    needs_momentum: bool = False
    """Momentum must be above 0."""
    averages: bool = False
    """Its result is an average of the weights that it trains."""
    finds_lr: bool = False
    """It finds one learning rate for all layers itself; `lr` is a factor on it."""


OPTIMIZERS: Final[Mapping[str, OptimizerTraits]] = MappingProxyType({
    "sgd": OptimizerTraits("with momentum"),
    "adam": OptimizerTraits("Kingma & Ba 2015"),
    "adamw": OptimizerTraits("decoupled weight decay"),
    # Schedule-free weights are an average over those that were trained, at 1/momentum beyond it.
    "schedule_free_sgd": OptimizerTraits(
        "averages weights instead of decaying lr (Defazio et al. 2024; lr_schedule is constant unless written)",
        defaults={"lr_schedule": "constant"},
        needs_momentum=True,
        averages=True,
    ),
    "schedule_free_adamw": OptimizerTraits(
        "the same with AdamW's steps", defaults={"lr_schedule": "constant"}, needs_momentum=True, averages=True
    ),
    # Prodigy makes its first moment with its first step, or never: one that is copied would lack it.
    "prodigy": OptimizerTraits(
        "Adam that finds its own learning rate (Mishchenko & Defazio 2024)",
        defaults={"lr": 1.0},
        needs_momentum=True,
        finds_lr=True,
    ),
})  # fmt: skip

if TYPE_CHECKING:
    # A type checker takes only literals that are written out.
    OptimizerName = str
else:
    OptimizerName = Literal[tuple(OPTIMIZERS)]


def describe_optimizers() -> str:
    """Name each optimizer with its meaning.

    >>> describe_optimizers().split("; ")[0]
    '`sgd`: with momentum'
    """
    return "; ".join(f"`{name}`: {traits.meaning}" for name, traits in OPTIMIZERS.items()) + "."
