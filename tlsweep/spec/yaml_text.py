"""YAML as specs use it: the core schema of YAML 1.2, one document, unique names, bounded in depth and size.

Values are built here from the parser's events, without a constructor that knows tags, so that nothing but None,
booleans, numbers, text, lists and mappings can come out, whatever a file says.
"""

import math
import re
from collections.abc import Iterator
from io import StringIO
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)
from ruamel.yaml.representer import SafeRepresenter
from ruamel.yaml.resolver import implicit_resolvers

from tlsweep.errors import SpecError
from tlsweep.text import one_line, shortened

MAX_CHARACTERS, MAX_VALUES = 500_000, 20_000
MAX_DEPTH = 40
"""Room for a recipe of 2,000 steps. An alias counts as all that it stands for: nine lists of nine aliases each are
less than a kilobyte of text, and 387,420,489 values ("billion laughs")."""
MAX_DIGITS = 400
"""The most digits of a number. Python refuses more than 4,300 with an error of its own."""

# https://yaml.org/spec/1.2.2/#103-core-schema
_NULL = re.compile(r"null|Null|NULL|~|")
_BOOLEAN = re.compile(r"true|True|TRUE|false|False|FALSE")
_INTEGER = re.compile(r"[-+]?[0-9]+")
_OCTAL = re.compile(r"0o[0-7]+")
_HEXADECIMAL = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INFINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_MERGE = "<<"
_PROBLEMS = {
    r"found character '\\t' that cannot start any token": "a tab stands where only spaces may; replace it",
    r"found character (\S+) that cannot start any token": "{0} cannot begin a word; put text with it into quotes",
    r"expected ',' or '([\]}])', but got .*": "a ',' or '{0}' is missing in the brackets that line {line} opens",
    r"found unexpected end of stream": "the quote that line {line} opens is not closed",
    r"mapping values are not allowed here": "': ' stands where no field's name can be; indent the line as those "
    "beside it, or put text with ': ' into quotes",
    r"sequence entries are not allowed here": "'- ' stands where no list can begin; begin it on a line of its own",
    r"expected <block end>, but found .*": "the line does not go on with what line {line} begins; indent it as the "
    "lines beside it, and keep 'name: value' and '- value' apart",
    r"expected the node content, but found (.*)": "{0} stands where a value belongs",
    r"could not find expected ':'": "the name that line {line} begins has no ': ' behind it",
    r"found unknown escape character (.*)": "a backslash before {0} means nothing in double quotes; use single ones",
}
"""What the parser says, and what is told in its place; at `line` began what it could not read to its end."""
_DEEP = re.compile(rf"(?:[\[{{]\s*){{{MAX_DEPTH + 1}}}")
"""Nesting is looked for here, since the parser takes half a second to look ahead for 1,000 closing brackets."""


def read_yaml(text: str, what: str) -> Any:
    """The value of a YAML text; `what` names it in messages.

    Raises:
        SpecError: it is not YAML, or holds what no spec needs; with the line.
    """
    if len(text) > MAX_CHARACTERS:
        raise SpecError(f"{what} has {len(text):,} characters; a spec has at most {MAX_CHARACTERS:,}")
    if _DEEP.search(text):
        raise SpecError(f"{what} has brackets more than {MAX_DEPTH} levels deep")
    try:
        # In pure Python: libyaml, which ruamel.yaml takes otherwise, reads YAML 1.1.
        return _Document(YAML(typ="safe", pure=True).parse(StringIO(text)), what).value()
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise SpecError(f"{what} is not valid YAML{where}: {_in_words(error)}") from None
    except AssertionError:  # ruamel.yaml 0.19 on "%YAML 1.3"
        raise SpecError(
            f"{what} is not valid YAML: its line %YAML names another version than 1.1 and 1.2; leave it out"
        ) from None
    except (ValueError, OverflowError):  # ruamel.yaml 0.19 on "\UFFFFFFFF", which is no character
        raise SpecError(f"{what} is not valid YAML: an escape code in it stands for no character") from None


def _in_words(error: YAMLError) -> str:
    """What the parser found, and for what people do most what to do about it."""
    problem, begun = str(getattr(error, "problem", None) or error), getattr(error, "context_mark", None)
    line = begun.line + 1 if begun else 1
    for pattern, told in _PROBLEMS.items():
        if found := re.fullmatch(pattern, problem):
            return shortened(told.format(*found.groups(), line=line), 200)
    return shortened(problem)


def write_yaml(value: Any, *, width: int = 80) -> str:
    """YAML that a reader by the rules of 1.2 or of 1.1 (PyYAML's, where `yes` is true and 010 is 8) reads the same.

    Args:
        value: Mappings, lists, text, numbers, booleans, None.
        width: Where lines are broken, between words.
    """
    writer: Any = YAML(typ="safe", pure=True)
    writer.Representer = _Representer
    # In the order of the models, which people read; ruamel.yaml would sort by name.
    writer.allow_unicode, writer.sort_base_mapping_type_on_output = True, False
    writer.default_flow_style, writer.width = False, width
    written = StringIO()
    writer.dump(value, written)
    return written.getvalue()


class _Representer(SafeRepresenter):
    """Writes no anchors, and quotes around every word that could be taken for something else."""

    def represent_text(self, text: str) -> Any:
        style = "'" if _is_ambiguous(text) else None
        if one_line(text) != text:  # such as U+0085, a line feed for readers of 1.1: written as an escape code
            style = '"'
        return self.represent_scalar("tag:yaml.org,2002:str", text, style=style)

    def represent_number(self, number: float) -> Any:
        """Write a number with a point, without which 1e-05 is text for readers of 1.1."""
        if not math.isfinite(number):
            return self.represent_float(number)
        mantissa, exponent, power = repr(number).partition("e")
        point = "" if "." in mantissa else ".0"
        return self.represent_scalar("tag:yaml.org,2002:float", f"{mantissa}{point}{exponent}{power}")

    def ignore_aliases(self, data: Any) -> bool:
        return True


