"""The rules that pydantic checks, in the words in which `tlsweep fields` lists them."""

import difflib
import re
from collections.abc import Mapping
from typing import Any, Final

_WHOLE = "must be a whole number"
_NUMBER = "must be a number"
_SWITCH = "must be true or false"

RULES: Final[Mapping[str, str]] = {
    "int_type": _WHOLE,
    "int_parsing": _WHOLE,
    "int_from_float": _WHOLE,
    "int_parsing_size": "must be a whole number, and not that large",
    "float_type": _NUMBER,
    "float_parsing": _NUMBER,
    "finite_number": "must be a finite number",
    "string_type": "must be text",
    "bool_type": _SWITCH,
    "bool_parsing": _SWITCH,
    "greater_than": "must be above {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be below {lt}",
    "less_than_equal": "must be at most {le}",
    "string_too_short": "must not be empty",
    "string_too_long": "must have at most {max_length} characters",
    "string_pattern_mismatch": "must begin with a letter or digit, and hold only these and . _ -",
    "tuple_type": "must be a list",
    "too_short": "must have at least {min_length} values",
    "too_long": "must have at most {max_length} values",
    "dict_type": "must be a mapping of fields",
    "model_type": "must be a mapping of fields",
    "model_attributes_type": "must be a mapping of fields",
}
"""What is said of each kind of error that a spec can meet; `literal_error`, which lists what is known, has its own."""


def rule(error: Any) -> str:
    """The rule that an error of pydantic is about; in pydantic's words if it has none of ours."""
    kind, context = error["type"], error.get("ctx", {})
    if kind == "literal_error":
        known = re.findall(r"'([^']+)'", context["expected"])
        near = difflib.get_close_matches(str(error["input"])[:60], known, n=1)
        return f"must be one of {', '.join(known)}" + (f"; did you mean '{near[0]}'?" if near else "")
    if kind in RULES:
        return RULES[kind].format(**{name: _as_written(value) for name, value in context.items()})
    return str(error["msg"]).removeprefix("Value error, ")


def _as_written(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
