"""A sweep without Ray and without training: what the driver does, its workers, and what kills them.

An epoch is a pure function of the weights before it and the hyperparameters: a checkpoint holds a chain of hashes, and
the score follows from it. So two sweeps that decide alike write the same bytes. StoredCheckpoint files, digests and the
journal are real.
"""

import json
import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from tlsweep.observer import Silence
from tlsweep.spec import SweepSpec, load_spec
from tlsweep.store import Location, Record, Status, SweepFolder, SweepState, read_journal
from tlsweep.store.locations import files_below
from tlsweep.store.schema import METRICS
from tlsweep.sweep.assignment import Assignment, Message
from tlsweep.sweep.outbox import Due, Outbox, messages
from tlsweep.sweep.packs.kinds import AGREE
from tlsweep.sweep.referee import INTERRUPTED, Referee
from tlsweep.sweep.resuming import read_history
from tlsweep.sweep.session import Material, open_session, recall
from tlsweep.sweep.trainable import last_sound, write_checkpoint

BASE: dict[str, Any] = {
    "data": {"source": "digits"},
    "train": {"epochs": 4, "lr": {"loguniform": [1e-4, 0.1]}, "batch_size": {"powers_of_two": [8, 64]}},
    "search": {"strategy": "random", "trials": 4},
}
MATERIAL = Material(data="f", weights=None)
NOT_DECIDED = ("launched", "resumed", "started", "interrupted")
"""Events that a kill or an interrupt may add."""


@dataclass
class Stay:
    """A trial on a worker."""

    assignment: Assignment
    started: bool = False
    epoch: int = 0
    weights: str = ""
    passed_over: list[dict[str, str]] = field(default_factory=list)
    outbox: Outbox | None = None
    sent: list[Message] = field(default_factory=list)
    """Reports whose checkpoints are written, and which are on their way."""


def report_row(assignment: Assignment, epoch: int, score: float) -> dict[str, Any]:
    """What a worker sends, bar the checkpoint; all metrics are `score`."""
    return {
        "trial": assignment.trial, "epoch": epoch, "samples": 10 * epoch, "step": epoch, "node": "here",
        "scheduled_lr": 0.1, "micro_batch": assignment.hyperparameters["batch_size"], "device": "cpu",
        "device_memory": 0, "samples_per_second": 1.0, "wait_seconds": 0.0, "train_seconds": 1.0, "eval_seconds": 1.0,
        **dict.fromkeys(METRICS, score),
    }  # fmt: skip


def message(row: Mapping[str, Any]) -> Message:
    """What a worker sends, as columns and fields side by side."""
    own = {name: row[name] for name in Message.__dataclass_fields__ if name in row}
    return Message(**own, figures={name: value for name, value in row.items() if name not in own})


Dies = Callable[[Stay, SweepState], bool]
"""Whether a worker dies instead of training the next epoch."""


@cache
def _spec(overrides: tuple[str, ...]) -> SweepSpec:
    return load_spec(BASE, overrides)


