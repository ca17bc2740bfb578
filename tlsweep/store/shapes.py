"""What a record must hold, and of what type: a journal with right checks may still be none that tlsweep wrote.

Types are checked where records are read (records.py), so that no reader meets another; what must be there, where they
are folded (replaying.py).
"""

from collections.abc import Mapping
from typing import Any, Final

from pydantic_core import CoreSchema, SchemaValidator, ValidationError
from pydantic_core import core_schema as core

from tlsweep.store.schema import CLIENTS, EVENTS, HYPERPARAMETERS, METRICS, REPORTS, Columns
from tlsweep.text import one_line

DEPTH: Final = 64
"""Levels of nesting in details; a spec has about ten."""
_SHOWN = 80
# What fits into Arrow's int64; counts are multiplied with seconds and weights too, and a float holds whole numbers
# exactly up to 2^53.
_INT = core.int_schema(strict=True, ge=-(2**63), lt=2**63)
_COUNT = core.int_schema(strict=True, ge=0, le=2**53)
_FLOAT = core.float_schema(strict=True)
_SECONDS = core.float_schema(strict=True, ge=0, le=1e11, allow_inf_nan=False)  # since 1970: to the year 5138
_TEXT = core.str_schema(strict=True)
_ANY: CoreSchema = core.any_schema()
_PLAIN = core.nullable_schema(core.union_schema([_FLOAT, _TEXT, core.bool_schema(strict=True), _INT]))
_TYPES: Mapping[str, CoreSchema] = {
    "string": _TEXT,
    "int": _INT,
    "float": _FLOAT,
    "bool": core.bool_schema(strict=True),
    "time": _SECONDS,
}
_NAMED: Mapping[str, CoreSchema] = {
    "lr": core.float_schema(strict=True, gt=0, allow_inf_nan=False),
    "batch_size": core.int_schema(strict=True, ge=1, le=2**53),
    "micro_batch": core.int_schema(strict=True, ge=1, le=2**53),
    "generation": _COUNT,
    "epoch": _COUNT,
    "train_seconds": _SECONDS,
    "eval_seconds": _SECONDS,
    "elapsed": _SECONDS,
}
"""Columns that readers count with."""


def _fields(columns: Columns) -> dict[str, CoreSchema]:
    return _nullable({name: column.type for name, column in columns.items()})


def _nullable(types: Mapping[str, str]) -> dict[str, CoreSchema]:
    return {name: core.nullable_schema(_NAMED.get(name, _TYPES[kind])) for name, kind in types.items()}


def _mapping(optional: Mapping[str, CoreSchema], **required: CoreSchema) -> CoreSchema:
    fields = {name: core.typed_dict_field(schema, required=False) for name, schema in optional.items()}
    fields |= {name: core.typed_dict_field(schema, required=True) for name, schema in required.items()}
    return core.typed_dict_schema(fields, extra_behavior="ignore")


def _with_others(schema: CoreSchema) -> CoreSchema:
    """The same, where what else is there is a plain value: hyperparameters and metrics of the user's own function."""
    return {**schema, "extra_behavior": "allow", "extras_schema": _PLAIN}


