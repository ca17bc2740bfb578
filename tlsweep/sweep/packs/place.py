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
        self._answers: list[Answer] = []
        """What was answered and has had no effect yet; a thread may add to it."""

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
        """An epoch of some trials, and what is to be said of it."""
        rows = company.advance()
        started = time.perf_counter()
        self._post.put(*(self._seats[name].report(self._courier, row) for name, row in rows.items()))
        company.waited(rows, time.perf_counter() - started)
        for name in rows:
            if self._seats[name].is_finished:
                company.leave(name)

    def _change(self, company: "Company", device: str) -> None:
        """Let the answers have their effect."""
        while self._answers:
            answer = self._answers.pop(0)
            for name in answer.leave:
                del self._seats[name]
                company.leave(name)
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
        self._answers.append(answer)
