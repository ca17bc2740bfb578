"""A learning rate that is searched per batch size, so that the two are independent axes.

Where a batch is k times as large, the lr that does as well is about k times as large for SGD (Goyal et al. 2017,
arXiv:1706.02677), and √k times for Adam (Malladi et al. 2022, arXiv:2205.10287). Searched as it is in force, the best
lr depends on the batch size, and most combinations of two wide ranges are bad; searched at one batch size, it does not.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tlsweep.spec.search.space import KINDS, Distribution, Value, as_number, parse_distribution
from tlsweep.text import shortened

REFERENCE = 32
"""The batch size of which lr is meant where no `at` is written: the default of `train.batch_size`."""
_FORM = "write {per: batch_size, power: 0.5, loguniform: [1e-4, 1e-2]}; power 0.5 suits Adam, 1 SGD"


@dataclass(frozen=True)
class PerBatchSize:
    """Learning rates that are drawn for batches of `at`, and are in force times (batch size / at) ** power."""

    at_reference: Distribution
    power: float
    at: int = REFERENCE

    @property
    def extremes(self) -> tuple[Value, ...]:
        """Those for batches of `at`."""
        return self.at_reference.extremes

    def factor(self, batch_size: Value) -> float:
        """What lr is multiplied by at this batch size."""
        return float((float(batch_size) / self.at) ** self.power)

    def to_yaml(self) -> dict[str, Any]:
        """The mapping that `parse_per_batch_size` reads back."""
        return self.with_distribution(self.at_reference.to_yaml())

    def with_distribution(self, written: Mapping[str, Any]) -> dict[str, Any]:
        """The same for another distribution, which is given as it is written."""
        return {"per": "batch_size", "power": self.power, "at": self.at, **written}


@dataclass(frozen=True)
class Scaling:
    """Between what is searched and what is in force in a trial, which differ where lr is searched per batch size."""

    per: PerBatchSize | None = None
    """None: lr is searched as it is in force."""
    batch_size: Value = REFERENCE
    """The batch size of all trials, where it is not searched."""

    def in_force(self, searched: Mapping[str, Value]) -> dict[str, Value]:
        """What a trial is trained with, of values that were drawn."""
        if self.per is None or "lr" not in searched:
            return dict(searched)
        return {**searched, "lr": float(searched["lr"]) * self._factor(self.per, searched)}

    def searched(self, in_force: Mapping[str, Value]) -> dict[str, Value]:
        """What would have been drawn for a trial that is trained with these values."""
        if self.per is None:
            return dict(in_force)
        lr = float(in_force["lr"]) / self._factor(self.per, in_force)
        # Back on the list that it was drawn from, which rounding may have left by a last digit.
        return {**in_force, "lr": self.per.at_reference.clip(lr)}

    def _factor(self, per: PerBatchSize, values: Mapping[str, Value]) -> float:
        return per.factor(values.get("batch_size", self.batch_size))


UNSCALED = Scaling()
"""All is searched as it is in force."""


def is_per_batch_size(mapping: Mapping[str, Any]) -> bool:
    """Whether `parse_per_batch_size` is to read it."""
    return not {"per", "power", "at"}.isdisjoint(mapping)


def parse_per_batch_size(mapping: Mapping[str, Any]) -> PerBatchSize:
    """Read ``{per: batch_size, power: 0.5, at: 32, loguniform: [low, high]}``; `at` may be left out.

    Raises:
        ValueError: something else; the message says what would be right.
    """
    written = dict(mapping)
    per, at = written.pop("per", None), written.pop("at", REFERENCE)
    power = as_number(written.pop("power", None))
    unknown = [str(name) for name in written if name not in KINDS]
    if unknown:
        near = difflib.get_close_matches(unknown[0][:60], ["per", "power", "at", *KINDS], n=1)
        hint = f"did you mean '{near[0]}'?" if near else _FORM
        raise ValueError(f"unknown '{shortened(unknown[0])}' beside per; {hint}")
    if per != "batch_size":
        raise ValueError(f"lr can be searched per batch_size, and not per {shortened(repr(per))}; {_FORM}")
    if isinstance(power, bool) or not isinstance(power, int | float) or not 0 <= power <= 1:
        raise ValueError(f"power must be a number from 0 to 1, not {shortened(repr(power))}; {_FORM}")
    if isinstance(at, bool) or not isinstance(at, int) or at < 1:
        raise ValueError(f"at is the batch size of which lr is meant, a whole number from 1, not {shortened(repr(at))}")
    return PerBatchSize(parse_distribution(written), power, at)
