"""The ledger of a sweep: the journal, and everything that follows from it, record by record.

While the sweep runs and when it is resumed, the same code folds the same records: what a sweep knows after a kill is
what it knew before it.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from typing import Any, TypeVar, cast

from tlsweep.errors import ResultsError
from tlsweep.observer import Observer, tell
from tlsweep.schedulers import (
    Created,
    Ended,
    Exploit,
    Exploited,
    Fact,
    Joined,
    Observation,
    Promoted,
    Reopened,
    Rules,
    make_rules,
    make_tpe,
    uses_tpe,
)
from tlsweep.spec import SweepSpec
from tlsweep.spec.search.space import Value
from tlsweep.store import Lease, Location, Record, SweepFolder, SweepState, diverged, open_journal
from tlsweep.store.journal import AnyJournal
from tlsweep.store.replaying import replay
from tlsweep.store.spending import Spending
from tlsweep.store.tables import TableWriter
from tlsweep.sweep.assignment import Message, completed, starting_values

_Method = TypeVar("_Method", bound=Callable[..., Any])


def in_turn(method: _Method) -> _Method:
    """One thread at a time writes down: where the main one is blocked in Ray, another one ends the sweep."""

    @wraps(method)
    def alone(self: Any, *arguments: Any, **options: Any) -> Any:
        with self.turn:
            return method(self, *arguments, **options)

    return cast(_Method, alone)


class Ledger:
    """Writes records down and folds them into the state of the sweep and of the rules of each arm."""

    def __init__(
        self, spec: SweepSpec, stage: str, folder: SweepFolder, observer: Observer, lease: Lease | None = None
    ) -> None:
        self.spec, self.stage = spec, stage
        self.turn = threading.RLock()
        """Held by the thread that writes something down."""
        self.lease = lease
        """The right to write there, on object storage."""
        self.state = SweepState(spec.search.metric, spec.search.sign)
        self.rules: dict[str, Rules] = {arm: make_rules(spec, arm) for arm in spec.arms}
        self._tpe = {arm: make_tpe(spec, arm) for arm in spec.arms} if uses_tpe(spec) else {}
        self.spending = Spending(spec.budget, spec.resources)
        """What each arm has used of the budget."""
        self._observer = observer
        self._journal: AnyJournal | None = None
        self._replayed = 0
        self.folder = folder.path
        self._tables = TableWriter(folder.path, folder.name, spec)
        self._transaction: list[Record] = []
        self._time = self._elapsed = 0.0
        self._clock: float | None = None

    def replay(self, records: Iterable[Record]) -> None:
        """Fold what an earlier launch wrote."""
        replay(records, self._replay, self.state.trials, SweepFolder(self.folder).journal)
        self._elapsed = self.state.elapsed

    def _replay(self, record: Record) -> None:
        if record["arm"] is not None and record["arm"] not in self.rules:
            raise ResultsError(f"the journal tells of an arm '{record['arm']}' that the spec lacks; put both back")
        self._fold(record)
        self._tables.add([record])
        self._time = record["time"]
        self._replayed += 1

    @contextmanager
    def open(self, location: Location) -> Iterator[None]:
        """Write to a journal while the block runs."""
        self._journal = open_journal(location, self.lease, self._replayed)
        try:
            yield
        finally:
            self._journal.close()

    @property
    def elapsed(self) -> float:
        """Seconds since a worker took the first trial, over all launches; time between launches does not count."""
        return self._elapsed + (time.monotonic() - self._clock if self._clock is not None else 0.0)

    def start_clock(self) -> None:
        """Time counts from now on."""
        self._clock = self._clock if self._clock is not None else time.monotonic()

    def report(self, message: Message) -> Record:
        """Take down a worker's message as the report of its trial."""
        trial = self.state.trials[message.trial]
        measured = message.columns()
        parts = {"folds": message.folds, "by_client": message.by_client}
        measured |= {name: list(several) for name, several in parts.items() if several}
        return self._note(
            measured
            | {
                "type": "report",
                "stage": self._stage(trial.arm),
                "arm": trial.arm,
                "generation": trial.generation,
                "parent_trial": trial.parent_trial,
                **trial.hyperparameters,
                "checkpoint": message.checkpoint,
                "digest": message.digest,
            }
        )

    def event(
        self,
        kind: str,
        trial: str | None = None,
        details: Mapping[str, Any] | None = None,
        *,
        arm: str | None = None,
        generation: int | None = None,
        epoch: int | None = None,
    ) -> Record:
        """Take down an event; arm, generation and epoch are those of the trial unless given."""
        known = self.state.trials.get(trial or "")
        if known is not None:
            arm = arm or known.arm
            generation = known.generation if generation is None else generation
            epoch = known.epoch if epoch is None else epoch
        return self._note(
            {
                "type": "event",
                "stage": self._stage(arm),
                "arm": arm,
                "trial": trial,
                "generation": generation or 0,
                "kind": kind,
                "epoch": epoch or 0,
                "details": dict(details or {}),
            }
        )

    def commit(self) -> None:
        """Write to the journal what was taken down since the last time, whole or not at all.

        In a folder nothing has an effect before. On object storage this returns while it is being uploaded: should the
        machine vanish, it never was, and what must not be seen or done then waits (`flush`, `when_durable`).

        Raises:
            ResultsError: the disk, or the store, does not take it; the sweep cannot go on.
        """
        if self._transaction:
            assert self._journal is not None
            records, self._transaction = self._transaction, []
            self._journal.append(*records)
            self._tables.add(records)
            # After the journal: what a full disk could still take back is told to nobody.
            tell(self._observer, records)

    def flush(self) -> None:
        """Wait until all that was committed is safe, and what waited for that is done.

        Raises:
            ResultsError: it will never be; the sweep cannot go on.
        """
        assert self._journal is not None
        self._journal.flush()

    def when_durable(self, action: Callable[[], None]) -> None:
        """Do what cannot be taken back once all that was committed is safe."""
        assert self._journal is not None
        self._journal.when_durable(action)

    @property
    def tables_due(self) -> bool:
        """Whether the Parquet files have not been brought up to date for some time."""
        return self._tables.due

    def write_tables(self, *, if_due: bool = False) -> None:
        """Bring the Parquet files up to date; they say nothing that is not safe in the journal."""
        if not if_due or self.tables_due:
            self.flush()
            self._tables.write(self.state)

    def follow(self, folder: Location | None) -> None:
        """The folder of the sweep is there now, or nowhere; the journal is open, and came with it."""
        self._tables.move_to(folder)

    def observation(self, report: Record) -> Observation:
        """What the rules see of a report."""
        search, trial = self.spec.search, self.state.trials[report["trial"]]
        return Observation(
            trial=report["trial"],
            number=trial.number,
            generation=report["generation"],
            epoch=report["epoch"],
            score=float("nan") if diverged(report, search.metric) else search.sign * report[search.metric],
            hyperparameters={name: report[name] for name in trial.hyperparameters if name in report},
            checkpoint=report["checkpoint"],
            digest=report.get("digest"),
            spent=self.spending.share(report["arm"]),
        )

    def starting_values(self, arm: str, number: int) -> dict[str, Value]:
        """The hyperparameters that the next new trial of an arm starts with, as far as is known now."""
        proposed = self._tpe[arm].propose(number) if arm in self._tpe else None
        if proposed is not None:
            return completed(self.spec, arm, {**proposed, **self.spec.search.given(self.spec, number)})
        return starting_values(self.spec, arm, number)

    def draws_by_number(self, arm: str) -> bool:
        """Whether what a new trial of an arm starts with follows from its number alone, and not from results."""
        return arm not in self._tpe

    def _stage(self, arm: str | None) -> str:
        """What the arm does now."""
        return (self.rules[arm].stage if arm else None) or self.stage

    def _note(self, record: Record) -> Record:
        # A clock that is set back must not make an effect look older than its cause.
        self._time = max(self._time, time.time())
        record |= {"time": self._time, "elapsed": self.elapsed}
        self._fold(record)
        self._transaction.append(record)
        return record

    def _fold(self, record: Record) -> None:
        reopened = self._reopened(record) if record["type"] == "event" and record["kind"] == "resumed" else []
        self.state.apply(record)
        for trial in reopened:
            self.rules[self.state.trials[trial].arm].apply(Reopened(trial))
        if record["type"] == "report":
            self.spending.add(record)
            self._learn(record["arm"], self.observation(record))
        elif record["trial"] and (fact := self._fact(record)):
            self._learn(record["arm"], fact)

    def _reopened(self, record: Record) -> list[str]:
        """Trials for which the rules count as ended."""
        return [name for name in record["details"]["reopened"] if not self.state.trials[name].resumable]

    def _fact(self, event: Record) -> Fact | None:
        """What the rules are told of an event; None if it decides nothing."""
        trial, details = event["trial"], event["details"]
        match event["kind"]:
            case "created":
                return Created(trial, details["hyperparameters"])
            case "exploited":
                return Exploited(trial, event["generation"], Exploit.from_details(details))
            case "promoted":
                return Promoted(trial)
            case "joined":
                return Joined(trial, details["members"])
            case "stopped" | "finished" | "failed" if not self.state.trials[trial].resumable:
                return Ended(trial)
        return None

    def _learn(self, arm: str, fact: Fact) -> None:
        """Tell it to the rules of an arm, and to what proposes its configurations."""
        self.rules[arm].apply(fact)
        if arm in self._tpe:
            self._tpe[arm].apply(fact)
