"""References of the program, printed from what it works with: fields of a spec, columns of tables, kinds of events."""

import difflib
import fnmatch
import re
from collections.abc import Iterable, Mapping, Sequence

from rich.console import Console

from tlsweep.errors import UserError
from tlsweep.spec.explaining import where_field_belongs
from tlsweep.spec.reference import SpecField, spec_fields
from tlsweep.store import Results
from tlsweep.store.schema import HYPERPARAMETERS, KINDS, ROWS, TABLES, Columns
from tlsweep.terminal.columns import named_lines
from tlsweep.terminal.console import line
from tlsweep.text import shortened

_KINDS_OF_COLUMNS = ("*_se", "start_*", "best_*", "last_*")
_ONE_OF_A_KIND = re.compile(r"^(Standard error of )?`")
"""The meaning of a column that is another one's at some moment, or its error; `best_epoch` is a column by itself."""
_END = re.compile(r"(?<!et al)\.( |$)")
"""The end of a sentence."""
_OTHERS = "the other hyperparameters"
_OTHER_HYPERPARAMETERS = HYPERPARAMETERS.keys() - {"lr", "batch_size", "optimizer"}


def print_fields(console: Console, wanted: str | None, *, markdown: bool) -> None:
    """The fields at and below a path, or of a name; without one an overview of all.

    Raises:
        UserError: there is none.
    """
    fields = spec_fields()
    shown = _below(fields, wanted.strip(".").lower()) if wanted else fields
    if not (wanted or markdown):
        _print_overview(console, _sections(fields), "tlsweep fields", ("train.lr", "train"))
        return
    if markdown:
        rows = [(f"`{field.path}`{_only(field)}", _kind(field), field.default, field.meaning) for field in shown]
        _print_markdown(("field", "type", "default", "meaning"), rows)
        return
    for field in shown:
        console.print(line(field.path, "bold"))
        default = field.default if field.default == "required" else f"default {field.default}"
        console.print(named_lines([("  ", f"{_kind(field)}; {default}{_only(field)}"), ("  ", field.meaning)]))


def _sections(fields: Sequence[SpecField]) -> dict[str, tuple[str, list[str]]]:
    """Say of each field of the top level what it means, and what lies below it."""
    found: dict[str, tuple[str, list[str]]] = {}
    for field in fields:
        section, _, below = field.path.partition(".")
        _, names = found.setdefault(section, (_END.split(field.meaning)[0], []))
        if below and below not in names:
            names.append(below)
    return found


def _print_overview(
    console: Console, groups: Mapping[str, tuple[str, Sequence[str]]], verb: str, examples: tuple[str, str]
) -> None:
    """A line for each group with the names in it: all 450 lines of the reference are more than a question asks for."""
    lines: list[tuple[str, str]] = []
    for group, (meaning, names) in groups.items():
        lines += [(group, meaning), *([("", ", ".join(names))] if names else [])]
    console.print(named_lines(lines))
    one, all_of_it = (f"'{verb} {example}'" for example in examples)
    console.print()
    more = f"{one} explains one, {all_of_it} all of these, '{verb} --markdown' everything"
    console.print(named_lines([("more", more)]))


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
    """The fields at a path and below it, else all of a name; a section that is listed elsewhere is found there."""
    found = [field for field in fields if _is_below(field.path, wanted)]
    aliases = [field for field in fields if field.same_as and wanted.startswith(f"{field.path}.")]
    # `epochs` is a field of a sweep over a function, and of `train`.
    if not found or (len(found) == 1 and found[0].variants):
        found += [field for field in fields if _last(field.path) == wanted and field not in found]
    if not found and aliases:
        return _below(fields, wanted.replace(aliases[0].path, aliases[0].same_as, 1))
    if found:
        return found
    synonym = where_field_belongs(wanted.rpartition(".")[2])
    near = [synonym] if synonym else _near(wanted, [field.path for field in fields])
    raise _unknown("field", wanted, near, "tlsweep fields")


