"""From YAML, presets and `-o` overrides to a validated spec."""

import difflib
import re
import typing
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from tlsweep.errors import SpecError
from tlsweep.spec.data import DataSpec
from tlsweep.spec.search import SearchSpec
from tlsweep.spec.sweep import SweepSpec


class _Loader(yaml.SafeLoader):
    """The safe loader, but 1e-4 is a number as in YAML 1.2 (PyYAML follows 1.1 and reads a string)."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:\d[\d_]*\.?[\d_]*|\.\d+)[eE][-+]?\d+$"),
    list("-+0123456789."),
)

# The field that picks a variant of a section, and the variants.
_VARIANTS: dict[str, tuple[str, Any]] = {"data": ("source", DataSpec), "search": ("strategy", SearchSpec)}


def presets() -> dict[str, str]:
    """The presets that ship: name to YAML text."""
    folder = resources.files("tlsweep.spec") / "presets"
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".yaml")), key=lambda file: file.name)
    return {file.name.removesuffix(".yaml"): file.read_text(encoding="utf-8") for file in files}


def load_spec(source: str | Path | Mapping[str, Any], overrides: Iterable[str] = ()) -> SweepSpec:
    """Read a spec from a preset's name, a YAML file or a mapping, apply `key.path=value` overrides, and validate.

    Raises:
        SpecError: no such file or preset, not YAML, or a field that breaks its rule.
    """
    if isinstance(source, Mapping):
        tree, origin = _overridden(dict(source), overrides), "spec"
    else:
        tree, _, origin = read_tree(source, overrides)
    return _validate(_named(tree, origin), origin)


def load_text(text: str, origin: str) -> SweepSpec:
    """Validate a spec that is no file yet; `origin` says in messages what it is.

    Raises:
        SpecError: not YAML, or a field that breaks its rule.
    """
    return _validate(_named(_parse(text, origin), origin), origin)


def _named(tree: dict[str, Any], origin: str) -> dict[str, Any]:
    if tree.get("name") is not None:
        return tree
    return tree | {"name": re.sub(r"[^A-Za-z0-9._-]+", "-", Path(origin).stem).strip("-._") or "sweep"}


def read_tree(source: str | Path, overrides: Iterable[str] = ()) -> tuple[dict[str, Any], str, str]:
    """What a preset or file says, overrides applied, before validation; its text as it was; and where that came from.

    Raises:
        SpecError: no such file or preset, not YAML, or a bad override.
    """
    text, origin = _read(str(source))
    return _overridden(_parse(text, origin), overrides), text, origin


def _overridden(tree: dict[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    for override in overrides:
        tree = _override(tree, override)
    return tree


def dump_spec(spec: SweepSpec) -> str:
    """The complete spec as YAML, every default written out; `load_spec` reads it back."""
    return yaml.safe_dump(spec.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _read(source: str) -> tuple[str, str]:
    known = presets()
    if source in known:
        return known[source], source
    path = Path(source).expanduser()
    if path.is_file():
        try:
            return path.read_text(encoding="utf-8"), str(path)
        except (OSError, UnicodeDecodeError) as error:
            raise SpecError(f"cannot read the spec '{source}': {error}") from None
    near = difflib.get_close_matches(source, known, n=1)
    hint = f"did you mean the preset '{near[0]}'?" if near else f"presets: {', '.join(known)}"
    raise SpecError(f"there is no preset and no file '{source}'; {hint}")


def _parse(text: str, origin: str) -> dict[str, Any]:
    try:
        tree = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise SpecError(f"'{origin}' is not valid YAML: {error}") from None
    if not isinstance(tree, dict):
        raise SpecError(f"'{origin}' must hold sections such as data:, model:, train:, search:; found {tree!r:.60}")
    return tree


def _override(tree: dict[str, Any], text: str) -> dict[str, Any]:
    """`train.epochs=20`; a new `data.source` or `search.strategy` keeps only what the new variant knows."""
    path, equals, value = text.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys):
        raise SpecError(f"override '{text}': write key.path=value, for example train.epochs=20")
    try:
        parsed = yaml.load(value, Loader=_Loader)
    except yaml.YAMLError:
        raise SpecError(f"override '{text}': the value is not valid YAML") from None
    section, name = keys[0], keys[-1]
    if len(keys) == 2 and section in _VARIANTS and name == _VARIANTS[section][0]:
        known = _fields_of_variant(section, parsed)
        tree = tree | {section: {k: v for k, v in (tree.get(section) or {}).items() if known is None or k in known}}
    if section == "study" and tree.get(section) == "freeze":
        tree = tree | {section: {"freeze": True}}  # which it is short for
    return _set(tree, keys, parsed, text)


def _fields_of_variant(section: str, tag: Any) -> set[str] | None:
    """The fields of a variant; None where there is no such variant (validation will say so)."""
    tag_field, union = _VARIANTS[section]
    for variant in typing.get_args(typing.get_args(union)[0]):
        if tag in typing.get_args(variant.model_fields[tag_field].annotation):
            return set(variant.model_fields)
    return None


def _set(tree: Any, keys: list[str], value: Any, text: str) -> dict[str, Any]:
    if tree is None:
        tree = {}
    if not isinstance(tree, dict):
        raise SpecError(f"override '{text}': '{keys[0]}' lies inside {tree!r}, which has no fields")
    head, *rest = keys
    return tree | {head: _set(tree.get(head), rest, value, text) if rest else value}


def _validate(tree: Mapping[str, Any], origin: str) -> SweepSpec:
    try:
        return SweepSpec.model_validate(tree)
    except ValidationError as error:
        lines = [_explain(one) for one in error.errors()]
        head = f"{origin}: " if len(lines) == 1 else f"{origin} has {len(lines)} mistakes:\n  "
        raise SpecError(head + "\n  ".join(lines)) from None


def _explain(error: Any) -> str:
    """One line: the field's path, the value, the rule, what would be right."""
    path = _path(error["loc"])
    kind, message, value = error["type"], error["msg"], error["input"]
    if kind == "missing":
        return f"{path}: is missing"
    if kind == "union_tag_not_found":
        field = str(error["ctx"]["discriminator"]).strip("'")
        return f"{path}: needs the field '{field}'"
    if kind == "union_tag_invalid":
        context = error["ctx"]
        field = str(context["discriminator"]).strip("'")
        known = re.findall(r"'([^']+)'", context["expected_tags"])
        near = difflib.get_close_matches(str(context["tag"]), known, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(known)}"
        return f"{path}.{field}: unknown value '{context['tag']}'; {hint}"
    if kind == "literal_error":
        known = re.findall(r"'([^']+)'", error["ctx"]["expected"])
        near = difflib.get_close_matches(str(value), known, n=1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        return f"{path} = {value!r}: must be one of {', '.join(known)}{hint}"
    message = message.removeprefix("Value error, ").removeprefix("Input should be ")
    if kind == "unknown_field":
        return f"{path}: {message}" if path else message
    if isinstance(value, Mapping | list | BaseModel) and kind == "value_error":
        return f"{path}: {message}" if path else message
    rule = f"must be {message}" if error["msg"].startswith("Input should") else message
    return f"{path} = {value!r}: {rule}"


def _path(loc: tuple[int | str, ...]) -> str:
    """The dotted path as the user wrote it: pydantic adds the tag of a variant after its section."""
    tags = {
        tag
        for field, union in _VARIANTS.values()
        for variant in typing.get_args(typing.get_args(union)[0])
        for tag in typing.get_args(variant.model_fields[field].annotation)
    } | {"weights as text", "weights as mapping", "weights as choice"}
    parts = [part for at, part in enumerate(loc) if not (at > 0 and part in tags)]
    return ".".join(str(part) for part in parts)
