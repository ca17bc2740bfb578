"""What is wrong with a spec, in words: the field's path, the value, the rule, what would be right."""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, get_args

from pydantic import BaseModel, ValidationError

from tlsweep.errors import SpecError
from tlsweep.spec.class_weights import CLASS_WEIGHTS_TAGS
from tlsweep.spec.data import CROP_FRACTION_TAGS, NORMALISE_TAGS, DataSpec
from tlsweep.spec.images import ImageSpec
from tlsweep.spec.search.strategies import SearchSpec
from tlsweep.spec.wording import rule
from tlsweep.text import one_line, shortened

VARIANTS: Final[Mapping[str, tuple[str, Any]]] = {"data": ("source", DataSpec), "search": ("strategy", SearchSpec)}
"""The field that picks a variant of a section, and the variants."""

MAX_MESSAGE = 500

_SYNONYMS: Final[Mapping[str, str]] = {
    "trials": "population",
    "population": "trials",
    "num_samples": "trials",
    "n_trials": "trials",
    "population_size": "population",
    "perturbation_interval": "interval",
    "grace_period": "min_epochs",
    "eta": "reduction_factor",
    "learning_rate": "lr",
    "wd": "weight_decay",
    "max_epochs": "epochs",
    "num_epochs": "epochs",
}
"""What other programs, or other strategies, call a field."""


def explained(error: ValidationError, origin: str) -> SpecError:
    """All mistakes of a spec as one error of at most 500 characters."""
    lines = [one_line(_explain(problem)) for problem in _primary(error.errors(include_url=False))]
    if len(lines) == 1:
        return SpecError(shortened(f"{shortened(origin, 120)}: {lines[0]}", MAX_MESSAGE))
    head = f"{shortened(origin, 120)} has {len(lines)} mistakes:"
    shown: list[str] = []
    for line in lines:
        more = len(lines) - len(shown) - 1
        room = MAX_MESSAGE - len("\n  ".join([head, *shown, f"and {more} more mistakes"])) - len("\n  ")
        if shown and len(line) > room:
            shown.append(f"and {more + 1} more")
            break
        shown.append(shortened(line, room) if room > 0 else "…")
    return SpecError("\n  ".join([head, *shown]))


def variant_fields(section: str, tag: Any) -> set[str] | None:
    """The fields of a section's variant; None where there is no such variant."""
    for tags, variant in _variants(section):
        if tag in tags:
            return set(variant.model_fields)
    return None


def where_field_belongs(name: str) -> str | None:
    """The path of a field called `name`, wherever in a spec it is: `epochs` is `train.epochs`."""
    known = _paths()
    return known.get(name) or known.get(_SYNONYMS.get(name, ""))


def shown(value: Any, limit: int = 60) -> str:
    """A value as Python writes it, in one line, shortened."""
    return shortened(repr(value), limit)


def _primary(problems: list[Any]) -> list[Any]:
    """Leave out that a list is too short where some of its values are wrong: pydantic does not count those."""
    within = {problem["loc"][:-1] for problem in problems}
    return [problem for problem in problems if problem["type"] != "too_short" or problem["loc"] not in within]


def _explain(error: Any) -> str:
    """One line about one mistake."""
    path, kind = _path(error["loc"]), error["type"]
    value = error["input"]
    before = f"{path}: " if path else ""
    if kind == "missing":
        return f"{path}: is missing"
    if kind == "unknown_field":
        context = error["ctx"]
        return f"{before}unknown field '{shortened(context['name'])}'; {_field_hint(error['loc'], **context)}"
    if kind == "union_tag_not_found":
        return f"{path}: needs the field '{_discriminator(error)}'"
    if kind == "union_tag_invalid":
        tag = error["ctx"]["tag"]
        # pydantic gives the names only within a sentence.
        known = re.findall(r"'([^']+)'", error["ctx"]["expected_tags"])
        return f"{path}.{_discriminator(error)}: unknown value '{shortened(tag)}'; {_near(tag, known)}"
    if kind == "value_error" and isinstance(value, Mapping | list | BaseModel):
        return before + rule(error)
    advice = ""
    if kind == "string_type" and isinstance(value, int | float):
        advice = "; put it in quotes"
    elif kind == "less_than_equal" and NORMALISE_TAGS[1] in error["loc"]:
        advice = ", as pixels are scaled to 0..1; divide by 255"
    return f"{path} = {shown(value)}: {rule(error)}{advice}"


def _discriminator(error: Any) -> str:
    return str(error["ctx"]["discriminator"]).strip("'")


def _near(value: Any, known: Iterable[str]) -> str:
    names = list(known)
    near = difflib.get_close_matches(str(value)[:60], names, n=1)
    if near:
        return f"did you mean '{near[0]}'?"
    return f"known: {shortened(', '.join(names), 240)}"


def _field_hint(loc: tuple[int | str, ...], name: str, known: list[str]) -> str:
    """Say where a field that is unknown in its place belongs; else the nearest that is known there."""
    if _SYNONYMS.get(name) in known:
        return f"did you mean '{_SYNONYMS[name]}'?"
    for section, (tag_field, _) in VARIANTS.items():
        variants = list(_variants(section))
        if loc and any(loc[-1] in tags for tags, _ in variants):
            tags = [tag for tags, variant in variants for tag in tags if name in variant.model_fields]
            if tags:
                return f"it is a field of {tag_field} {', '.join(tags)}"
    elsewhere = where_field_belongs(name)
    if elsewhere and not difflib.get_close_matches(name, known, n=1, cutoff=0.8):
        return f"did you mean '{elsewhere}'?"
    near = difflib.get_close_matches(name[:60], known, n=1)
    if near:
        return f"did you mean '{near[0]}'?"
    return f"known here: {shortened(', '.join(known), 240)}"


def _path(loc: tuple[int | str, ...]) -> str:
    """The dotted path as the user wrote it: pydantic adds the tag of a variant after its section."""
    tags = {tag for section in VARIANTS for known, _ in _variants(section) for tag in known}
    tags |= {"weights as text", "weights as mapping", "weights as choice", *NORMALISE_TAGS, *CLASS_WEIGHTS_TAGS}
    tags |= {*CROP_FRACTION_TAGS}
    parts = [part for at, part in enumerate(loc) if not (at > 0 and part in tags)]
    return shortened(".".join(shortened(str(part)) for part in parts), 120)


def _variants(section: str) -> Iterator[tuple[tuple[str, ...], type[BaseModel]]]:
    """List the variants of a section: the tags that pick one, and its model."""
    tag_field, union = VARIANTS[section]
    for variant in get_args(get_args(union)[0]):
        yield get_args(variant.model_fields[tag_field].annotation), variant


def _paths() -> dict[str, str]:
    """The path of each field by its name; of several with a name the first, a trial's before the budget's."""
    found: dict[str, str] = {}
    for section, field in ImageSpec.fields().items():
        found.setdefault(section, section)
        for model in _models_in(field.annotation):
            for name in model.model_fields:
                found.setdefault(name, f"{section}.{name}")
    return found


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]
