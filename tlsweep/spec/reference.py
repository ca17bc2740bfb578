"""The reference of a spec's fields, read off the models that validate it: nothing is written twice, or forgotten."""

import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from tlsweep.spec.base import SpecModel, Unit
from tlsweep.spec.function import FunctionSpec
from tlsweep.spec.hyperparameters import Hyperparameters, TrainSpec
from tlsweep.spec.images import ImageSpec
from tlsweep.spec.sweep import SweepSpec

_TYPES: Mapping[Any, str] = {
    int: "whole number", float: "number", str: "text", bool: "true or false", type(None): "none", Any: "anything",
}  # fmt: skip
_BOUNDS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
_TAGS = ("source", "strategy")
"""Fields that say which variant of a section it is."""


@dataclass(frozen=True)
class SpecField:
    """What there is to know of a field."""

    path: str
    """The path as in an override: `train.lr`."""
    type: str
    rule: str
    """What a value must satisfy beside its type; empty where nothing."""
    default: str
    """The default as it is written in YAML; of a section only what differs from its fields' own; `required` where there
    is none."""
    variants: tuple[str, ...]
    """The sources or strategies that have it; empty where all have."""
    meaning: str
    searched: bool = False
    """Whether it may be a distribution."""
    same_as: str = ""
    """The section that is listed for this one too, since it has the same fields; empty where there is none."""


def spec_fields() -> list[SpecField]:
    """Every field of a spec; a section that may stand in several places is listed in the first."""
    sections = _sections()
    places = {model: path for path, models in sections.items() for model in models} | {Hyperparameters: "train"}
    return [field for path, models in sections.items() for field in _fields_of(path, models, places)]


def _sections() -> Mapping[str, list[type[SpecModel]]]:
    """Every section with the models that it may be, each model where it stands first."""
    found: dict[str, list[type[SpecModel]]] = {"": [ImageSpec, FunctionSpec]}
    # A source task is trained with constants: the fields of its `train` are those of the sweep's.
    known: set[type[SpecModel]] = {ImageSpec, FunctionSpec, Hyperparameters}

    def walk(path: str, model: type[SpecModel]) -> None:
        for name, field in model.model_fields.items():
            if new := [inner for inner in dict.fromkeys(_models_in(field.annotation)) if inner not in known]:
                known.update(new)
                found.setdefault(_joined(path, name), []).extend(new)
                for inner in new:
                    walk(_joined(path, name), inner)

    walk("", ImageSpec)
    walk("", FunctionSpec)
    return found


def _fields_of(
    section: str, models: Sequence[type[SpecModel]], places: Mapping[type[SpecModel], str]
) -> Iterator[SpecField]:
    """The fields of a section; what several of its variants have alike is one."""
    having: dict[SpecField, list[str]] = {}
    for model in models:
        for name, field in _plain_fields(model).items():
            having.setdefault(_described(section, name, field, model, places), []).append(_variant(model))
    every = list(map(_variant, models))
    for known, variants in having.items():
        only = () if variants == every or not any(every) else tuple(filter(None, variants))
        yield replace(known, type=known.type or " | ".join(every), variants=only)


def _described(
    section: str, name: str, field: FieldInfo, model: type[SpecModel], places: Mapping[type[SpecModel], str]
) -> SpecField:
    path = _joined(section, name)
    elsewhere = {places[inner] for inner in _models_in(field.annotation)} - {path}
    return SpecField(
        path=path,
        type="" if name in _TAGS else _type(field),  # of one variant alone, a single word
        rule=_rule(field),
        default=_default(field if model is not TrainSpec else model.model_fields[name]),
        variants=(),
        meaning=" ".join((field.description or "").split()),
        searched=model is TrainSpec and name in Hyperparameters.model_fields,
        same_as=elsewhere.pop() if len(elsewhere) == 1 else "",
    )


def _plain_fields(model: type[SpecModel]) -> Mapping[str, FieldInfo]:
    """The fields of a model; those that may be distributions with the type that a value has."""
    fields = model.fields() if issubclass(model, SweepSpec) else model.model_fields
    return dict(fields) | (Hyperparameters.model_fields if model is TrainSpec else {})


def _variant(model: type[SpecModel]) -> str:
    """What the section's source or strategy is where it is this model; empty where there are no variants."""
    if model is FunctionSpec:
        return "with trial"
    tags = [get_args(model.model_fields[name].annotation) for name in _TAGS if name in model.model_fields]
    return str(tags[0][0]) if tags else ""


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _models_in(annotation: Any) -> list[type[SpecModel]]:
    """The models that a field may hold, however deep in unions and tuples."""
    if isinstance(annotation, type) and issubclass(annotation, SpecModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]


def _type(field: FieldInfo) -> str:
    # Pydantic takes the outermost Annotated apart, and keeps what it said as metadata.
    return _unit(field.metadata) or _in_words(field.annotation)


def _in_words(annotation: Any) -> str:
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _unit(parts[1:]) or _in_words(parts[0])
    if origin is Literal:
        return " | ".join(map(str, parts))
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(map(_in_words, parts)))
    if origin is tuple:
        count = "" if Ellipsis in parts else f"{len(parts)} × "
        return f"list of {count}{_in_words(parts[0])}"
    if origin is dict:
        return "mapping"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "section"
    return _TYPES[annotation]


def _unit(metadata: Iterable[Any]) -> str:
    return next((part.words for part in metadata if isinstance(part, Unit)), "")


def _rule(field: FieldInfo) -> str:
    """The bounds that pydantic checks, in words; those of a list's values begin with `each`."""
    own, inner = _bounds(field.metadata), _bounds(_metadata_in(field.annotation))
    each = "each " if inner and get_origin(field.annotation) is tuple else ""
    return ", ".join((*own, *([each + ", ".join(inner)] if inner else [])))


def _metadata_in(annotation: Any) -> list[Any]:
    """What stands in an Annotated, however deep."""
    own = get_args(annotation)[1:] if get_origin(annotation) is Annotated else ()
    found = [part for item in own for part in getattr(item, "metadata", [item])]
    return [*found, *(part for inner in get_args(annotation) for part in _metadata_in(inner))]


def _bounds(metadata: Iterable[Any]) -> list[str]:
    rules: dict[str, None] = {}
    for part in metadata:
        rules |= {f"{words} {getattr(part, name):g}": None for name, words in _BOUNDS.items() if hasattr(part, name)}
        if hasattr(part, "min_length"):
            rules[f"at least {part.min_length} long"] = None
        if hasattr(part, "max_length"):
            rules[f"at most {part.max_length} long"] = None
        if hasattr(part, "pattern"):
            rules[f"matches {part.pattern}"] = None
    return list(rules)


def _default(field: FieldInfo) -> str:
    if field.default is PydanticUndefined:
        return "required"
    written = as_written(field.default)
    if isinstance(field.default, BaseModel) and written == "{}":
        return "as its fields say"
    return written


def as_written(value: Any) -> str:
    """A value as it is written in YAML, in one line; of a section what is not as in every such section.

    >>> as_written((0.8, True, None))
    '[0.8, true, none]'
    """
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json", exclude_defaults=True)
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{name}: {as_written(inner)}' for name, inner in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(as_written, value))}]"
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    return str(value)
