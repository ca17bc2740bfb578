"""Errors of pydantic in our words: every kind that a wrong value in any field can raise has some."""

import re
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ValidationError

from tlsweep.spec import Hyperparameters
from tlsweep.spec.reference import _sections
from tlsweep.spec.wording import RULES, rule

WRONG = ("word", "", "1.5", "9" * 5000, 1.5, -1, -1e9, 1e9, 10**30, float("nan"), True, None, [], ["word"] * 2000, {})
OF_PYDANTIC = re.compile("Input|String|List|Tuple|valid|pars|Value error|should|instance|items")
TOLD_APART = {"missing", "unknown_field", "union_tag_not_found", "union_tag_invalid"}
"""Kinds that `explaining` has words for."""


def errors() -> Iterator[Any]:
    """What pydantic says of each wrong value in each field of each section."""
    models: list[type[BaseModel]] = [*(model for models in _sections().values() for model in models), Hyperparameters]
    for model in models:
        for name in model.model_fields:
            for value in (*WRONG, *([value] for value in WRONG)):
                try:
                    model.model_validate({name: value}, context={"stored": False})
                except ValidationError as error:
                    yield from error.errors(include_url=False)


def test_every_kind_of_error_that_a_field_can_raise_is_told_in_our_words() -> None:
    met = {error["type"]: rule(error) for error in errors()}
    assert set(RULES) - set(met) == set()
    assert {kind: told for kind, told in met.items() if kind not in TOLD_APART and OF_PYDANTIC.search(told)} == {}
