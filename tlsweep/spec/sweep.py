"""The whole spec of a sweep."""

import math
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from tlsweep.spec.base import SpecModel
from tlsweep.spec.data import DataSpec
from tlsweep.spec.hyperparameters import Hyperparameters, TrainSpec
from tlsweep.spec.model import ModelSpec
from tlsweep.spec.search import Budget, Faults, GridSearch, PopulationSearch, Resources, SearchSpec
from tlsweep.spec.space import Distribution, Value

Control = Literal["scratch", "no-explore"]
MAIN_ARM = "main"
SCRATCH_ARM: Control = "scratch"
NO_EXPLORE_ARM: Control = "no-explore"
NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"
"""What a sweep, and so its folder, may be called."""


class SweepSpec(SpecModel):
    """A sweep: data, model, how to train, what to search, when to stop."""

    name: str | None = Field(None, pattern=f"^{NAME}$")
    """Name of the results folder; default: the preset's or file's name, numbered."""
    seed: int = Field(0, ge=0)
    """All random choices follow from it."""
    data: DataSpec
    """The labelled images."""
    model: ModelSpec = ModelSpec()
    """The network and its weights."""
    train: TrainSpec = TrainSpec()
    """How a trial is trained."""
    search: SearchSpec
    """Which configurations are tried, and which go on."""
    budget: Budget = Budget()
    """When to stop early."""
    resources: Resources = Resources()
    """What a trial gets."""
    faults: Faults = Faults()
    """What to do with a trial that fails."""
    controls: tuple[Control, ...] = ()
    """Control arms, run beside the main one at the same budget with the same configurations and seeds:
    `scratch` starts from random weights; `no-explore` is PBT or PB2 with explore off, to see what mutation adds."""

    @field_validator("controls", mode="before")
    @classmethod
    def _one_control_is_a_list(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @model_validator(mode="after")
    def _parts_fit_together(self) -> "SweepSpec":
        space = self.space
        if isinstance(self.search, PopulationSearch):
            if unknown := [name for name in self.search.mutate if name not in Hyperparameters.model_fields]:
                raise ValueError(f"search.mutate names {unknown}, which are no hyperparameters of train")
            if not any(name in space for name in self.search.mutate):
                raise ValueError(
                    f"search.strategy {self.search.strategy} mutates {list(self.search.mutate)}, but none of them is a "
                    "distribution; write, for example, train.lr: {loguniform: [1e-4, 0.1]}"
                )
            if self.search.couple_lr != "none" and not ("lr" in space and "batch_size" in space):
                raise ValueError(
                    f"search.couple_lr {self.search.couple_lr} scales lr with the batch size, inside the bounds of lr: "
                    "train.lr and train.batch_size must both be distributions; or write couple_lr: none"
                )
            if self.search.couple_lr != "none" and "batch_size" not in self.search.mutate:
                raise ValueError(
                    f"search.couple_lr {self.search.couple_lr} follows changes of the batch size, which search.mutate "
                    f"{list(self.search.mutate)} does not make; add batch_size there, or write couple_lr: none"
                )
            if "no-explore" in self.controls and not self.search.explore:
                raise ValueError("controls: no-explore compares with search.explore, but that is off already")
            if self.search.strategy == "pb2" and (named := _not_numbers(space, self.search.mutate)):
                raise ValueError(
                    f"search.strategy pb2 mutates numbers only, not {named}; take them out of search.mutate"
                )
        elif "no-explore" in self.controls:
            raise ValueError(
                f"controls: no-explore is for search.strategy pbt and pb2; {self.search.strategy} mutates nothing"
            )
        if isinstance(self.search, GridSearch) and not space:
            raise ValueError("search.strategy grid needs a distribution in train, such as lr: {choice: [0.01, 0.1]}")
        if "scratch" in self.controls and self.model.weights is None:
            raise ValueError("controls: scratch compares with random weights, but model.weights is none already")
        return self

    @property
    def space(self) -> dict[str, Distribution]:
        """The hyperparameters that are searched, by name."""
        return self.train.space()

    @property
    def arms(self) -> tuple[str, ...]:
        """The main arm and the control arms."""
        return (MAIN_ARM, *self.controls)

    @property
    def trials_per_arm(self) -> int:
        """How many configurations are tried in each arm."""
        if isinstance(self.search, PopulationSearch):
            return self.search.population
        if isinstance(self.search, GridSearch):
            return math.prod(len(values) for values in self._axes().values())
        return self.search.trials

    def grid_point(self, number: int) -> dict[str, Value]:
        """Combination `number` of the searched hyperparameters (grid search); the last name varies fastest."""
        point: dict[str, Value] = {}
        for name, values in reversed(self._axes().items()):
            number, at = divmod(number, len(values))
            point[name] = values[at]
        return point

    def _axes(self) -> dict[str, list[Value]]:
        points = self.search.points if isinstance(self.search, GridSearch) else 1
        return {name: distribution.grid(points) for name, distribution in self.space.items()}


def _not_numbers(space: Mapping[str, Distribution], names: Iterable[str]) -> list[str]:
    """Those of `names` whose values a Gaussian process cannot take."""
    return [
        name for name in names if name in space and any(isinstance(value, str | bool) for value in space[name].extremes)
    ]
