"""What all models of a spec share: strictness, helpful messages, units, and values that may be distributions."""

import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from types import NoneType
from typing import Annotated, Any, TypeVar, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    TypeAdapter,
    ValidationError,
    create_model,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from tlsweep.spec.search.per_batch_size import PerBatchSize, is_per_batch_size, parse_per_batch_size
from tlsweep.spec.search.space import Choice, LogUniform, Uniform, parse_distribution
from tlsweep.spec.wording import rule
from tlsweep.text import shortened

_NUMBER = r"(\d+\.?\d*|\.\d+)"
_DURATION = re.compile(rf"\s*(?:{_NUMBER}d)?\s*(?:{_NUMBER}h)?\s*(?:{_NUMBER}m)?\s*(?:{_NUMBER}s?)?\s*", re.ASCII)
_PLAIN = r"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?"
_RANGE = re.compile(rf"({_PLAIN})\s*(?:\.\.\.?|[-–:]|to)\s*({_PLAIN})", re.ASCII)
_LISTED = re.compile(rf"(?:[a-z._]*[\[(])?\s*({_PLAIN}(?:(?:\s*[,;]\s*|\s+){_PLAIN})+)\s*[\])]?", re.ASCII)
_DECIMAL_COMMA = re.compile(r"(-?\d+),(\d+(?:[eE][-+]?\d+)?)", re.ASCII)
_SIZE = re.compile(rf"\s*{_NUMBER}\s*([kmgt]?)i?b?\s*", re.ASCII)


class SpecModel(BaseModel):
    """A section of the spec: frozen, and an unknown field is refused with the nearest right name."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True, protected_namespaces=()
    )

    @model_validator(mode="before")
    @classmethod
    def _known_fields_and_no_booleans_for_numbers(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        fields = {field.alias or name: field for name, field in cls.model_fields.items()}
        for name in values:
            if name not in fields:
                context = {"name": str(name), "known": list(fields)}
                # Not left to extra="forbid", whose error does not say which names there are.
                raise PydanticCustomError("unknown_field", "unknown field '{name}'", context)
        return {name: _no_boolean(value, fields[name].annotation) for name, value in values.items()}


def _no_boolean(value: Any, annotation: Any) -> Any:
    """A boolean in the place of a number as the word that it is: pydantic refuses that, and would take True for 1.

    A mode="before" validator of the fields would do as well, but pydantic allows none for the `source` of a union.
    """
    if isinstance(value, list | tuple):
        return [_no_boolean(item, annotation) for item in value]
    if isinstance(value, bool) and _is_number(annotation):
        return str(value).lower()
    return value


def _is_number(annotation: Any) -> bool:
    types = set(_plain_types(annotation))
    return bool(types & {int, float}) and not types & {bool, Any}


def _plain_types(annotation: Any) -> Iterator[Any]:
    parts = get_args(annotation)
    if not parts:
        yield annotation
    for part in parts:
        yield from _plain_types(part)


def _seconds(value: Any) -> Any:
    """Read '1h30m', '90s' or a number of seconds."""
    if not isinstance(value, str):
        return value
    parts = _DURATION.fullmatch(value)
    if not parts or not any(parts.groups()):
        raise PydanticCustomError("duration", "not a duration; write seconds, or for example '90s', '15m', '1h30m'")
    return sum(float(part or 0) * unit for part, unit in zip(parts.groups(), (86400, 3600, 60, 1), strict=True))


def _bytes(value: Any) -> Any:
    """Read '4GB', '512MB' (powers of 1024) or a number of bytes."""
    if not isinstance(value, str):
        return value
    parts = _SIZE.fullmatch(value.lower())
    if not parts:
        raise PydanticCustomError("size", "not a size; write bytes, or for example '512MB', '4GB'")
    size = float(parts[1]) * 1024 ** " kmgt".index(parts[2] or " ")
    # int() of infinity raises OverflowError, where the field's own rule says what is wrong.
    return int(size) if math.isfinite(size) else size


@dataclass(frozen=True)
class Unit:
    """A unit that a number may be written with, for the reference of the fields."""

    words: str


Seconds = Annotated[float, BeforeValidator(_seconds), Field(gt=0), Unit("number of seconds or '1h30m'")]
_InBytes = Annotated[int, BeforeValidator(_bytes), Unit("number of bytes or '4GB'")]
Bytes = Annotated[_InBytes, Field(gt=0)]
BytesOrZero = Annotated[_InBytes, Field(ge=0)]

ModelT = TypeVar("ModelT", bound=BaseModel)


AUTO = "auto"
"""What stands for a value that follows from the rest."""


def value_or_distribution(name: str, field: FieldInfo, *, auto: bool) -> Any:
    """The type `field | Distribution`, where every value that can be drawn satisfies the field's own rule.

    With `auto` it may be that word, too.
    """
    value_type: Any = Annotated[field.annotation, field]
    adapter: TypeAdapter[Any] = TypeAdapter(value_type, config=ConfigDict(allow_inf_nan=False))

    def plain(value: Any) -> Any:
        return adapter.validate_python(_no_boolean(value, field.annotation))

    def check(value: Any) -> Any:
        if auto and value == AUTO:
            return value
        try:
            if isinstance(value, Mapping):
                if is_per_batch_size(value):
                    return _per_batch_size(name, value, plain)
                distribution = parse_distribution(value)
                if field.annotation is int and isinstance(distribution, Uniform | LogUniform):
                    raise ValueError("needs whole numbers: use choice or powers_of_two")
                extremes = [plain(extreme) for extreme in distribution.extremes]
                if None in extremes:
                    raise ValueError("null is no value to choose from; write a number for it")
                # A value that a mutation picks is not validated again: it must be of the field's own type already.
                if type(distribution) is Choice:
                    return Choice(tuple(extremes))
                return distribution
            if hint := _several_values(value, field.annotation):
                raise ValueError(hint)
            return value if hasattr(value, "to_yaml") else plain(value)
        except ValidationError as error:
            first = error.errors()[0]
            shown = f" (value {shortened(repr(first['input']))})" if isinstance(value, Mapping) else ""
            other = f", or {AUTO}" if auto and not shown else ""
            raise PydanticCustomError("hyperparameter", f"{rule(first)}{other}{shown}") from None
        except ValueError as error:
            raise PydanticCustomError("distribution", str(error)) from None

    def dump(value: Any) -> Any:
        return value.to_yaml() if hasattr(value, "to_yaml") else value

    # Plain, since pydantic's own check of the type would come first, and knows no distribution.
    return Annotated[Any, PlainValidator(check), PlainSerializer(dump)]


def _per_batch_size(name: str, value: Mapping[str, Any], plain: Callable[[Any], Any]) -> PerBatchSize:
    """Read a learning rate per batch size, all of which satisfy the field's own rule."""
    if name != "lr":
        raise ValueError("per is for train.lr alone; write the distribution without per, power and at")
    found = parse_per_batch_size(value)
    for extreme in found.extremes:
        plain(extreme)
    return found