def print_columns(console: Console, wanted: str | None, *, markdown: bool) -> None:
    """The columns of a table (`reports`), one of them (`reports.lr`), or those of a name; without one an overview.

    Raises:
        UserError: there is none.
    """
    known = {f"{table}.{name}": column for table, columns in TABLES.items() for name, column in columns.items()}
    path = (wanted or "").replace(".parquet", "").strip(".").lower()
    shown = {name: column for name, column in known.items() if not path or _is_below(name, path)}
    shown = shown or {name: column for name, column in known.items() if _last(name) == path}
    if not (wanted or markdown):
        tables = {table: (ROWS[table], list(_folded(columns))) for table, columns in TABLES.items()}
        _print_overview(console, tables, "tlsweep columns", ("trials.reason", "trials"))
        return
    if not shown:
        raise _unknown("table or column", str(wanted), _near(path, [*TABLES, *known]), "tlsweep columns")
    if markdown:
        rows = [(f"`{name}`", column.type, column.meaning) for name, column in shown.items()]
        _print_markdown(("column", "type", "meaning"), rows)
        return
    for table in TABLES:
        if own := {_last(name): column for name, column in shown.items() if _is_below(name, table)}:
            console.print(line(f"{table}.parquet: {ROWS[table]}", "bold"))
            groups = _folded(own) if path == table else {name: [name] for name in own}
            console.print(
                named_lines([(f"  {_brief(name)}", _described(own, names)) for name, names in groups.items()])
            )
            if len(groups) < len(own):
                console.print(named_lines([("more", f"'tlsweep columns {table}.{next(reversed(own))}' explains one, "
                                                    "'tlsweep columns --markdown' all")]))  # fmt: skip


def knows_columns(wanted: str) -> bool:
    """Whether a table or a column has this name."""
    path = wanted.replace(".parquet", "").strip(".").lower()
    return path in TABLES or any(path in (name, f"{table}.{name}") for table in TABLES for name in TABLES[table])


def print_own_columns(console: Console, results: Results) -> None:
    """The columns that the tables of a sweep have behind those of every sweep."""
    found = {table: results.own_columns(table) for table in ("reports", "trials")}
    if not any(found.values()):
        console.print(line(f"the tables of '{results.name}' have no columns of their own; see 'tlsweep columns'"))
        return
    for table, columns in found.items():
        console.print(line(f"{table}.parquet of '{results.name}', beside what 'tlsweep columns {table}' lists", "bold"))
        console.print(named_lines([(f"  {name}", f"{kind:6}  {said}") for name, (kind, said) in columns.items()]))


def _folded(columns: Columns) -> dict[str, list[str]]:
    """Names of columns below one word for those of a kind: 'start_*' for 25 hyperparameters at the start."""
    found: dict[str, list[str]] = {}
    alike = [name for name, column in columns.items() if _ONE_OF_A_KIND.match(column.meaning)]
    kinds = [kind for kind in _KINDS_OF_COLUMNS if len(fnmatch.filter(alike, kind)) > 2]
    for name in columns:
        kind = next((kind for kind in kinds if name in fnmatch.filter(alike, kind)), name)
        found.setdefault(_OTHERS if name in _OTHER_HYPERPARAMETERS else kind, []).append(name)
    return found


def _brief(name: str) -> str:
    """What has room on the left."""
    return "…" if name == _OTHERS else name


def _described(columns: Columns, names: Sequence[str]) -> str:
    first, *rest = names
    if first in _OTHER_HYPERPARAMETERS and rest:
        return f"{_OTHERS}: {', '.join(names)}; 'tlsweep fields train' explains them"
    if rest:
        return f"{len(names)} columns, such as {first}: {columns[first].meaning}"
    return f"{columns[first].type:6}  {columns[first].meaning}"


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
