"""The spec of a sweep that trains what a function of the user's own trains."""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, get_args

from pydantic import Field, PlainSerializer, ValidationError, model_validator

from tlsweep.spec.base import value_or_distribution
from tlsweep.spec.hyperparameters import Hyperparameters
from tlsweep.spec.search.per_batch_size import UNSCALED, PerBatchSize, Scaling, is_per_batch_size
from tlsweep.spec.search.space import Choice, Distribution, Value, parse_distribution
from tlsweep.spec.search.strategies import RecipeSearch
from tlsweep.spec.search.study import Arm, Control
from tlsweep.spec.sweep import IN_ORDER, MAIN_ALONE, SweepSpec
from tlsweep.text import shortened

NEEDED: Final = ("lr", "batch_size")
"""Hyperparameters that every function has: all tables and pages are about them."""
FINALISED_BY: Final = "by"
"""In the details of the event `evaluated`: which function of the user's own said what the winner reached."""
_IN_PLACE_OF: Final = ("data", "model", "train")
_OF_IMAGES: Final = ("controls", "soup", "study")
_CHECKED: Final = {
    name: value_or_distribution(name, Hyperparameters.model_fields[name], auto=False).__metadata__[0].func
    for name in NEEDED
}
_EXAMPLES: Final = {"trial": "my_package.train:finetune", "finalise": "my_package.train:test"}
_FUNCTION = r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*"