_MAPPING = core.dict_schema(_TEXT, _ANY)
_FIGURES = core.list_schema(_FLOAT)
_COUNTS = core.list_schema(_COUNT)
_VALUES = _with_others(_mapping(_fields(HYPERPARAMETERS), lr=_NAMED["lr"], batch_size=_NAMED["batch_size"]))
_RECORDS = {
    "report": SchemaValidator(
        _with_others(
            _mapping(
                _fields(REPORTS)
                | {"folds": core.list_schema(_mapping(_fields(REPORTS))), "own": core.list_schema(_TEXT)}
                | {"by_client": core.list_schema(_mapping(_fields(CLIENTS)))}
            )
        )
    ),
    "event": SchemaValidator(_mapping(_fields({name: column for name, column in EVENTS.items() if name != "details"}))),
}
_PER_CLASS = _mapping({}, precision=_FIGURES, recall=_FIGURES, f1=_FIGURES, support=core.list_schema(_FLOAT))
_MODEL_METRICS = {
    name.removeprefix("val_"): core.nullable_schema(_FLOAT) for name in METRICS if name.startswith("val_")
}
_SCHEMAS: Mapping[str, CoreSchema] = {
    "launched": _mapping({"environment": _MAPPING, "images": core.dict_schema(_TEXT, _COUNT)}, spec=_MAPPING),
    "resumed": _mapping(
        {"environment": _MAPPING, "images": core.dict_schema(_TEXT, _COUNT)},
        spec=_MAPPING,
        reopened=core.list_schema(_TEXT),
    ),
    "created": _mapping({}, number=_COUNT, hyperparameters=_VALUES),
    "exploited": _mapping(
        {"digest": core.nullable_schema(_TEXT)},  # the first versions wrote none
        donor=_TEXT,
        donor_generation=_COUNT,
        donor_epoch=_COUNT,
        checkpoint=_TEXT,
        hyperparameters=_VALUES,
    ),
    "retried": _mapping({"reason": _TEXT}, counted=_COUNT),
    "joined": _mapping({"rank": _COUNT}, members=_COUNT),
    "restored": _mapping({"reason": _TEXT}, passed_over=core.list_schema(_TEXT)),
    "repeated": _mapping({}, checkpoint=_TEXT, digest=_TEXT),
    "evaluated": _mapping(
        _MODEL_METRICS
        | {"trial": _TEXT, "per_class": _PER_CLASS, "confusion": core.list_schema(_COUNTS), "runs": _COUNT}
    ),
    "souped": _mapping(
        {
            "start_share": _FLOAT,
            "weights": core.nullable_schema(_TEXT),
            "reason": _TEXT,
            "judged_on": _mapping(dict.fromkeys(("ahead", "low", "high", "loss", "se"), _FLOAT), images=_COUNT),
            "validation": core.dict_schema(_TEXT, _FLOAT),
            "ensemble": core.nullable_schema(_mapping({}, networks=_COUNT, loss=_FLOAT, accuracy=_FLOAT)),
        },
        trials=core.list_schema(_mapping({}, trial=_TEXT, epoch=_COUNT)),
        handed_over=_TYPES["bool"],
    ),
    **dict.fromkeys(
        ("stopped", "failed", "interrupted", "finished"),
        _mapping(
            {
                "reason": core.nullable_schema(_TEXT),
                "error": core.nullable_schema(_TEXT),
                "out_of_budget": _TYPES["bool"],
            }
        ),
    ),
}
_SOUGHT = _nullable(dict.fromkeys(("fingerprint", "origin", "sha256", "processor", "function"), "string"))
_ENVIRONMENT = SchemaValidator(
    _mapping(
        {
            "data": core.nullable_schema(
                _mapping(_SOUGHT | {"classes": core.list_schema(_TEXT), "images": core.dict_schema(_TEXT, _COUNT)})
            ),
            "weights": core.nullable_schema(_mapping(_SOUGHT)),
            "head": core.dict_schema(_TEXT, _mapping({}, begins_with=_TEXT, why=_TEXT)),
            "start": core.dict_schema(
                _TEXT, core.dict_schema(_TEXT, core.dict_schema(_TEXT, core.nullable_schema(_FLOAT)))
            ),
            "hardware": core.nullable_schema(_mapping(_SOUGHT | {"cpus": _FLOAT, "gpus": _FLOAT})),
        }
    )
)
"""The part of environment.json that readers look at."""
_DETAILS = {kind: SchemaValidator(schema) for kind, schema in _SCHEMAS.items()}
_REQUIRED = {
    "report": ("trial", "arm", "generation", "epoch", "lr", "batch_size", "time"),
    "event": ("kind", "generation", "epoch", "time"),
}


def wrong_value(record: Mapping[str, Any]) -> str | None:
    """What is wrong with a value of a record, in words; None where each one that is there has its type."""
    kind, details = record.get("kind"), record.get("details")
    if details and _deeper(details, DEPTH):  # what else is nested, no reader looks at
        return f"its details are nested deeper than {DEPTH} levels"
    columns, inner = _RECORDS.get(str(record.get("type"))), _DETAILS.get(str(kind))
    wrong = _fault(columns, record) if columns else None
    return wrong or (_fault(inner, details or {}, f"details of {kind}: ") if inner and "details" in record else None)


def wrong_environment(value: object) -> str | None:
    """What is wrong with the content of environment.json, in words; None where nothing is."""
    return _fault(_ENVIRONMENT, value)


def lacking(record: Mapping[str, Any]) -> str | None:
    """What a record lacks that is needed to fold it, in words; None where it is complete."""
    missing = [name for name in _REQUIRED[record["type"]] if record.get(name) is None]
    return f"it lacks {missing[0]}" if missing else None


def _fault(validator: SchemaValidator, value: object, of: str = "") -> str | None:
    try:
        validator.validate_python(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        place = one_line(".".join(map(str, first["loc"]))[:_SHOWN])
        if first["type"] == "missing":
            return f"{of}it lacks {place}"
        shown, rule = one_line(repr(first["input"])[:_SHOWN]), first["msg"].removeprefix("Input ")
        return f"{of}{place} = {shown} is none that tlsweep writes: it {rule}"
    return None


def _deeper(value: Any, levels: int) -> bool:
    inner = [item for item in (value.values() if isinstance(value, dict) else value) if type(item) in (dict, list)]
    return bool(inner) and (levels <= 1 or any(_deeper(item, levels - 1) for item in inner))
