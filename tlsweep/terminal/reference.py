"""References of the program, printed from what it works with: fields of a spec, columns of tables, kinds of events."""

import difflib
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.padding import Padding

from tlsweep.errors import UserError
from tlsweep.spec.explaining import where_field_belongs
from tlsweep.spec.reference import SpecField, spec_fields
from tlsweep.store.schema import KINDS, ROWS, TABLES, Column
from tlsweep.terminal.columns import named_lines
from tlsweep.terminal.console import line
from tlsweep.text import shortened


def print_fields(console: Console, wanted: str | None, *, markdown: bool) -> None:
    """The fields of a spec, or those at and below a path.

    Raises:
        UserError: there is none.
    """
    fields = spec_fields()
    shown = _below(fields, wanted.strip(".").lower()) if wanted else fields
    if markdown:
        rows = [(f"`{field.path}`{_only(field)}", _kind(field), field.default, field.meaning) for field in shown]
        _print_markdown(("field", "type", "default", "meaning"), rows)
        return
    for field in shown:
        console.print(line(field.path, "bold"))
        default = field.default if field.default == "required" else f"default {field.default}"
        for text in (line(f"{_kind(field)}; {default}{_only(field)}", "dim"), line(field.meaning)):
            console.print(Padding(text, (0, 0, 0, 4), expand=False))


def _kind(field: SpecField) -> str:
    parts = [field.type, field.rule]
    if field.same_as:
        parts.append(f"the same as `{field.same_as}`")
    if field.searched:
        parts.append("or a distribution")
    return ", ".join(part for part in parts if part)


def _only(field: SpecField) -> str:
    if field.variants:
        return f" ({', '.join(field.variants)})"
    return ""


def _below(fields: Sequence[SpecField], wanted: str) -> list[SpecField]:
    """The fields at a path and below it; a section that is listed elsewhere is found there."""
    found = [field for field in fields if _is_below(field.path, wanted)]
    aliases = [field for field in fields if field.same_as and wanted.startswith(f"{field.path}.")]
    if not found and aliases:
        return _below(fields, wanted.replace(aliases[0].path, aliases[0].same_as, 1))
    if found:
        return found
    synonym = where_field_belongs(wanted.rpartition(".")[2])
    near = [synonym] if synonym else _near(wanted, [field.path for field in fields])
    raise _unknown("field", wanted, near, "tlsweep fields")


def print_columns(console: Console, wanted: str | None, *, markdown: bool) -> None:
    """The columns of all tables, of one (`reports`), or one of them (`reports.lr`).

    Raises:
        UserError: there is none.
    """
    known = {f"{table}.{name}": column for table, columns in TABLES.items() for name, column in columns.items()}
    path = (wanted or "").replace(".parquet", "").strip(".").lower()
    shown = {name: column for name, column in known.items() if not path or _is_below(name, path)}
    if not shown:
        raise _unknown("table or column", str(wanted), _near(path, [*TABLES, *known]), "tlsweep columns")
    if markdown:
        rows = [(f"`{name}`", column.type, column.meaning) for name, column in shown.items()]
        _print_markdown(("column", "type", "meaning"), rows)
        return
    for table in TABLES:
        if own := {name: column for name, column in shown.items() if _is_below(name, table)}:
            console.print(line(f"{table}.parquet: {ROWS[table]}", "bold"))
            console.print(named_lines([(f"  {_last(name)}", _described(column)) for name, column in own.items()]))


def _described(column: Column) -> str:
    return f"{column.type:6}  {column.meaning}"


def print_events(console: Console, wanted: str | None, *, markdown: bool) -> None:
    """The kinds of events, or one of them.

    Raises:
        UserError: there is none of this name.
    """
    if wanted is not None and wanted not in KINDS:
        raise _unknown("kind of event", wanted, _near(wanted, list(KINDS)), "tlsweep events")
    shown = {name: kind for name, kind in KINDS.items() if wanted in (None, name)}
    if markdown:
        rows = [(f"`{name}`", kind.meaning, kind.details) for name, kind in shown.items()]
        _print_markdown(("kind", "meaning", "details"), rows)
        return
    lines = []
    for name, kind in shown.items():
        lines += [(name, kind.meaning), *([("", f"details: {kind.details}")] if kind.details else [])]
    console.print(named_lines(lines))


def _is_below(path: str, wanted: str) -> bool:
    return path == wanted or path.startswith(f"{wanted}.")


def _last(path: str) -> str:
    return path.rpartition(".")[2]


def _near(wanted: str, known: Sequence[str]) -> list[str]:
    """Names that are alike, and those that have it as their last part: of `lr`, `train.lr`."""
    alike = difflib.get_close_matches(wanted[:60], known, n=1)
    ending = [name for name in known if _last(name) == _last(wanted)]
    spelled = difflib.get_close_matches(_last(wanted)[:60], [_last(name) for name in known], n=1)
    return list(dict.fromkeys([*alike, *ending, *(name for name in known if _last(name) in spelled)]))[:3]


def _unknown(what: str, wanted: str, near: Sequence[str], verb: str) -> UserError:
    hint = f"did you mean {' or '.join(repr(name) for name in near)}?" if near else f"'{verb}' lists them"
    return UserError(f"there is no {what} '{shortened(wanted)}'; {hint}")


def _print_markdown(titles: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
    """A table for documents, a row on a line, however long."""
    for cells in (titles, ("---",) * len(titles), *rows):
        # A bar within a cell would begin the next one (GitHub Flavored Markdown, 4.10).
        print("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
