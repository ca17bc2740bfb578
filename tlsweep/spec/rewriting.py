"""A spec with some fields changed, as text: comments, order and notation of the rest stay."""

import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tlsweep.spec.loading import read_tree


def rewrite_spec(source: str | Path, overrides: Iterable[str], train: Mapping[str, Any], head: str) -> str:
    """The YAML of a preset or file, with overrides, with `train` in its `train:` section, below the comment `head`.

    Raises:
        SpecError: no such file or preset, not YAML, or a bad override.
    """
    from ruamel.yaml import YAML

    tree, text, _ = read_tree(source, overrides)
    tree = {**tree, "train": {**(tree.get("train") or {}), **train}}
    editor = YAML(typ="rt")  # keeps comments, and is safe: it builds no objects but its own mappings and lists
    editor.width, editor.preserve_quotes = 120, True
    document = editor.load(text)
    _become(document, tree)
    written = io.StringIO()
    editor.dump(document, written)
    return "".join(f"# {line}\n" for line in head.splitlines()) + written.getvalue()


def _become(document: Any, tree: Mapping[str, Any]) -> None:
    """Change what differs, in place: what is replaced whole loses its comments."""
    for name in [name for name in document if name not in tree]:
        del document[name]
    for name, value in tree.items():
        if isinstance(value, Mapping) and isinstance(document.get(name), Mapping):
            _become(document[name], value)
        elif name not in document or document[name] != value:
            document[name] = _in_one_line(value)


def _in_one_line(value: Any) -> Any:
    """A mapping or list as {a: [1, 2]}."""
    from ruamel.yaml.comments import CommentedMap, CommentedSeq

    if isinstance(value, Mapping):
        mapping = CommentedMap({name: _in_one_line(one) for name, one in value.items()})
        mapping.fa.set_flow_style()
        return mapping
    if isinstance(value, list | tuple):
        sequence = CommentedSeq(map(_in_one_line, value))
        sequence.fa.set_flow_style()
        return sequence
    return value
