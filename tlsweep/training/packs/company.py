"""Trials that one process trains side by side."""

import math
import time
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tlsweep.training.devices import device_name, peak_memory
from tlsweep.training.figures import TrainingFigures
from tlsweep.training.metrics import FIGURES, Evaluation
from tlsweep.training.packs.packing import MOST, MOST_BYTES, Packs
from tlsweep.training.packs.validating import validate
from tlsweep.training.reports import ClientReport, EpochReport
from tlsweep.training.runs import Runs
from tlsweep.training.summary import summarise
from tlsweep.training.trainer import Trainer


@dataclass
class _Member:
    """A trial, and what its next epoch needs to know."""

    runs: Runs
    alike: Hashable = None
    """Equal for trials that do their next epoch together; None before that is known."""
    held: bool = False
    """Whether it must not go on yet."""
    waited_seconds: float = 0.0
    """What its receiver took with the report before."""


class Company:
    """Trials take turns, an epoch each: together those that can be, whose numbers do not depend on that."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._members: dict[str, _Member] = {}
        """By name, in the order of their turns."""
        self._packs = Packs()
        self._preparing: dict[Trainer, float] = {}
        """Seconds that it took each to be ready for its next epoch."""

    def join(self, name: str, runs: Runs) -> None:
        """Take in a trial that is at the end of an epoch, or new."""
        self._members[name] = _Member(runs)

    def leave(self, name: str) -> None:
        """Let a trial go, if it is there."""
        if name in self._members:
            trainers = self._members.pop(name).runs.trainers
            self._packs.forget(trainers)
            for trainer in trainers:
                self._preparing.pop(trainer, None)

    def room(self, name: str) -> int:
        """With how many trials this one would do its next epoch together, if they were like it: 1 where it is alone."""
        runs = self._members[name].runs
        self._prepare(self._members[name])
        if any(self._packs.stackable(trainer) is None for trainer in runs.trainers):
            return 1
        first = runs.trainers[0]
        # Once its layers thaw, each of them takes turns with all others.
        if first.hyperparameters.freeze == "gradual":
            return 1
        most = first.settings.pack if isinstance(first.settings.pack, int) else MOST
        return max(1, min(most // len(runs.trainers), MOST_BYTES // _size(runs)))

    @property
    def going_on(self) -> list[str]:
        """Those that may do their next epoch."""
        return [name for name, member in self._members.items() if not member.held]

    def hold(self, name: str) -> None:
        """Let a trial wait until it is released."""
        self._members[name].held = True

    def release(self, name: str) -> None:
        """Let a trial go on."""
        self._members[name].held = False

    def advance(self) -> dict[str, EpochReport]:
        """An epoch of the trial whose turn it is, and of those that can do it with that one; some may go on."""
        members = {name: self._members[name] for name in self.going_on}
        for member in members.values():
            self._prepare(member)
        first = next(iter(members.values()))
        group = {name: member for name, member in members.items() if member.alike == first.alike}
        rows = self._rows([trainer for member in group.values() for trainer in member.runs.trainers])
        reports: dict[str, EpochReport] = {}
        for name, member in group.items():
            trainers = member.runs.trainers
            own = [rows[trainer] for trainer in trainers]
            reports[name] = summarise(own, member.runs.task, member.waited_seconds)
            self._members[name] = self._members.pop(name)
            member.alike, member.waited_seconds = None, 0.0
        return reports

    def waited(self, names: Iterable[str], seconds: float) -> None:
        """Note how long the reports of some took together."""
        there = [self._members[name] for name in names if name in self._members]
        for member in there:
            member.waited_seconds = seconds / len(there)

    def _prepare(self, member: _Member) -> None:
        """Have a trial ready for its next epoch."""
        if member.alike is not None:
            return
        trainers = member.runs.trainers
        for trainer in trainers:
            started = time.perf_counter()
            trainer.begin_epoch()
            # What features of frozen layers take is the time of the trial that needs them first.
            self._preparing[trainer] = time.perf_counter() - started
        found = [self._packs.stackable(trainer) for trainer in trainers]
        member.alike = tuple(trainer if how is None else how.key for trainer, how in zip(trainers, found, strict=True))

    def _rows(self, trainers: Sequence[Trainer]) -> dict[Trainer, EpochReport]:
        """An epoch of each trainer."""
        rows: dict[Trainer, EpochReport] = {}
        for group in self._packs.groups(trainers):
            started = time.perf_counter()
            figures = dict(zip(group.trainers, group.train_epoch(), strict=True))
            trained = time.perf_counter()
            # A network that diverged has nothing to say, and the receiver of the report will end the trial.
            validations = validate([trainer for trainer in group.trainers if math.isfinite(figures[trainer].loss)])
            evaluated = time.perf_counter()
            # Each has its share of the time that they took together.
            seconds = (trained - started) / len(figures)
            eval_seconds = dict.fromkeys(validations, (evaluated - trained) / max(1, len(validations)))
            for trainer, training in figures.items():
                took = (seconds + self._preparing.pop(trainer), eval_seconds.get(trainer, 0.0))
                rows[trainer] = _row(trainer, training, validations.get(trainer), took, self._device)
        return rows


def _size(runs: Runs) -> int:
    """Bytes of a trial's networks."""
    modules = [trainer.module for trainer in runs.trainers]
    return sum(tensor.nbytes for module in modules for tensor in (*module.parameters(), *module.buffers()))


def _row(
    trainer: Trainer, training: TrainingFigures, validation: Evaluation | None, took: tuple[float, float], device: str
) -> EpochReport:
    """How an epoch went, of which training and evaluation took so many seconds."""
    seconds, eval_seconds = took
    clients = trainer.by_client(validation)
    figures: dict[str, Any] = {f"val_{name}": getattr(validation, name, math.nan) for name in FIGURES}
    return EpochReport(
        epoch=trainer.epoch,
        samples=trainer.samples,
        step=trainer.step,
        scheduled_lr=training.scheduled_lr,
        scheduled_batch_size=trainer.scheduled_batch_size,
        micro_batch=min(trainer.micro_batch.limit or trainer.scheduled_batch_size, trainer.scheduled_batch_size),
        train_loss=training.loss,
        train_accuracy=training.accuracy,
        **figures,
        noise_scale=trainer.noise.value if trainer.noise is not None else math.nan,
        train_seconds=seconds - training.data_seconds,
        eval_seconds=eval_seconds,
        wait_seconds=training.data_seconds,
        samples_per_second=training.samples / seconds,
        device_memory=peak_memory(device),
        device=device_name(device),
        val_worst_client=_worst(clients),
        by_client=clients,
    )


def _worst(clients: Sequence[ClientReport]) -> float | None:
    """The least accuracy of a client; None without a federation, NaN where it diverged."""
    known = [client.val_accuracy for client in clients if client.val_accuracy is not None]
    return min(known, default=math.nan) if clients else None
