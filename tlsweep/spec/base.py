"""What all models of a spec share: strictness, helpful messages, units, and values that may be distributions."""

import difflib
import re
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

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

from tlsweep.spec.space import Choice, LogUniform, Uniform, parse_distribution


class SpecModel(BaseModel):
    """A section of the spec: frozen, and an unknown field is refused with the nearest right name."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True, protected_namespaces=()
    )

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_fields(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        for name in values:
            if name not in cls.model_fields:
                near = difflib.get_close_matches(str(name), cls.model_fields, n=1)
                hint = f"did you mean '{near[0]}'?" if near else f"known here: {', '.join(cls.model_fields)}"
                raise PydanticCustomError("unknown_field", f"unknown field '{name}'; {hint}")
        return values


def _seconds(value: Any) -> Any:
    """'1h30m', '90s' or a number of seconds."""
    if not isinstance(value, str):
        return value
    parts = re.fullmatch(r"\s*(?:(\d+(?:\.\d+)?)d)?\s*(?:([\d.]+)h)?\s*(?:([\d.]+)m)?\s*(?:([\d.]+)s?)?\s*", value)
    if not parts or not any(parts.groups()):
        raise PydanticCustomError("duration", "not a duration; write seconds, or for example '90s', '15m', '1h30m'")
    return sum(float(part or 0) * unit for part, unit in zip(parts.groups(), (86400, 3600, 60, 1), strict=True))


def _bytes(value: Any) -> Any:
    """'4GB', '512MB' (powers of 1024) or a number of bytes."""
    if not isinstance(value, str):
        return value
    parts = re.fullmatch(r"\s*([\d.]+)\s*([kmgt]?)i?b?\s*", value.lower())
    if not parts:
        raise PydanticCustomError("size", "not a size; write bytes, or for example '512MB', '4GB'")
    return int(float(parts[1]) * 1024 ** " kmgt".index(parts[2] or " "))


Seconds = Annotated[float, BeforeValidator(_seconds), Field(gt=0)]
Bytes = Annotated[int, BeforeValidator(_bytes), Field(gt=0)]

ModelT = TypeVar("ModelT", bound=BaseModel)


def _value_or_distribution(field: FieldInfo) -> Any:
    """The type `field | Distribution`, where every value that can be drawn satisfies the field's own rule."""
    value_type: Any = Annotated[field.annotation, field]
    adapter: TypeAdapter[Any] = TypeAdapter(value_type, config=ConfigDict(allow_inf_nan=False))

    def check(value: Any) -> Any:
        try:
            if isinstance(value, Mapping):
                distribution = parse_distribution(value)
                if field.annotation is int and isinstance(distribution, Uniform | LogUniform):
                    raise ValueError("needs whole numbers: use choice or powers_of_two")
                extremes = [adapter.validate_python(extreme) for extreme in distribution.extremes]
                # A value that a mutation picks is not validated again: it must be of the field's own type already.
                return Choice(tuple(extremes)) if type(distribution) is Choice else distribution
            return value if hasattr(value, "sample") else adapter.validate_python(value)
        except ValidationError as error:
            first = error.errors()[0]
            shown = f" (value {first['input']!r})" if isinstance(value, Mapping) else ""
            raise PydanticCustomError("hyperparameter", f"{first['msg']}{shown}") from None
        except ValueError as error:
            raise PydanticCustomError("distribution", str(error)) from None

    def dump(value: Any) -> Any:
        return value.to_yaml() if hasattr(value, "to_yaml") else value

    return Annotated[Any, PlainValidator(check), PlainSerializer(dump)]


def searchable(values: type[BaseModel], *, name: str, base: type[ModelT], doc: str) -> type[ModelT]:
    """A model like `base` plus the fields of `values`, each of which may also be a distribution.

    So the hyperparameters are written down once, with plain types, and the training code never meets a distribution.
    """
    fields: dict[str, Any] = {
        field_name: (
            _value_or_distribution(field),
            Field(default=field.default, description=field.description, validate_default=True),
        )
        for field_name, field in values.model_fields.items()
    }
    return create_model(name, __base__=base, __doc__=doc, __module__=values.__module__, **fields)
