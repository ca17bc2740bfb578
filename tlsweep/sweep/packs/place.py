"""A worker's place: the trials that are trained in it side by side, usually one."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from tlsweep.sweep.assignment import Assignment, Epoch, Message
from tlsweep.sweep.handover import Answer, take_answer
from tlsweep.sweep.outbox import Outbox, Parcel, Post
from tlsweep.sweep.trainable import Courier, Shared

if TYPE_CHECKING:
    from tlsweep.training import EpochReport, Snapshot
    from tlsweep.training.packs.company import Company
    from tlsweep.training.runs import Runs


@dataclass
class _Seat:
    """A trial in a place."""

    assignment: Assignment
    runs: "Runs"
    outbox: Outbox
    passed_over: list[dict[str, str]] = field(default_factory=list)
    """Checkpoints that were not sound; told once, with the first epoch."""
    awaits: int = 0
    """The last epoch on which somebody may decide."""

    @property
    def is_finished(self) -> bool:
        """Whether it has had its last epoch."""
        return self.runs.epoch >= self.runs.trainers[0].settings.epochs

    def report(self, courier: Courier, row: "EpochReport") -> "tuple[Outbox, Message, Snapshot]":
        """What is said of an epoch."""
        figures = asdict(row)
        number, told = figures.pop("epoch"), f"validation accuracy {row.val_accuracy:.4f}"
        parts = {name: figures.pop(name) for name in ("folds", "by_client")}
        passed_over, self.passed_over = self.passed_over, []
        message = courier.message(self.assignment, Epoch(number, figures, **parts, told=told), passed_over)
        return self.outbox, message, self.runs.copy


class Place:
    """Trains what it is given, until there is nothing more."""

    def __init__(self, shared: Shared) -> None:
        self._shared, self._courier = shared, Courier(shared.folder)
        self._seats: dict[str, _Seat] = {}
        self._post = Post(self._send)
        self._answers: list[tuple[Answer, dict[str, int]]] = []
        """What was answered and has had no effect yet, each with the last epochs that it answers; a thread may add."""

    def occupy(self, first: Sequence[Assignment]) -> None:
        """Train these, and those that join them or follow."""
        from tlsweep.training.devices import isolated
        from tlsweep.training.packs.company import Company

        with isolated(self._shared.compute({})) as device:
            company = Company(device)
            try:
                self._admit(company, device, first)
                self._change(company, device)
                while not all(seat.is_finished for seat in self._seats.values()):
                    self._advance(company)
                    self._change(company, device)
            except Exception:
                self._post.flush()  # what they did before one of them failed
                raise
            self._post.flush()

    def _advance(self, company: "Company") -> None:
        """An epoch of some trials, and what is to be said of it.

        Those on which somebody may decide wait for that; meanwhile the others go on.
        """
        if not company.going_on:
            self._post.flush()
            return
        rows = company.advance()
        started = time.perf_counter()
        reports = {name: self._seats[name].report(self._courier, row) for name, row in rows.items()}
        deciding = {name: message for name, (outbox, message, _) in reports.items() if outbox.decides(message)}
        for name, message in deciding.items():
            company.hold(name)
            self._seats[name].awaits = message.epoch
        self._post.put(*reports.values(), waits=not company.going_on)
        company.waited(rows, time.perf_counter() - started)

    def _change(self, company: "Company", device: str) -> None:
        """Let the answers have their effect."""
        while self._answers:
            answer, heard = self._answers.pop(0)
            for name in answer.leave:
                del self._seats[name]
                company.leave(name)
            for name, epoch in heard.items():
                # An earlier report of it may have been answered while the one that decides is on its way.
                if name in self._seats and epoch >= self._seats[name].awaits and not self._seats[name].is_finished:
                    company.release(name)
            self._admit(company, device, answer.join)

    def _admit(self, company: "Company", device: str, assignments: Sequence[Assignment]) -> None:
        """Take trials in, and tell how many more like them could join, where somebody wants to know."""
        from tlsweep.training.devices import reset_peak_memory

        for assignment in assignments:
            if not self._seats:
                reset_peak_memory(device)
            start, passed_over = self._courier.start(assignment)
            seat = _Seat(assignment, self._shared.runs(assignment, start), Outbox(assignment, self._shared.spec))
            seat.passed_over = passed_over
            self._seats[assignment.trial] = seat
            if not seat.is_finished:
                company.join(assignment.trial, seat.runs)
        asked = [
            assignment.trial
            for assignment in assignments
            if assignment.tells_room and not self._seats[assignment.trial].is_finished
        ]
        room = {trial: company.room(trial) for trial in asked}
        if room:
            self._post.at_once(lambda: self._send([], room))

    def _send(self, parcels: list[Parcel], room: Mapping[str, int] | None = None) -> None:
        self._courier.send(parcels, room)
        answer = take_answer()
        for name in answer.leave:
            self._seats[name].outbox.close()
        self._answers.append((answer, {parcel.message.trial: parcel.message.epoch for parcel in parcels}))