class SimulatedSweep:
    """A sweep in a folder; each `launch` is a process of its own that goes on with what the last one left."""

    def __init__(
        self,
        path: Location,
        *overrides: str,
        slots: int = 1,
        room: int = 1,
        seed: int = 0,
        dies: Dies | None = None,
    ) -> None:
        """`room`: how many trials of a kind a place can have."""
        if isinstance(path, Path):
            (path / "checkpoints").mkdir(parents=True, exist_ok=True)
        self.folder = SweepFolder(path)
        self.spec = _spec(overrides)
        self.slots, self.random, self.dies = slots, random.Random(seed), dies or (lambda stay, state: False)
        self.room, self.fullest = room, 0
        """The most that ever were in a place."""
        self.damaged: set[str] = set()
        """Checkpoints that somebody has spoilt, and that may be passed over."""
        self.alike = True
        """Whether an epoch that is trained again gives the same weights."""
        self.tends: Callable[[], bool] = lambda: True
        """Whether Tune's loop comes round after a step, before the next worker does something."""
        self.watch: Callable[[Referee, list[Stay]], None] = lambda referee, stays: None
        """Looks on after each step."""
        self.pace = 0.0 if dies else 0.5
        """Seconds between two looks at the clock, at most. Where it stands still a worker waits for decisions alone, so
        that one that dies loses the same epochs each time."""
        self._seconds, self._chance = 0.0, random.Random(seed)
        self._finished: set[str] = set()
        """Trials that once were; of these only the last checkpoint is kept, to go on from."""

    def extend(self, *overrides: str) -> None:
        """Ask for more: overrides of the spec."""
        self.spec = load_spec(self.spec.model_dump(mode="json"), overrides)

    def launch(self, *, steps: int | None = None) -> SweepState:
        """Begin or go on with the sweep, as the driver does; after some steps somebody presses Ctrl-C."""
        history = read_history(self.folder, self.spec)
        ledger = recall(self.spec, self.folder, history, Silence())
        self._finished |= {one.trial for one in ledger.state.trials.values() if one.status is Status.FINISHED}
        with open_session(ledger, self.folder, history, MATERIAL) as referee:
            self._run(referee, steps)
            referee.close()
        return ledger.state

    def _run(self, referee: Referee, steps: int | None) -> None:
        """Tune's loop: places are filled, then one worker does something."""
        places: list[list[Stay]] = []
        stays: list[Stay] = []
        while not referee.ending.tick():
            while len(places) < self.slots and (assignment := referee.assign()):
                places.append([self._check(Stay(assignment))])
                self._fill(referee, places[-1])
            stays = [stay for place in places for stay in place]
            if not stays:
                return
            stay = self.random.choice(stays)
            place = next(place for place in places if stay in place)
            if not self._step(referee, stay):
                place.remove(stay)
            if place:
                self._fill(referee, place)
            places = [place for place in places if place]
            stays = [stay for place in places for stay in place]
            if self.tends():
                referee.tend()
            self.watch(referee, stays)
            if steps is not None:
                steps -= 1
                if steps <= 0:
                    referee.ending.halt(INTERRUPTED, resumable=True)
        for stay in stays:
            if stay.sent and self.random.random() < 0.5:
                assert referee.observe({stay.assignment.trial: stay.sent})  # what comes too late does not count

    def _fill(self, referee: Referee, place: list[Stay]) -> None:
        """Those that can be trained beside the ones that are in a place join them."""
        joined = referee.assign_beside([stay.assignment.trial for stay in place], self.slots)
        place += [self._check(Stay(assignment)) for assignment in joined]
        self.fullest = max(self.fullest, len(place))
        assert len(place) <= self.room
        for name in AGREE:
            assert len({str(stay.assignment.hyperparameters.get(name)) for stay in place}) == 1

    def _check(self, stay: Stay) -> Stay:
        """Whatever an assignment names is there."""
        trail = stay.assignment.trail
        for one in trail[-1:] if stay.assignment.trial in self._finished else trail:
            assert (self.folder.path / one.path).exists() or one.path in self.damaged, one.path
        return stay

    def _step(self, referee: Referee, stay: Stay) -> bool:
        """A worker takes a trial, or trains and writes its checkpoint, or reports. False: its place is free."""
        trial = stay.assignment.trial
        if not stay.started:
            referee.started(trial)
            if stay.assignment.tells_room:
                referee.learn_room({trial: self.room})
            stay.started, stay.outbox = True, Outbox(stay.assignment, self.spec, clock=self._clock)
            content, stay.passed_over = last_sound(self.folder, stay.assignment.trail)
            assert {one["path"] for one in stay.passed_over} <= self.damaged
            if content is not None:
                stay.epoch, stay.weights = json.loads(content)[:2]
            return True
        if stay.sent:
            sent, stay.sent = stay.sent, []
            return not referee.observe({trial: sent})
        if self.dies(stay, referee.state):
            referee.failed(trial, "Traceback:\n  line\nRuntimeError: killed\n")
            return False
        if stay.epoch >= self.spec.train.epochs:
            referee.returned(trial)
            return False
        self._train(stay)
        return True

    def _train(self, stay: Stay) -> None:
        one = stay.assignment
        stay.epoch += 1
        values = json.dumps([stay.weights, stay.epoch, one.seed, one.arm, one.hyperparameters], sort_keys=True)
        stay.weights = sha256(values.encode()).hexdigest()
        content = json.dumps([stay.epoch, stay.weights, 0 if self.alike else self.random.random()]).encode()
        score = int(stay.weights[:8], 16) / 2**32 if int(stay.weights[-2:], 16) >= 20 else math.nan
        row = report_row(one, stay.epoch, score)
        if stay.passed_over:
            row["passed_over"], stay.passed_over = stay.passed_over, []
        assert stay.outbox is not None

        def write(assignment: Assignment, epoch: int, checkpoint: bytes) -> dict[str, str]:
            written = write_checkpoint(self.folder, assignment, epoch, checkpoint)
            self.damaged.discard(written["checkpoint"])
            return written

        due = stay.outbox.put(message(row), lambda: lambda: content)
        # A thread may send what is due soon, or be so slow that the next report is put first.
        if due is Due.NOW or (due is Due.SOON and self._chance.random() < 0.7):
            stay.sent = messages(stay.outbox.take(), write)

    def _clock(self) -> float:
        """Time passes between two looks at it: mostly less than a report may be kept back."""
        self._seconds += self.pace * self._chance.random()
        return self._seconds

    # What is left of it

    def records(self) -> list[Record]:
        return list(read_journal(self.folder.journal))

    def files(self) -> set[str]:
        """Checkpoints on disk, and anything else that lies there."""
        return {f"checkpoints/{name}" for name in files_below(self.folder.checkpoints)}

    def history(self, *without: str) -> list[str]:
        """Every report and decision in order, but those kinds; as text, so that NaN equals NaN.

        Bar times, and which epochs had to be waited for and so have a checkpoint; a score tells the weights as well.
        """
        left_out = ("time", "elapsed", "checkpoint", "digest")
        return [
            json.dumps({name: value for name, value in one.items() if name not in left_out}, sort_keys=True)
            for one in self.records()
            if one["type"] == "report" or one["kind"] not in (*NOT_DECIDED, *without)
        ]

    def state(self) -> SweepState:
        """What the journal alone says."""
        return SweepState(self.spec.search.metric, self.spec.search.sign).replay(self.records())

    def outcome(self) -> list[str]:
        """What every trial has become, and what is left of it on disk; bar times."""
        finals = [
            repr((one.trial, str(one.status), one.reason, one.generation, one.parent_trial, one.epoch, one.trail[-1:],
                  one.hyperparameters, one.failures, one.best and (one.best["epoch"], one.best["digest"])))
            for one in self.state().trials.values()
        ]  # fmt: skip
        return [*finals, *sorted(self.files())]


def assert_complete(sweep: SimulatedSweep) -> None:
    """No (trial, generation, epoch) missing or doubled, every trial in a final state, budgets kept."""
    trials = sweep.state().trials.values()
    assert all(one.status.final for one in trials)
    assert all(one.best["checkpoint"] for one in trials if one.best)
    next_epoch: dict[tuple[str, int], int] = {}
    reports = dict.fromkeys(sweep.spec.arms, 0)
    for record in sweep.records():
        key = (record["trial"], record["generation"])
        if record["type"] == "report":
            assert record["epoch"] == abs(next_epoch.get(key, 1)), key
            next_epoch[key] = record["epoch"] + 1
            reports[record["arm"]] += 1
        elif record["kind"] == "exploited":
            next_epoch[key] = -(record["details"]["donor_epoch"] + 1)  # negative: nothing was reported yet
        elif record["kind"] == "restored" and next_epoch.get(key, 1) < 0:
            next_epoch[key] = -(record["details"]["epoch"] + 1)
    budget = sweep.spec.budget.epochs
    assert budget is None or max(reports.values()) <= budget
