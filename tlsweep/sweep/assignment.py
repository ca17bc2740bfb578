"""Which trials there are, and what a worker must know about one of them."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from tlsweep.spec import MAIN_ARM, GridSearch, Hyperparameters, SweepSpec, derive_seed, generator
from tlsweep.spec.model import NO_WEIGHTS, WEIGHTS
from tlsweep.spec.search import RecipeSearch
from tlsweep.spec.space import Value
from tlsweep.store import Checkpoint


@dataclass(frozen=True)
class Assignment:
    """All that differs between two trials. Plain values: it travels as the configuration of a Tune trial."""

    trial: str
    arm: str
    generation: int
    parent_trial: str | None
    seed: int
    hyperparameters: dict[str, Value]
    trail: tuple[Checkpoint, ...] = ()
    """Where to go on from: the last that is whole; from the beginning if none is."""
    micro_batches: dict[str, int] = field(default_factory=dict)
    """What other trials found to fit into memory, by device."""

    def to_config(self) -> dict[str, Any]:
        return asdict(self)


def trial_id(arm: str, number: int) -> str:
    """t0007; in a control arm t0007-scratch: the same configuration and seeds."""
    return f"t{number:04d}" if arm == MAIN_ARM else f"t{number:04d}-{arm}"


def trial_seed(spec: SweepSpec, number: int) -> int:
    """Initialisation, order of samples and augmentation of a trial follow from it; equal in all arms."""
    # A recipe that is trained again with the seed that found it would only confirm itself.
    return derive_seed(spec.seed, "confirmation" if isinstance(spec.search, RecipeSearch) else "trial", number)


def drawn(spec: SweepSpec, number: int) -> dict[str, Value]:
    """What is searched, for trial `number`; each drawn by a generator of its own, equal in all arms."""
    if isinstance(spec.search, GridSearch):
        return spec.grid_point(number)
    if isinstance(spec.search, RecipeSearch):
        return dict(spec.search.schedule[0].values)
    return {name: space.sample(generator(spec.seed, "sample", number, name)) for name, space in spec.space.items()}


def completed(spec: SweepSpec, arm: str, values: Mapping[str, Value]) -> dict[str, Value]:
    """All columns of hyperparameters: `values` for what is searched, the spec's constants, what is the arm's own."""
    here = spec.arm(arm)
    origin = values.get(WEIGHTS, next(iter(spec.model.origins))) if here.pretrained else NO_WEIGHTS
    searched = {name: value for name, value in values.items() if name != WEIGHTS}
    return spec.train.resolve(searched | dict(here.hyperparameters)).model_dump() | {WEIGHTS: origin}


def starting_values(spec: SweepSpec, arm: str, number: int) -> dict[str, Value]:
    """The hyperparameters that trial `number` of an arm starts with."""
    return completed(spec, arm, drawn(spec, number))


def trained_with(values: Mapping[str, Any]) -> Hyperparameters:
    """What the fine-tuning function is given of them; the weights, it is given themselves."""
    return Hyperparameters(**{name: values[name] for name in Hyperparameters.model_fields if name in values})


def configuration(spec: SweepSpec, number: int) -> Hyperparameters:
    """What trial `number` of the main arm starts with."""
    return trained_with(starting_values(spec, MAIN_ARM, number))
