"""A spec with some fields changed, as text: comments, order and notation of the rest stay."""

import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tlsweep.errors import SpecError
from tlsweep.spec.loading import load_spec, load_text, read_tree


def rewrite_spec(source: str | Path, overrides: Iterable[str], train: Mapping[str, Any], head: str) -> str:
    """The YAML of a preset or file, with overrides, with `train` in its `train:` section, below the comment `head`.

    Raises:
        SpecError: no such file or preset, not YAML, a bad override, or `train` breaks a rule of the spec.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    tree, text, origin = read_tree(source, overrides)
    tree = {**tree, "train": {**(tree.get("train") or {}), **train}}
    editor = YAML(typ="rt")  # keeps comments, and is safe: it builds no objects but its own mappings and lists
    editor.width, editor.preserve_quotes = 120, True
    editor.composer.warn_double_anchors = False  # a name may be used again: an alias means the last before it
    written = io.StringIO()
    try:
        editor.dump(_changed(editor.load(text), tree), written)
    except (YAMLError, ValueError) as error:
        problem, mark = getattr(error, "problem", None) or error, getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise SpecError(f"'{origin}'{where}: cannot be rewritten with its comments: {problem}") from None
    told = "".join(f"# {line}\n" for line in head.splitlines()) + written.getvalue()
    changed = f"{origin} with other bounds for {', '.join(train)}"
    found = load_text(told, changed)
    if found != load_spec(tree | {"name": tree.get("name") or found.name}):
        raise SpecError(f"{changed} would mean something else; write its anchors, merges and bare words out")
    return told


def _changed(document: Any, tree: Mapping[str, Any]) -> Any:
    """The document with `tree` in it, changed in place where it differs: what is replaced whole loses its comments."""
    if _is_shared(document):
        return _fresh(tree)
    for name in [name for name in document if name not in tree]:
        del document[name]
    for name, value in tree.items():
        if name in document and document[name] == value:
            continue
        both = isinstance(value, Mapping) and isinstance(document.get(name), Mapping)
        document[name] = _changed(document[name], value) if both else _in_one_line(value)
    return document


def _is_shared(mapping: Any) -> bool:
    """Whether it is, or has, what stands elsewhere too: an anchor, an alias, a merge."""
    return bool(mapping.anchor.value or mapping.merge)


def _fresh(tree: Mapping[str, Any]) -> Any:
    """A mapping with a line for each field."""
    from ruamel.yaml.comments import CommentedMap

    return CommentedMap({name: _in_one_line(value) for name, value in tree.items()})


def _in_one_line(value: Any) -> Any:
    """A mapping or list as {a: [1, 2]}."""
    from ruamel.yaml.comments import CommentedMap, CommentedSeq

    if isinstance(value, Mapping):
        mapping = CommentedMap({name: _in_one_line(item) for name, item in value.items()})
        mapping.fa.set_flow_style()
        return mapping
    if isinstance(value, list | tuple):
        sequence = CommentedSeq(map(_in_one_line, value))
        sequence.fa.set_flow_style()
        return sequence
    return value
