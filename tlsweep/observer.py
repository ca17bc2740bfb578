"""How a sweep tells people what it is doing. The terminal implements `Observer`; the API passes none."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from tlsweep.spec import SweepSpec
from tlsweep.store import Record, SweepFolder, SweepState
from tlsweep.store.spending import Spending
from tlsweep.text import one_line


@dataclass(frozen=True)
class SweepView:
    """What an observer may look at while trials run. `state` changes under its eyes; copy lists before walking them."""

    spec: SweepSpec
    folder: SweepFolder
    state: SweepState
    spending: Spending
    """What each arm has used of the budget, over all launches."""
    slots: int
    """Trials that run at once."""
    dashboard: str | None
    """Address of the Ray dashboard."""
    began: float
    """time.monotonic() when the first trial was handed out, in this launch."""

    @property
    def epochs_at_most(self) -> int:
        """Epochs of all trials if none is stopped early, or the budget's if that is less."""
        spec = self.spec
        return sum(map(spec.epochs_in, spec.arms))


class Observer(Protocol):
    """Is told, in this order: phases and progress while preparing, `begin`, every record, `end`, phases again."""

    def phase(self, text: str) -> None:
        """What is being done now, a few words: 'starting Ray', 'evaluating the winner'."""

    def progress(self, done: int, total: int) -> None:
        """How far the present phase is."""

    def begin(self, view: SweepView) -> None:
        """Trials are about to run."""

    def warn(self, text: str) -> None:
        """Something beside the sweep went wrong, which people should read whenever they look; at any time."""

    def record(self, record: Record) -> None:
        """A report or an event was written to the journal and applied to the state."""

    def end(self) -> None:
        """No trial runs any more."""


class Silence:
    """The observer that tells nobody, but of what went wrong."""

    def phase(self, text: str) -> None: ...

    def progress(self, done: int, total: int) -> None: ...

    def begin(self, view: SweepView) -> None: ...

    def warn(self, text: str) -> None:
        # A program that uses the API has its own ways of showing or collecting these; else it is on standard error.
        logging.getLogger("tlsweep").warning(one_line(text))

    def record(self, record: Record) -> None: ...

    def end(self) -> None: ...


class Several:
    """The observer that passes everything on to several others."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def phase(self, text: str) -> None:
        for observer in self._observers:
            observer.phase(text)

    def progress(self, done: int, total: int) -> None:
        for observer in self._observers:
            observer.progress(done, total)

    def begin(self, view: SweepView) -> None:
        for observer in self._observers:
            observer.begin(view)

    def warn(self, text: str) -> None:
        for observer in self._observers:
            observer.warn(text)

    def record(self, record: Record) -> None:
        for observer in self._observers:
            observer.record(record)

    def end(self) -> None:
        for observer in self._observers:
            observer.end()


def say(observer: Observer, notes: Iterable[str]) -> None:
    """Pass on what the user should know of the images."""
    for note in notes:
        observer.phase(note)


def tell(observer: Observer, records: Iterable[Record]) -> None:
    """Pass on several records."""
    for record in records:
        observer.record(record)
