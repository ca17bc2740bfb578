"""The whole spec of a sweep."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import Field, field_validator, model_validator

from tlsweep.spec.base import SpecModel
from tlsweep.spec.data import DataSpec
from tlsweep.spec.hyperparameters import Hyperparameters, TrainSpec
from tlsweep.spec.hyperrule import BATCH_SIZE, hyperrule
from tlsweep.spec.model import WEIGHTS, ModelSpec
from tlsweep.spec.search import (
    AshaThenPbtSearch,
    Budget,
    Faults,
    GridSearch,
    PopulationSearch,
    RecipeSearch,
    Resources,
    SearchSpec,
)
from tlsweep.spec.space import Choice, Distribution, Value
from tlsweep.spec.study import HYPERRULE_ARM, NO_EXPLORE_ARM, SCRATCH_ARM, Arm, Control, Study, arms_of

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
    `scratch` starts from random weights; `no-explore` is PBT or PB2 with explore off, to see what mutation adds;
    `hyperrule` is one trial with what the BiT HyperRule chooses for so many images (Kolesnikov et al. 2020): the
    baseline without a search."""
    train_images: int | None = Field(None, ge=2)
    """Images in the training split, from which `controls: hyperrule` follows. A launch fills it in."""
    study: Study = Study()
    """More arms, at the main one's budget each: `freeze`, or `{few_labels: [5, 10, 25]}`."""

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
            if NO_EXPLORE_ARM in self.controls and not self.search.explore:
                raise ValueError("controls: no-explore compares with search.explore, but that is off already")
            if self.search.strategy == "pb2" and (named := _not_numbers(space, self.search.mutate)):
                raise ValueError(
                    f"search.strategy pb2 mutates numbers only, not {named}; take them out of search.mutate"
                )
        elif NO_EXPLORE_ARM in self.controls:
            raise ValueError(
                f"controls: no-explore is for search.strategy pbt and pb2; {self.search.strategy} mutates nothing"
            )
        if isinstance(self.search, AshaThenPbtSearch):
            self._screening_fits(self.search)
        if isinstance(self.search, RecipeSearch):
            self._recipe_fits(self.search)
        if isinstance(self.search, GridSearch) and not space:
            raise ValueError("search.strategy grid needs a distribution in train, such as lr: {choice: [0.01, 0.1]}")
        if SCRATCH_ARM in self.controls and self.model.weights is None:
            raise ValueError("controls: scratch compares with random weights, but model.weights is none already")
        self._study_fits()
        return self

    def _study_fits(self) -> None:
        if self.study.freeze and self.model.weights is None:
            raise ValueError("study: freeze compares how much of model.weights is trained, but they are none")
        if self.study.freeze and "freeze" in self.space:
            raise ValueError("study: freeze compares the values of train.freeze, which is searched; make it a constant")
        if self.study.few_labels:
            labels = self.data.model_copy(update={"labels_per_class": max(self.study.few_labels)})
            object.__setattr__(self, "data", labels)  # it is frozen for its users, not yet for itself

    def _recipe_fits(self, search: RecipeSearch) -> None:
        if self.space:
            raise ValueError(f"search.strategy recipe draws nothing, but {', '.join(self.space)} are distributions")
        if search.schedule[-1].to_epoch > self.train.epochs:
            raise ValueError(
                f"search.schedule ends at epoch {search.schedule[-1].to_epoch}, after train.epochs {self.train.epochs}"
            )
        for step in search.schedule:
            self.train.resolve(dict(step.values))

    def _screening_fits(self, search: AshaThenPbtSearch) -> None:
        if search.trials < search.population:
            raise ValueError(
                f"search.population {search.population} is chosen from search.trials {search.trials}: "
                "try more configurations than the population has members"
            )
        if not search.min_epochs <= search.last_rung(self.train.epochs) < self.train.epochs:
            raise ValueError(
                f"search.screening_epochs {search.last_rung(self.train.epochs)} must lie from search.min_epochs "
                f"{search.min_epochs} to below train.epochs {self.train.epochs}: the population trains the rest"
            )

    @property
    def space(self) -> dict[str, Distribution]:
        """The hyperparameters that are searched, by name."""
        names = tuple(self.model.origins)
        return self.train.space() | ({WEIGHTS: Choice(names)} if len(names) > 1 else {})

    def space_in(self, arm: str) -> dict[str, Distribution]:
        """Those of them that differ between the trials of an arm."""
        here = self.arm(arm)
        fixed = {*here.hyperparameters, *(() if here.pretrained else (WEIGHTS,))}
        return {name: one for name, one in self.space.items() if name not in fixed}

    @property
    def arms(self) -> tuple[str, ...]:
        """The names of the main arm and of those beside it."""
        return tuple(arm.name for arm in self._arms())

    def arm(self, name: str) -> Arm:
        """What is special about the trials of an arm."""
        return next(arm for arm in self._arms() if arm.name == name)

    def trials_in(self, arm: str) -> int:
        """How many configurations are tried in an arm."""
        own = self.arm(arm).trials
        return self.trials_per_arm if own is None else own

    def epochs_in(self, arm: str) -> int:
        """Epochs of all trials of an arm if none is stopped early, or the budget's if that is less."""
        search, epochs = self.search, self.trials_in(arm) * self.train.epochs
        if isinstance(search, AshaThenPbtSearch) and self.arm(arm).trials is None:
            screened = (search.trials - search.population) * search.last_rung(self.train.epochs)
            epochs = screened + search.population * self.train.epochs
        return min(epochs, self.budget.epochs or epochs)

    def _arms(self) -> tuple[Arm, ...]:
        weights = self.model.weights is not None
        rule: dict[str, Any] = {}
        if HYPERRULE_ARM in self.controls:
            rule = hyperrule(self.train_images or BATCH_SIZE, self.train.epochs).model_dump()
        return arms_of(self.controls, self.study, weights=weights, freeze=dict(self.train)["freeze"], rule=rule)

    @property
    def trials_per_arm(self) -> int:
        """How many configurations are tried in the main arm, and in each other that has no number of its own."""
        if isinstance(self.search, PopulationSearch) and not isinstance(self.search, AshaThenPbtSearch):
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
