"""The whole spec of a sweep."""

import math
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from tlsweep.spec.base import SpecModel
from tlsweep.spec.data import DataSpec
from tlsweep.spec.hyperparameters import Hyperparameters, TrainSpec
from tlsweep.spec.model import ModelSpec
from tlsweep.spec.search import Budget, GridSearch, PbtSearch, Resources, SearchSpec
from tlsweep.spec.space import Distribution, Value

Control = Literal["scratch"]
MAIN_ARM = "main"
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
    controls: tuple[Control, ...] = ()
    """Control arms, run beside the main one at the same budget with the same configurations and seeds:
    `scratch` starts from random weights."""

    @field_validator("controls", mode="before")
    @classmethod
    def _one_control_is_a_list(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @model_validator(mode="after")
    def _parts_fit_together(self) -> "SweepSpec":
        space = self.space
        if isinstance(self.search, PbtSearch):
            if unknown := [name for name in self.search.mutate if name not in Hyperparameters.model_fields]:
                raise ValueError(f"search.mutate names {unknown}, which are no hyperparameters of train")
            if not any(name in space for name in self.search.mutate):
                raise ValueError(
                    f"search.strategy pbt mutates {list(self.search.mutate)}, but none of them is a distribution; "
                    "write, for example, train.lr: {loguniform: [1e-4, 0.1]}"
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
        if isinstance(self.search, PbtSearch):
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