class FunctionSpec(SweepSpec):
    """A sweep over a function: `trial` in place of data, model and train."""

    SECTION = "space"
    EPOCHS = "epochs"

    trial: str = Field(max_length=200)
    """Your own fine-tuning function, `package.module:function`, in place of `data`, `model` and `train`."""
    written: dict[str, Annotated[Any, PlainSerializer(lambda value: _as_yaml(value))]] = Field(alias="space")
    """Its hyperparameters, of any names. Each is one value, or a distribution that is searched. `lr` and
    `batch_size` must be there; the function reads `trial.values.lr`."""
    finalise: str | None = Field(None, max_length=200)
    """A function of yours, `package.module:function`, that gets the winner when the sweep has ended: it tests it,
    returns the metrics, and writes to `trial.folder` what is to lie in `best/`."""
    epochs: int = Field(ge=1)
    """The largest progress, in turns of `trial.epochs()`."""

    @model_validator(mode="before")
    @classmethod
    def _space_is_read(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        for name in (*_IN_PLACE_OF, *_OF_IMAGES):
            if name in values:
                why = "stands in place of data, model and train" if name in _IN_PLACE_OF else "trains no images of ours"
                raise ValueError(f"{name}: trial names a function of yours, which {why}; take {name} out")
        _check_function("trial", values.get("trial"))
        if values.get("finalise") is not None:
            _check_function("finalise", values["finalise"])
        if "space" not in values:
            others = [str(name) for name in values if name not in IN_ORDER]
            written = f" (and {shortened(', '.join(others))} is no field)" if others else ""
            raise ValueError(
                f"space: is missing{written}: a function's hyperparameters, such as "
                "{lr: {loguniform: [1e-4, 0.1]}, batch_size: 32}"
            )
        space = values["space"]
        if not isinstance(space, Mapping):
            raise ValueError("space: must be a mapping, such as {lr: {loguniform: [1e-4, 0.1]}, batch_size: 32}")
        if missing := [name for name in NEEDED if name not in space]:
            raise ValueError(
                f"space.{missing[0]}: is missing, and tables and pages are about it; where your function has none, "
                "write any constant"
            )
        return {**values, "space": {str(name): _read(str(name), value) for name, value in space.items()}}

    @model_validator(mode="after")
    def _parts_fit_together(self) -> "FunctionSpec":
        if isinstance(self.search, RecipeSearch):
            raise ValueError("search.strategy recipe: cannot train a function of yours again; take another strategy")
        self.search.check(self)
        return self

    @property
    def controls(self) -> tuple[Control, ...]:
        return ()

    @property
    def space(self) -> dict[str, Distribution]:
        """The hyperparameters that are searched, by name; of an lr per batch size, that at the reference."""
        searched = {name: value for name, value in self.written.items() if hasattr(value, "to_yaml")}
        per = self.scaling.per
        return searched | ({"lr": per.at_reference} if per else {})

    @property
    def scaling(self) -> Scaling:
        lr, batch_size = (self.written[name] for name in NEEDED)
        if not isinstance(lr, PerBatchSize):
            return UNSCALED
        return Scaling(lr, batch_size if isinstance(batch_size, int) else lr.at)

    @property
    def hyperparameters(self) -> Sequence[str]:
        return tuple(self.written)

    def constant(self, name: str) -> Value | None:
        value: Value | None = self.written.get(name)
        return value

    def completed(self, arm: str, values: Mapping[str, Value]) -> dict[str, Value]:
        return {name: values.get(name, constant) for name, constant in self.written.items()}

    def types(self) -> dict[str, type]:
        """The type of each hyperparameter: float, int, bool or str."""
        return {name: type(_some(value)) for name, value in self.written.items()}

    @property
    def finalises(self) -> str | None:
        return self.finalise

    def _arms(self) -> tuple[Arm, ...]:
        return MAIN_ALONE


def _some(value: Any) -> Value:
    """A value that a hyperparameter can have."""
    found: Value = value.extremes[0] if hasattr(value, "to_yaml") else value
    return found


def _as_yaml(value: Any) -> Any:
    return value.to_yaml() if hasattr(value, "to_yaml") else value


def _check_function(field: str, name: Any) -> None:
    """Raises:
    ValueError: it names no function.
    """
    if not isinstance(name, str) or re.fullmatch(_FUNCTION, name, re.ASCII) is None:
        raise ValueError(
            f"{field} = {shortened(repr(name))}: must be package.module:function, such as {_EXAMPLES[field]}"
        )


def _read(name: str, value: Any) -> Any:
    """A hyperparameter: a value, or a distribution, of one type throughout.

    Raises:
        ValueError: it is neither, or has the type of none of its like.
    """
    if not name.isidentifier():
        raise ValueError(
            f"space.{shortened(name)}: a hyperparameter's name has letters, digits and _ only, so that "
            "trial.values.NAME is Python"
        )
    try:
        if name in _CHECKED:
            return _CHECKED[name](value)
        return _typed(name, value)
    except ValidationError as error:
        why = str(error.errors()[0]["msg"])
    except ValueError as error:
        why = str(error)
    raise ValueError(f"space.{name} = {shortened(repr(_as_yaml(value)))}: {why}")


def _typed(name: str, value: Any) -> Any:
    """A hyperparameter of which nothing is known but, of a name that our own have, its type."""
    if hasattr(value, "to_yaml"):
        return value
    if isinstance(value, Mapping):
        if is_per_batch_size(value):
            raise ValueError("per is for lr alone; write the distribution without per, power and at")
        found = parse_distribution(value)
        if type(found) is Choice:
            kind = _kind(name, found.values)
            return Choice(tuple(kind(value) for value in found.values))
        _kind(name, found.extremes)
        return found
    if isinstance(value, list | tuple):
        raise ValueError(f"several values to choose from are written {{choice: {shortened(str(list(value)))}}}")
    if not isinstance(value, bool | int | float | str):
        raise ValueError("must be a number, text, true or false, or a distribution such as {uniform: [0, 0.5]}")
    return _kind(name, (value,))(value)


def _kind(name: str, values: Sequence[Any]) -> type:
    """The type of all of these values.

    Raises:
        ValueError: they have none, or another one than a column of every sweep that has this name.
    """
    kinds = {type(value) for value in values}
    # 1 beside 0.5 is meant as a number like it, and a column has one type.
    if kinds == {int, float}:
        kinds = {float}
    if len(kinds) > 1 or not kinds <= {bool, int, float, str}:
        raise ValueError("its values must be all numbers, all text, or true and false")
    kind = kinds.pop()
    if kind is int and max(map(abs, values)) >= 2**63:
        raise ValueError("must be below 2^63, as whole numbers of a table are; write it as text or with a point")
    column = _column(name)
    if column in (None, kind):
        return kind
    if column is float and kind is int:
        return float
    raise ValueError(
        f"every sweep has a column {name} of {_WORDS[column]}, and this is {_WORDS[kind]}; give it another name"
    )


_WORDS: Final[Mapping[Any, str]] = {
    float: "numbers",
    int: "whole numbers",
    bool: "true and false",
    str: "text",
}


def _column(name: str) -> type | None:
    """The type of a hyperparameter of our own training that has this name; None where there is none."""
    field = Hyperparameters.model_fields.get(name)
    if field is None:
        return None
    kinds = {part for part in get_args(field.annotation) or (field.annotation,) if part is not type(None)}
    return next((kind for kind in (float, int, bool) if kind in kinds), str)
