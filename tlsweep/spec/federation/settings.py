"""The `train.federated` section: how many clients there are, what each of them has, and who takes part in a round."""

from typing import Annotated, Any

from pydantic import Field, model_serializer, model_validator
from pydantic_core import PydanticCustomError

from tlsweep.spec.base import SpecModel, Unit

_FORMS = "iid, {dirichlet: 0.5} or {classes: 2}"
# 1/49 of 49 clients is 0.9999999999999999.
_ROUNDING = 1e-9


class Split(SpecModel):
    """How the training images are divided among clients: `iid`, or one of the fields."""

    dirichlet: float | None = Field(None, ge=0.001, le=1e6)
    """The images of each class are divided in shares that are drawn from a symmetric Dirichlet distribution with this
    parameter (Hsu et al. 2019): the smaller, the more clients differ, in their classes and in how much they have."""
    classes: int | None = Field(None, ge=1)
    """Each client has images of so many classes, and each class is divided evenly among those that have it (as the
    shards of McMahan et al. 2017)."""

    @model_validator(mode="before")
    @classmethod
    def _a_word_has_no_fields(cls, value: Any) -> Any:
        if isinstance(value, str) and value != "iid":
            raise PydanticCustomError("split", f"must be {_FORMS}")
        return {} if value == "iid" else value

    @model_validator(mode="after")
    def _divided_in_one_way(self) -> "Split":
        if self.dirichlet is not None and self.classes is not None:
            raise ValueError(f"takes dirichlet or classes, not both; it must be {_FORMS}")
        return self

    @model_serializer
    def _as_written(self) -> Any:
        return self._way() or "iid"

    @property
    def in_words(self) -> str:
        """What it is called in a line, and in the name of an arm: `iid`, `dirichlet-0.1`, `classes-2`."""
        return "".join(f"{name}-{value:g}" for name, value in self._way().items()) or "iid"

    def _way(self) -> dict[str, float]:
        ways: dict[str, float | None] = {"dirichlet": self.dirichlet, "classes": self.classes}
        return {name: value for name, value in ways.items() if value is not None}


class Federated(SpecModel):
    """The `train.federated` section: a simulated federation (FedAvg, McMahan et al. 2017), whose rounds are epochs."""

    clients: int = Field(10, ge=1, le=1000)
    """Clients that the training images are divided among, once for all trials, by the sweep's seed. Validation images
    are given to them in the proportions of their training images, class by class."""
    split: Annotated[Split, Unit("iid, {dirichlet: number} or {classes: whole number}")] = Split()
    """How they are divided: `iid`, at random and evenly; `{dirichlet: 0.5}`; `{classes: 2}`."""
    fraction: float = Field(1.0, gt=0, le=1)
    """Part of the clients that takes part in a round, drawn for each."""
    local_epochs: int = Field(1, ge=1, le=1000)
    """How often a client goes through its images in a round."""

    @model_validator(mode="after")
    def _somebody_takes_part(self) -> "Federated":
        if self.fraction * self.clients < 1 - _ROUNDING:
            raise ValueError(
                f"fraction {self.fraction:g} of {self.clients} clients picks none; write at least "
                f"{1 / self.clients:.3g}, or more clients"
            )
        return self

    @property
    def picked(self) -> int:
        """Clients that take part in a round."""
        return max(1, round(self.fraction * self.clients))

    @property
    def in_words(self) -> str:
        """What it is called in a line.

        >>> Federated(clients=20, split=Split(classes=2), fraction=0.5, local_epochs=3).in_words
        '20 clients (classes-2), 10 of them in a round, 3 local epochs'
        """
        local = f"{self.local_epochs} local epoch{'s' * (self.local_epochs > 1)}"
        return f"{self.clients} clients ({self.split.in_words}), {self.picked} of them in a round, {local}"

    @property
    def passes(self) -> float:
        """How often a round goes through the training images, on average over the clients that may be drawn."""
        return self.picked * self.local_epochs / self.clients
