"""Which trials can be trained together in one place, as far as their values tell."""

from collections.abc import Mapping
from typing import NamedTuple

from tlsweep.spec import ImageSpec
from tlsweep.spec.augmentation import STRENGTHS
from tlsweep.spec.model import WEIGHTS
from tlsweep.spec.search.space import Value
from tlsweep.sweep.assignment import starting_values
from tlsweep.sweep.ledger import Ledger

AGREE = ("batch_size", "decay_by", "freeze", "label_smoothing", "optimizer", WEIGHTS)
"""The values in which trials agree that are computed together; in others they may differ."""
MIXING = ("mixup", "cutmix")
"""Trials with any of these are computed alone."""


class Kind(NamedTuple):
    """Trials that can be computed together, if one of them can with any."""

    arm: str
    values: tuple[Value | None, ...]


class Kinds:
    """Knows how many trials of a kind one place has room for: a worker that trains the first one says it."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger, spec = ledger, ledger.spec
        self._concurrent = spec.resources.concurrent
        packs = isinstance(spec, ImageSpec) and spec.train.pack not in ("off", 1)
        self._never = not packs or self._concurrent == 1
        self._rooms: dict[Kind, int] = {}
        self._new: dict[tuple[str, int], Kind] = {}

    def of(self, arm: str, values: Mapping[str, Value]) -> Kind:
        """The kind of a trial with these values."""
        # Behind frozen layers there are features for those whose images do not change at random.
        changing = MIXING if values.get("freeze") == "nothing" else STRENGTHS
        changes = tuple(values.get(name) not in (None, 0, "none") for name in changing)
        return Kind(arm, (*(values.get(name) for name in AGREE), *changes))

    def of_new(self, arm: str, number: int, values: Mapping[str, Value]) -> Kind:
        """That of a trial that has not begun; `values` are empty until it has a slot."""
        if values:
            return self.of(arm, values)
        if (arm, number) not in self._new:
            self._new[arm, number] = self.of(arm, starting_values(self._ledger.spec, arm, number))
        return self._new[arm, number]

    def unknown(self, kind: Kind) -> bool:
        """Whether it is to be found out how many there is room for."""
        return not self._never and kind not in self._rooms

    def learn(self, kind: Kind, room: int) -> None:
        """Note how many there is room for in a place."""
        self._rooms[kind] = room

    def room(self, kind: Kind, places: int) -> int:
        """How many a place may have, of so many places: 1 where nobody knows."""
        if self._never:
            return 1
        room = self._rooms.get(kind, 1)
        return room if self._concurrent is None else min(room, max(1, self._concurrent // places))