def _several_values(value: Any, annotation: Any) -> str | None:
    """How a list of values, or a range such as 1e-4..1e-3, is written; None for anything else."""
    numeric = {int, float} >= set(_plain_types(annotation)) - {NoneType}
    annotation = float if numeric and annotation is not int else annotation
    values = list(value) if isinstance(value, list | tuple) else []
    if isinstance(value, str) and numeric:
        if annotation is float and (comma := _DECIMAL_COMMA.fullmatch(value[:200])):
            return f"must be a number with a decimal point: {comma[1]}.{comma[2]}"
        values = _numbers_in(value[:200])
    if not values:
        return None
    listed = f"{{choice: {_as_written(values)}}}"
    numbers = numeric and all(type(item) in (int, float) for item in values)
    if numbers and len(values) == 2 and (kind := _range_kind(values, annotation)):
        return f"a range to search is written {{{kind}: {_as_written(sorted(values))}}}, two values {listed}"
    return f"several values to choose from are written {listed}"


def _numbers_in(text: str) -> list[float]:
    """Find the numbers in what may be meant as a range or a list; none in a date, or in 10^-3."""
    if found := _RANGE.fullmatch(text):
        return [float(found[1]), float(found[2])]
    listed = _LISTED.fullmatch(text)
    if listed:
        return [float(number) for number in re.split(r"[,;\s]+", listed[1])]
    return []


def _range_kind(values: list[Any], annotation: Any) -> str | None:
    if annotation is float:
        return "loguniform" if min(values) > 0 else "uniform"
    powers = all(value >= 1 and int(value) == value and not int(value) & (int(value) - 1) for value in values)
    return "powers_of_two" if powers else None


def _as_written(values: list[Any]) -> str:
    return shortened(f"[{', '.join(f'{item:g}' if isinstance(item, float) else str(item) for item in values)}]", 80)


def searchable(
    values: type[BaseModel], *, name: str, base: type[ModelT], doc: str, auto: Collection[str] = ()
) -> type[ModelT]:
    """A model like `base` plus the fields of `values`, each of which may also be a distribution; those in `auto` are
    `auto` unless written.

    So the hyperparameters are written down once, with plain types, and the training code never meets a distribution.
    """
    fields: dict[str, Any] = {
        field_name: (
            value_or_distribution(field_name, field, auto=field_name in auto),
            Field(
                default=AUTO if field_name in auto else field.default,
                description=field.description,
                validate_default=True,
            ),
        )
        for field_name, field in values.model_fields.items()
    }
    # With the module of `values`, where it is bound to its name: Ray pickles a class by these two.
    return create_model(name, __base__=base, __doc__=doc, __module__=values.__module__, **fields)
