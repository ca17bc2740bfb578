"""The search space: distributions of hyperparameters, as pure values.

A distribution is written in YAML as a mapping of one key: ``{loguniform: [1e-4, 0.3]}``. It samples, perturbs and
clips with a generator that is handed in, and never returns a value outside its bounds or off its lattice.
"""

import difflib
import math
import random
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from tlsweep.text import shortened

Value: TypeAlias = float | int | str | bool


class Distribution(Protocol):
    """What the sweep asks of a distribution."""

    @property
    def extremes(self) -> tuple[Value, ...]:
        """The values that must satisfy the field's rule for all others to do so."""

    def sample(self, rng: random.Random) -> Value:
        """One value, drawn at random."""

    def quantile(self, share: float) -> Value:
        """The value below which this share (0 to 1) of the samples lies."""

    def perturb(self, value: Value, rng: random.Random, factors: Sequence[float]) -> Value:
        """A value near `value`: times one of `factors` if continuous, a neighbour on a lattice; inside the bounds."""

    def clip(self, value: Value) -> Value:
        """The value of this distribution that is nearest to `value`."""

    def grid(self, points: int) -> list[Value]:
        """The values of a grid search: all of a lattice, `points` of a continuum."""

    def to_yaml(self) -> dict[str, list[Any]]:
        """The mapping that `parse_distribution` reads back."""


def _bounds(low: Any, high: Any, *, kind: str, positive: bool) -> None:
    for bound in (low, high):
        if isinstance(bound, bool) or not isinstance(bound, int | float) or not math.isfinite(bound):
            raise ValueError(f"{kind} takes two finite numbers [low, high], not {shortened(str([low, high]))}")
        if positive and bound <= 0:
            raise ValueError(f"{kind} needs bounds above 0, not {bound}: a logarithm is taken; raise it, say to 1e-6")
    if low >= high:
        raise ValueError(f"{kind} needs low < high, not {[low, high]}; swap them, or write one number for a constant")


@dataclass(frozen=True)
class _Continuous:
    """The numbers from `low` to `high`."""

    low: float
    high: float

    @property
    def extremes(self) -> tuple[Value, ...]:
        return (self.low, self.high)

    def perturb(self, value: Value, rng: random.Random, factors: Sequence[float]) -> Value:
        return self.clip(float(value) * rng.choice(factors))

    def clip(self, value: Value) -> float:
        return min(max(float(value), self.low), self.high)

    def _between(self, values: Sequence[float]) -> list[Value]:
        """Values of a grid without the noise of floats: three from 1e-4 to 1e-2 have 0.001 between, not 0.0009999…98.

        Logarithms are exact to about 16 digits, their exponentials to two fewer.
        """
        inner: list[Value] = [self.clip(float(f"{value:.12g}")) for value in values[1:-1]]
        return [float(self.low), *inner, float(self.high)][: len(values)]


@dataclass(frozen=True)
class Uniform(_Continuous):
    """Every value between `low` and `high` is equally likely."""

    def __post_init__(self) -> None:
        _bounds(self.low, self.high, kind="uniform", positive=False)

    def sample(self, rng: random.Random) -> Value:
        return self.quantile(rng.random())

    def quantile(self, share: float) -> Value:
        return self.clip(self.low + (self.high - self.low) * share)

    def grid(self, points: int) -> list[Value]:
        step = (self.high - self.low) / max(points - 1, 1)
        return self._between([self.low + step * at for at in range(points)])

    def to_yaml(self) -> dict[str, list[Any]]:
        return {"uniform": [self.low, self.high]}


@dataclass(frozen=True)
class LogUniform(_Continuous):
    """The logarithm is uniform: each decade is equally likely. The usual choice for a learning rate."""

    def __post_init__(self) -> None:
        _bounds(self.low, self.high, kind="loguniform", positive=True)

    def sample(self, rng: random.Random) -> Value:
        return self.quantile(rng.random())

    def quantile(self, share: float) -> Value:
        low, high = math.log(self.low), math.log(self.high)
        # exp(log(x)) is not always x: the last digit may lie beyond the bound.
        return self.clip(math.exp(low + (high - low) * share))

    def grid(self, points: int) -> list[Value]:
        low, high = math.log(self.low), math.log(self.high)
        return self._between([math.exp(low + (high - low) * at / max(points - 1, 1)) for at in range(points)])

    def to_yaml(self) -> dict[str, list[Any]]:
        return {"loguniform": [self.low, self.high]}


