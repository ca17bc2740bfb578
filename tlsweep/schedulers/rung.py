"""Who arrived at a rung, and how they rank there: kept in order, so that no question sorts them again."""

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from tlsweep.schedulers.decisions import Observation


class Key(NamedTuple):
    """What a trial is ranked by: the smaller one is better."""

    minus_score: float
    arrival: int
    """How many were there before it: of equal scores the one that arrived earlier is better."""
    trial: str


@dataclass
class Ranking:
    """Trials, the best first."""

    _keys: list[Key] = field(default_factory=list)
    # Kept in order: to look something up takes log n steps, and to make room among 10,000 moves 80 kB at most.

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[Key]:
        return iter(self._keys)

    def __reversed__(self) -> Iterator[Key]:
        return reversed(self._keys)

    def rank(self, key: Key) -> int:
        """The place that a trial has, or would have: 1 for the best."""
        return bisect_left(self._keys, key) + 1

    def score(self, place: int) -> float:
        """The score of the trial in a place; 1 is that of the best."""
        return -self._keys[place - 1].minus_score

    def put(self, key: Key, belongs: bool = True) -> None:
        """Let a trial be among them, or not."""
        at = bisect_left(self._keys, key)
        if (at < len(self._keys) and self._keys[at] == key) == belongs:
            return
        if belongs:
            self._keys.insert(at, key)
        else:
            del self._keys[at]


@dataclass
class Rung:
    """The trials that arrived at a rung: each once, with its first report from there."""

    arrivals: dict[str, Observation] = field(default_factory=dict)
    all: Ranking = field(default_factory=Ranking)
    live: Ranking = field(default_factory=Ranking)
    """Those that have not ended, and have not arrived at a higher one."""
    waiting: Ranking = field(default_factory=Ranking)
    """Those of them that are held."""
    _keys: dict[str, Key] = field(default_factory=dict)

    def arrive(self, report: Observation) -> None:
        """A trial has passed the rung, maybe not for the first time."""
        if report.trial not in self._keys:
            self.arrivals[report.trial] = report
            self._keys[report.trial] = key = Key(-report.score, len(self._keys), report.trial)
            self.all.put(key)

    def settle(self, trial: str, *, live: bool, held: bool) -> None:
        """Say whether a trial that arrived here still stands here, and whether it is held."""
        self.live.put(self._keys[trial], live)
        self.waiting.put(self._keys[trial], live and held)

    def rank(self, trial: str) -> int:
        """Its place among all that arrived."""
        return self.all.rank(self._keys[trial])

    def waiting_behind(self, places: int) -> list[str]:
        """The trials that wait and rank behind so many places, the best first."""
        behind: list[str] = []
        for key in reversed(self.waiting):  # as nearly always nobody does
            if self.all.rank(key) <= places:
                break
            behind.append(key.trial)
        return behind[::-1]

    def before(self, trial: str) -> list[float]:
        """The scores of those that arrived before a trial, the best first."""
        arrival = self._keys[trial].arrival
        return [-key.minus_score for key in self.all if key.arrival < arrival]
