"""Which trials there are, and what a worker must know about one of them."""

from dataclasses import asdict, dataclass, field
from typing import Any

from tlsweep.spec import MAIN_ARM, GridSearch, Hyperparameters, SweepSpec, derive_seed, generator
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
    return derive_seed(spec.seed, "trial", number)


def configuration(spec: SweepSpec, number: int) -> Hyperparameters:
    """The hyperparameters that trial `number` starts with; each drawn by a generator of its own, equal in all arms."""
    if isinstance(spec.search, GridSearch):
        return spec.train.resolve(spec.grid_point(number))
    return spec.train.resolve(
        {name: space.sample(generator(spec.seed, "sample", number, name)) for name, space in spec.space.items()}
    )