_Representer.add_representer(str, _Representer.represent_text)
_Representer.add_representer(float, _Representer.represent_number)


def _is_ambiguous(text: str) -> bool:
    """Whether a plain word would be something else than text, by any version's rules."""
    return any(pattern.match(text) for _, _, pattern, _ in implicit_resolvers)


class _Document:
    """One document, built from the events of a parser."""

    def __init__(self, events: Iterator[Any], what: str) -> None:
        self._events, self._what = events, what
        self._anchors: dict[str, tuple[Any, int]] = {}
        """The value of each name, and how many values it is made of."""
        self._values = 0

    def value(self) -> Any:
        """What the document says; None where there is none."""
        found: Any = None
        documents = 0
        for event in self._events:
            if isinstance(event, DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise self._error(
                        event, "begins a second document; a spec is one: leave what follows '---' or '...' out"
                    )
                found = self._built(next(self._events), 1)
        return found

    def _built(self, event: Any, depth: int) -> Any:
        if isinstance(event, AliasEvent):
            return self._alias(event)
        before = self._values
        self._count(event, 1)
        if depth > MAX_DEPTH:
            raise self._error(event, f"lies more than {MAX_DEPTH} levels deep")
        self._check_tag(event)
        if isinstance(event, ScalarEvent):
            value = self._scalar(event)
        elif isinstance(event, SequenceStartEvent):
            value = self._sequence(depth)
        else:
            value = self._mapping(depth)
        if event.anchor is not None:
            self._anchors[event.anchor] = value, self._values - before
        return value

    def _alias(self, event: Any) -> Any:
        if event.anchor not in self._anchors:
            name = shortened(str(event.anchor))
            problem = f"repeats '*{name}', but nothing before it is complete and marked '&{name}'"
            raise self._error(event, f"{problem}; text needs quotes: '*{name}'")
        value, values = self._anchors[event.anchor]
        self._count(event, values)
        return value

    def _sequence(self, depth: int) -> list[Any]:
        return [self._built(event, depth + 1) for event in self._until(SequenceEndEvent)]

    def _mapping(self, depth: int) -> dict[str, Any]:
        own: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        lines: dict[str, int] = {}
        for event in self._until(MappingEndEvent):
            name = self._name(event, depth)
            if name in lines:
                first, second = lines[name], _line(event)
                where = f"lines {first} and {second}" if first != second else f"line {first}"
                raise SpecError(f"{self._what}: '{shortened(name)}' stands twice, in {where}; keep one")
            lines[name] = _line(event)
            value = self._built(next(self._events), depth + 1)
            if name == _MERGE and event.style is None:
                merged = self._merged(event, value)
            else:
                own[name] = value
        return merged | own

    def _merged(self, event: Any, value: Any) -> dict[str, Any]:
        """The fields that `<<` brings along; of several mappings an earlier one counts more."""
        sources = value if isinstance(value, list) else [value]
        if not all(isinstance(source, dict) for source in sources):
            raise self._error(event, "merges ('<<') what is no mapping")
        merged: dict[str, Any] = {}
        for source in reversed(sources):
            merged |= source
        return merged

    def _name(self, event: Any, depth: int) -> str:
        name = self._built(event, depth + 1)
        if not isinstance(name, str):
            shown = shortened(str(name))
            raise self._error(event, f"has {shown} where a field's name belongs, which is text; put it in quotes")
        return name

    def _scalar(self, event: Any) -> Any:
        text: str = event.value
        is_text = event.style is not None or event.tag is not None
        return text if is_text else self._plain(event, text)

    def _plain(self, event: Any, text: str) -> Any:
        if _NULL.fullmatch(text):
            return None
        if _BOOLEAN.fullmatch(text):
            return text.lower() == "true"
        for pattern, base in ((_INTEGER, 10), (_OCTAL, 8), (_HEXADECIMAL, 16)):
            if pattern.fullmatch(text):
                return int(self._number(event, text), base)
        if _INFINITE.fullmatch(text):
            return float(text.replace(".", ""))
        if _FLOAT.fullmatch(text):
            return float(self._number(event, text))
        return text

    def _number(self, event: Any, text: str) -> str:
        if len(text) > MAX_DIGITS:
            raise self._error(event, f"holds a number of {len(text):,} digits")
        return text

    def _check_tag(self, event: Any) -> None:
        tag = None if event.tag is None else str(event.tag)
        if tag not in (None, "!", "tag:yaml.org,2002:str", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"):
            shown = shortened(tag.replace("tag:yaml.org,2002:", "!!"))
            raise self._error(event, f"has the tag '{shown}', which no field of a spec needs; leave it out")

    def _until(self, end: type) -> Iterator[Any]:
        while not isinstance(event := next(self._events), end):
            yield event

    def _count(self, event: Any, values: int) -> None:
        self._values += values
        if self._values > MAX_VALUES:
            raise self._error(event, f"is beyond {MAX_VALUES:,} values, aliases written out; a spec has fewer")

    def _error(self, event: Any, problem: str) -> SpecError:
        return SpecError(f"{self._what}: line {_line(event)} {problem}")


def _line(event: Any) -> int:
    line: int = event.start_mark.line
    return line + 1