@dataclass(frozen=True)
class Choice:
    """One of a list. Numbers are kept sorted, so that a neighbour is the next larger or smaller one."""

    values: tuple[Value, ...]

    def __post_init__(self) -> None:
        if not self.values:
            raise ValueError("choice needs at least one value")
        if len(set(map(repr, self.values))) < len(self.values):
            raise ValueError(f"choice lists a value twice: {shortened(str(list(self.values)))}")
        if self.ordered:
            object.__setattr__(self, "values", tuple(sorted(self.values)))

    @property
    def ordered(self) -> bool:
        """Whether all values are numbers."""
        return all(isinstance(value, int | float) and not isinstance(value, bool) for value in self.values)

    @property
    def extremes(self) -> tuple[Value, ...]:
        return self.values

    def sample(self, rng: random.Random) -> Value:
        return rng.choice(self.values)

    def quantile(self, share: float) -> Value:
        return self.values[min(int(share * len(self.values)), len(self.values) - 1)]

    def perturb(self, value: Value, rng: random.Random, factors: Sequence[float]) -> Value:
        """A neighbour on the sorted list (at its ends the only one); any other value where there is no order."""
        if value not in self.values:
            value = self.clip(value)
        if self.ordered:
            at = self.values.index(value)
            # At an end the one neighbour: Ray's PBT draws the missing one as well, so that half of the time
            # nothing changes (measured, ray 2.60).
            options = [self.values[i] for i in (at - 1, at + 1) if 0 <= i < len(self.values)]
        else:
            options = [other for other in self.values if other != value]
        return rng.choice(options) if options else value

    def clip(self, value: Value) -> Value:
        if value in self.values or not self.ordered:
            return value if value in self.values else self.values[0]
        return min(self.values, key=lambda known: abs(float(known) - float(value)))

    def grid(self, points: int) -> list[Value]:
        return list(self.values)

    def to_yaml(self) -> dict[str, list[Any]]:
        return {"choice": list(self.values)}


class PowersOfTwo(Choice):
    """The powers of two from `low` to `high`, both included: the lattice of batch sizes."""

    def __init__(self, low: int, high: int) -> None:
        for bound in (low, high):
            if isinstance(bound, bool) or not isinstance(bound, int) or bound < 1 or bound & (bound - 1):
                shown = shortened(str([low, high]))
                raise ValueError(f"powers_of_two takes two powers of two [low, high], not {shown}")
        if low >= high:
            raise ValueError(
                f"powers_of_two needs low < high, not {[low, high]}; swap them, or write one number for a constant"
            )
        super().__init__(tuple(2**power for power in range(low.bit_length() - 1, high.bit_length())))

    def to_yaml(self) -> dict[str, list[Any]]:
        return {"powers_of_two": [self.values[0], self.values[-1]]}


KINDS = ("choice", "uniform", "loguniform", "powers_of_two")


def parse_distribution(mapping: Mapping[str, Any]) -> Distribution:
    """Read ``{kind: arguments}``.

    Raises:
        ValueError: unknown kind, or arguments that break its rule; the message says what would be right.
    """
    if len(mapping) != 1:
        raise ValueError(
            f"a distribution has one key, one of {', '.join(KINDS)}; found {shortened(str(list(mapping)))}"
        )
    ((kind, arguments),) = mapping.items()
    if kind not in KINDS:
        near = difflib.get_close_matches(str(kind)[:60], KINDS, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(KINDS)}"
        raise ValueError(f"unknown distribution '{shortened(str(kind))}'; {hint}")
    if not isinstance(arguments, list | tuple):
        form = "of values" if kind == "choice" else "[low, high]"
        raise ValueError(f"{kind} takes a list {form}, not {shortened(repr(arguments))}")
    if kind == "choice":
        return Choice(tuple(arguments))
    if len(arguments) != 2:
        raise ValueError(f"{kind} takes [low, high], not {shortened(str(list(arguments)))}")
    low, high = map(as_number, arguments)
    if kind == "powers_of_two":
        return PowersOfTwo(low, high)
    if kind == "uniform":
        return Uniform(low, high)
    return LogUniform(low, high)


def as_number(given: Any) -> Any:
    """A number, also where it is text, as other fields take it: PyYAML reads 1e-5 as text. Anything else as it is."""
    if not isinstance(given, str) or len(given) > 30:
        return given
    for number in (int, float):
        with suppress(ValueError):
            return number(given)
    return given
