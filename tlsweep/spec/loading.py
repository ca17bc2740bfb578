"""Makes a validated spec from YAML, presets and `-o` overrides."""

import codecs
import difflib
import os
import re
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from tlsweep.errors import SpecError
from tlsweep.spec.earlier import as_it_was_meant
from tlsweep.spec.explaining import VARIANTS, explained, shown, variant_fields
from tlsweep.spec.function import FunctionSpec
from tlsweep.spec.images import ImageSpec
from tlsweep.spec.plain import check_plain
from tlsweep.spec.search.study import NAMED_STUDIES
from tlsweep.spec.sweep import SweepSpec
from tlsweep.spec.yaml_text import MAX_CHARACTERS, MAX_DEPTH, read_yaml, write_yaml
from tlsweep.text import shortened

MAX_BYTES: Final = 4 * MAX_CHARACTERS


class StoredSpec(dict[str, Any]):
    """The spec of a results folder: it may have begun under earlier rules, and goes on under them."""


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
    if not isinstance(source, str | Path | Mapping):
        raise SpecError(f"load_spec takes a preset's name, a file or a mapping, not {shown(source)}")
    if isinstance(source, Mapping):
        tree, origin = _overridden(dict(source), overrides), "spec"
    else:
        tree, _, origin = read_tree(source, overrides)
    return _validate(_named(tree, origin), origin, stored=isinstance(source, StoredSpec))


def require_spec(spec: object, function: str) -> None:
    """Refuse what only `load_spec` can make a spec of: a mapping, a preset's name, a file.

    Raises:
        SpecError: it is no spec; the message has the call that is right.
    """
    if not isinstance(spec, SweepSpec):
        raise SpecError(f"tlsweep.{function} takes a spec, not {shown(spec)}; write tlsweep.load_spec(…) around it")


def read_stored(text: str, origin: str) -> StoredSpec:
    """What the spec.yaml of a results folder says, before validation.

    Raises:
        SpecError: it is not YAML, or no mapping.
    """
    return StoredSpec(_parse(text, origin))


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
    for override in [overrides] if isinstance(overrides, str) else overrides:
        tree = _override(tree, override)
    return tree


def dump_spec(spec: SweepSpec, leaving_out: Mapping[str, set[str]] | None = None) -> str:
    """The complete spec as YAML, every default written out; `load_spec` reads it back.

    Args:
        spec: The spec.
        leaving_out: Fields that are not written, by section.
    """
    return write_yaml(spec.model_dump(mode="json", exclude=leaving_out and dict(leaving_out)))


def _read(source: str) -> tuple[str, str]:
    """The text of a preset or file, and what it is called."""
    known = presets()
    if source in known:
        return known[source], source
    try:
        path = Path(os.path.expanduser(source))
        if not path.is_file():
            raise SpecError(f"there is no preset and no file '{shortened(source, 120)}'; {_near(path, known)}")
        with path.open("rb") as file:
            return _decoded(file.read(MAX_BYTES + 1), source), str(path)
    except OSError as error:
        raise SpecError(f"cannot read the spec '{shortened(source, 120)}': {shortened(str(error), 240)}") from None


def _decoded(content: bytes, source: str) -> str:
    """UTF-8, or UTF-16 where a byte order mark says so, as YAML demands of its readers."""
    if len(content) > MAX_BYTES:
        raise SpecError(f"'{shortened(source, 120)}' is no spec: it has more than {MAX_BYTES:,} bytes")
    utf_16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    # The -sig takes away the mark that editors on Windows put in front of UTF-8.
    text = content.decode("utf-16" if utf_16 else "utf-8-sig", "replace")
    if "\0" in text or "\ufffd" in text:  # such as UTF-16 without its mark
        raise SpecError(f"'{shortened(source, 120)}' is not UTF-8 text; save it as UTF-8")
    return text


def _near(path: Path, known: Iterable[str]) -> str:
    """The preset or file whose name is nearest."""
    if near := difflib.get_close_matches(str(path)[:60], known, n=1):
        return f"did you mean the preset '{near[0]}'?"
    files = {file.name: file for file in path.parent.glob("*.y*ml")} if path.parent.is_dir() else {}
    for name in (path.name, f"{path.name}.yaml"):
        if near := difflib.get_close_matches(name, files, n=1):
            return f"did you mean the file '{shortened(str(files[near[0]]), 120)}'?"
    return f"presets: {', '.join(known)}"


def _parse(text: str, origin: str) -> dict[str, Any]:
    tree = read_yaml(text, f"'{shortened(origin, 120)}'")
    if not isinstance(tree, dict):
        found = "no values" if tree is None else shown(tree)
        raise SpecError(
            f"'{shortened(origin, 120)}' holds {found}; it must hold sections such as data:, model:, train:, search:"
        )
    return tree


def _override(tree: dict[str, Any], text: str) -> dict[str, Any]:
    """Apply `train.epochs=20`; a new `data.source` or `search.strategy` keeps only what the new variant knows."""
    what = f"override '{shortened(text, 120)}'"
    path, equals, value = text.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys) or len(keys) > MAX_DEPTH:
        raise SpecError(f"{what}: write key.path=value, for example train.epochs=20")
    parsed = read_yaml(value, f"{what}: the value")
    section, name = keys[0], keys[-1]
    here = tree.get(section)
    if len(keys) == 2 and isinstance(here, Mapping) and section in VARIANTS and name == VARIANTS[section][0]:
        known = variant_fields(section, parsed)
        tree = tree | {section: {name: value for name, value in here.items() if known is None or name in known}}
    if section == "study" and here in NAMED_STUDIES:
        tree = tree | {section: {here: True}}  # which it is short for
    return _set(tree, keys, parsed, what)


def _set(tree: Any, keys: list[str], value: Any, what: str) -> dict[str, Any]:
    if tree is None:
        tree = {}
    if not isinstance(tree, dict):
        raise SpecError(f"{what}: '{shortened(keys[0])}' lies inside {shown(tree)}, which has no fields")
    head, *rest = keys
    return tree | {head: _set(tree.get(head), rest, value, what) if rest else value}


def _validate(tree: Mapping[str, Any], origin: str, *, stored: bool = False) -> SweepSpec:
    check_plain(tree)
    try:
        if "trial" in tree:
            return FunctionSpec.model_validate(tree, context={"stored": stored, "own": True})
        return ImageSpec.model_validate(as_it_was_meant(tree) if stored else tree, context={"stored": stored})
    except ValidationError as error:
        raise explained(error, origin) from None
