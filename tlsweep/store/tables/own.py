"""The columns that a function of the user's own adds to the tables: its hyperparameters, and its metrics."""

import keyword
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, Final

from tlsweep.errors import SpecError
from tlsweep.spec import FunctionSpec, SweepSpec
from tlsweep.store.schema import HYPERPARAMETERS, METRICS, REPORTS, TABLES, TRIALS, Column, Columns, Type
from tlsweep.text import shortened

if TYPE_CHECKING:
    import pyarrow as pa

_TYPES: Final[Mapping[type, Type]] = {str: "string", int: "int", float: "float", bool: "bool"}
_FITS: Final[Mapping[Type, Any]] = {"string": str, "int": int, "float": int | float, "bool": bool}
# A record of the journal has what is fixed, hyperparameters and metrics side by side in one mapping.
_KEPT: Final = frozenset(
    {*REPORTS, *TRIALS, "type", "kind", "details", "checkpoint", "digest", "folds", "by_client", "own", "state"}
)
"""Names that a row of a table, or a record of the journal, has for something else."""
_MOMENTS: Final = ("best", "last")
_OF_VALUES: Final = ("get", "items", "keys", "values", "_values")


def check_names(spec: FunctionSpec) -> None:
    """Refuse hyperparameters and metrics for which the tables have no name.

    Raises:
        SpecError: one has the name of a column that means something else.
    """
    for name in spec.hyperparameters:
        if name not in HYPERPARAMETERS and (why := _no_hyperparameter(name, spec.hyperparameters)):
            raise SpecError(f"space.{shortened(name)}: {why}; give it another name")
    if (metric := spec.search.metric) in reserved_for_metrics(spec):
        raise SpecError(
            f"search.metric = {metric}: every sweep has a column {metric} that is no metric; report it by another name"
        )


def _no_hyperparameter(name: str, names: Collection[str]) -> str | None:
    """Why no hyperparameter may have this name; None where one may."""
    if keyword.iskeyword(name):
        return "is a word of Python's own, so that trial.values has no such name"
    if name in _OF_VALUES:
        return f"trial.values.{name} is something else, as of every mapping"
    if name in _KEPT:
        return f"every sweep has a column {name} that means something else"
    moment, _, of = name.partition("_")
    if moment in _MOMENTS:
        return f"columns that begin with {moment}_ have what metrics were at the {moment} epoch"
    if moment == "start" and of in names:
        return f"the column {shortened(name)} has what {shortened(of)} is at the start"
    return None


def reserved_for_metrics(spec: FunctionSpec) -> frozenset[str]:
    """Names that no metric may have."""
    return frozenset({*_KEPT, *HYPERPARAMETERS, *spec.hyperparameters}) - METRICS.keys()


class Layout:
    """The columns of a sweep's tables: those of every sweep, and behind them its own, as they came."""

    def __init__(self, spec: SweepSpec | None = None) -> None:
        types = spec.types() if isinstance(spec, FunctionSpec) else {}
        self._hyperparameters: dict[str, Column] = {
            name: Column(_TYPES[kind], "A hyperparameter of the function (`space`).")
            for name, kind in types.items()
            if name not in HYPERPARAMETERS
        }
        self._metrics: dict[str, Column] = {}

    def of(self, table: str) -> Columns:
        """The columns of a table."""
        return {**TABLES[table], **self._own(table)}

    def _own(self, table: str) -> Columns:
        """Those that only this sweep has."""
        own, metrics = self._hyperparameters, self._metrics
        if table == "reports":
            return {**own, **metrics}
        if table == "trials":
            start = {f"start_{name}": Column(kind, f"`{name}` at the start.") for name, (kind, _) in own.items()}
            reached = {
                f"{moment}_{name}": Column("float", f"`{name}` at the {moment} epoch.")
                for name in metrics
                for moment in _MOMENTS
            }
            return {**own, **start, **reached}
        return {}

    def learn(self, report: Mapping[str, Any]) -> bool:
        """Take the metrics of a report; whether one of them is new."""
        found = [
            name for name in own_metrics(report) if name not in self._metrics and name not in self._hyperparameters
        ]
        self._metrics |= {name: Column("float", "A metric that the function reports.") for name in found}
        return bool(found)

    def fitted(self, table: str, row: Mapping[str, Any]) -> Mapping[str, Any]:
        """A row without what does not have the type of its column: of columns that are not every sweep's, nobody has
        checked it before (`store.shapes`)."""
        own = self._own(table).items()
        wrong = [name for name, column in own if not isinstance(row.get(name), _FITS[column.type])]
        return {**row, **dict.fromkeys(wrong)} if wrong else row


def columns_beside(schema: "pa.Schema", table: str) -> Columns:
    """The columns of a file that no other sweep has there, with their meanings."""
    kinds: dict[str, Type] = {"int64": "int", "double": "float", "bool": "bool"}
    return {
        field.name: Column(kinds.get(str(field.type), "string"), (field.metadata or {}).get(b"meaning", b"").decode())
        for field in schema
        if field.name not in TABLES[table]
    }


def own_metrics(report: Mapping[str, Any]) -> list[str]:
    """The names of the metrics of a report that no other sweep has a column for."""
    named = report.get("own") or ()
    return [name for name in named if name.isidentifier() and name not in _KEPT and isinstance(report.get(name), float)]
