"""What a fine-tuning function of the user's own is given: `tlsweep.Trial`."""

import math
import re
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from tlsweep.errors import FunctionError
from tlsweep.functions.rates import apply_lr
from tlsweep.functions.states import State, copied, dump_state, load_state
from tlsweep.functions.values import Values
from tlsweep.spec import derive_seed
from tlsweep.text import shortened
from tlsweep.training.devices import device_name, peak_memory, seed_generators
from tlsweep.training.reports import Copy, Snapshot

Sharing = Callable[[str, Callable[[], Any]], Any]


class FunctionReport(NamedTuple):
    """One epoch of a function: what it reported, and what was measured around it."""

    epoch: int
    """Epochs completed, from 1."""
    metrics: Mapping[str, float]
    train_seconds: float
    """From the beginning of the turn to the report: training and validation."""
    wait_seconds: float
    """For the receiver of the report before."""
    device_memory: int
    """Peak of the memory allocated on the device since the trial started, in bytes; 0 on a CPU."""
    device: str
    """Name of the device, such as `cpu` or `NVIDIA H200`."""


Receiver = Callable[[FunctionReport, Snapshot], None]
"""Receives the reports. It ends the trial by raising; the exception passes through the function."""


@dataclass(frozen=True)
class Terms:
    """What a trial is held to."""

    function: str
    """Its name, for messages."""
    epochs: int
    """The last epoch."""
    metric: str
    """What the sweep compares: each report has it."""
    taken: Collection[str] = ()
    """Names that no metric may have, as columns of the tables that mean something else."""
    processes: int = 1
    """In how many it runs, side by side."""


class Place(NamedTuple):
    """Which of the processes of a trial this is."""

    rank: int = 0
    processes: int = 1


ALONE = Place()


class Trial:
    """One trial: read `values`, `restore` a state, go through `epochs`, `report` each."""

    def __init__(
        self,
        terms: Terms,
        values: Mapping[str, Any],
        seed: int,
        device: str,
        *,
        receive: Receiver,
        checkpoint: bytes | None,
        share: Sharing,
        log: Callable[[str], None],
        place: Place = ALONE,
    ) -> None:
        self.values = Values(values)
        """The hyperparameters in force: `trial.values.lr`."""
        self.seed = seed
        """The trial's own; all that is drawn at random should follow from it, or from `generator`."""
        self.device = device
        """What to move networks and batches to: `cpu`, `cuda`, `mps`."""
        self.rank, self.processes = place
        """This process's number, from 0, and how many the trial has (`resources.processes`), which torch.distributed
        has joined. All call the function; what the first of them reports counts, and its state is kept."""
        self._terms, self._receive = terms, receive
        self._share, self._log = share, log
        self._start = None if checkpoint is None else load_state(checkpoint)
        self._restored = self._start is None
        self._turns = _Turns(0 if self._start is None else self._start.epoch)
        self._over: BaseException | None = None
        self._generators: dict[tuple[str, int], torch.Generator] = {}

    def __repr__(self) -> str:
        return f"Trial({self._terms.function}, {self.values!r}, epoch {self._turns.epoch} of {self._terms.epochs})"

    def restore(self) -> Any:
        """What `state` gave in the epoch from which this trial goes on, its tensors on the CPU; None at the beginning.

        It may be another trial's, with other hyperparameters: call `apply_lr` after it.
        """
        self._restored = True
        return None if self._start is None else self._start.content

    def apply_lr(self, optimizer: Optimizer, schedule: LRScheduler | None = None) -> None:
        """Make `values.lr` the learning rate, whatever the optimizer remembers from a state that it has loaded.

        Args:
            optimizer: Each of its groups gets `values.lr` times its `lr_scale` (1 where it has none), as timm has it.
            schedule: Of torch. Has loaded its state, too: it goes on from where it stands on its curve, at the new
                rate; the curves of `OneCycleLR` and `CyclicLR` become as many times as high as the rate has.

        Raises:
            FunctionError: the schedule is none that torch has.
        """
        apply_lr(self.values.lr, optimizer, schedule, f"trial = {self._terms.function}")

    def epochs(self) -> Iterator[int]:
        """The numbers of the epochs to train, from 1 or from where the trial stands.

        At the beginning of each, the global generators of torch, numpy and Python are seeded from `seed` and its
        number: a function goes on after a kill as if nothing had happened.

        Raises:
            FunctionError: an epoch was not reported, or there is a state and `restore` was not called.
        """
        if not self._restored:
            raise FunctionError(
                f"trial = {self._terms.function}: trial.epochs() was called before trial.restore(), and there is a "
                f"state of epoch {self._turns.epoch} to go on from; load what restore() returns first"
            )
        while self._turns.epoch < self._terms.epochs:
            self.end_if_over()
            number = self._turns.epoch + 1
            self.seed_generators(number)
            self._turns.open = number
            self._turns.began = time.perf_counter()
            yield number
            self.end_if_over()
            if self._turns.epoch < number:
                raise FunctionError(
                    f"trial = {self._terms.function}: epoch {number} ended without a report; call trial.report(…) once "
                    "in each turn of trial.epochs()"
                )

    def report(self, *, state: Mapping[str, Any] | Callable[[], Any] | None = None, **metrics: float) -> None:
        """Say how an epoch went. Does not return where the sweep ends the trial.

        Args:
            state: What `restore` will give, without which nothing goes on: tensors, numbers, text, lists and dicts. A
                function is called only where the state is kept, before this returns.
            metrics: Numbers of any names; what `search.metric` compares must be among them.

        Raises:
            FunctionError: it is not the time for a report, a metric is missing or no number, or the state could not be
                read back.
        """
        self.end_if_over()
        try:
            self._report(state, metrics)
        except BaseException as error:
            self._over = error
            raise

    def _report(self, state: Mapping[str, Any] | Callable[[], Any] | None, metrics: Mapping[str, float]) -> None:
        turns, said = self._turns, f"trial = {self._terms.function}: trial.report(…)"
        if state is None:
            raise FunctionError(
                f"{said} has no state, from which the trial would go on; give it one, such as state=lambda: "
                '{"model": model.state_dict(), "optimizer": optimizer.state_dict()}'
            )
        if turns.open is None:
            when = f"epoch {turns.epoch} is reported already" if turns.epoch else "no epoch has begun"
            raise FunctionError(f"{said}: {when}; call it once in each turn of trial.epochs()")
        figures = {name: self._figure(name, value) for name, value in metrics.items()}
        if self._terms.metric not in figures:
            has = ", ".join(figures) or "none"
            raise FunctionError(f"{said} lacks {self._terms.metric}, which search.metric compares; it has {has}")
        now = time.perf_counter()
        memory, name = peak_memory(self.device), device_name(self.device)
        row = FunctionReport(turns.open, figures, now - turns.began, turns.waited, memory, name)
        turns.epoch, turns.open = turns.open, None
        self._receive(row, partial(_snapshot, row.epoch, state))
        turns.waited = time.perf_counter() - now

    def generator(self, name: str) -> torch.Generator:
        """A generator (on the CPU) of one's own for each random choice, such as `order`: it follows from `seed`, `name`
        and the epoch, so that what is drawn in an epoch is the same after a kill. Ask in each epoch anew."""
        key = (str(name), self._turns.open or 0)
        if key not in self._generators:
            drawn = torch.Generator()
            drawn.manual_seed(derive_seed(self.seed, "function", *key))
            self._generators[key] = drawn
        return self._generators[key]

    def log(self, line: object) -> None:
        """Write a line to the worker's log, which the Ray dashboard shows."""
        self._log(str(line))

    def share(self, name: str, make: Callable[[], Any]) -> Any:
        """What `make` gives: called once on each machine, and mapped into the memory of all trials there.

        Args:
            name: Of what is shared, the same in all trials; it must not depend on the trial's values or seed.
            make: Makes tensors, numbers, text, lists and dicts of these.
        """
        return self._share(name, make)

    def seed_generators(self, epoch: int) -> None:
        """Seed the global generators for an epoch; 0: before the first."""
        import random

        import numpy as np

        # What processes drop out or augment differs between them, so that they are more than one of them again.
        own = ("process", self.rank) if self.rank else ()
        seed = derive_seed(self.seed, "function", epoch, *own)
        seed_generators(seed, self.device)
        # Old code draws from the global ones; numpy takes 32 bits.
        random.seed(seed)
        np.random.seed(seed % 2**32)

    def end_if_over(self) -> None:
        """Raise again what ended the trial, which a bare `except:` of the function may have taken."""
        if self._over is not None:
            raise self._over

    def forget_end(self) -> None:
        """Let go of what ended the trial: its traceback holds the function's frame, with the network in it, and that
        holds this trial, until the garbage collector comes round."""
        self._over = None

    def refuse_several(self, what: str) -> None:
        """Raises:
        FunctionError: the trial is several processes, and `what` trains in one.
        """
        if self.processes > 1:
            raise FunctionError(
                f"trial = {self._terms.function}: {what} trains in one process, and resources.processes = "
                f"{self.processes}; write 1"
            )

    @property
    def reached(self) -> int:
        """Epochs completed."""
        return self._turns.epoch

    @property
    def last_epoch(self) -> int:
        """The number of the last epoch that `epochs` may give: what a schedule is made for."""
        return self._terms.epochs

    def _figure(self, name: str, value: Any) -> float:
        said = f"trial = {self._terms.function}: trial.report({shortened(name)}=…)"
        if not name.isidentifier():
            raise FunctionError(f"{said}: a metric's name has letters, digits and _ only; take another one")
        if name in self._terms.taken:
            raise FunctionError(f"{said}: every sweep has a column {name} that means something else; take another name")
        number = as_number(value)
        if number is None:
            raise FunctionError(f"{said} is {shortened(repr(value))}; a metric is one number")
        return number


def as_name(name: str) -> str:
    """A name for a metric, as near to what somebody else calls it as may be."""
    return re.sub(r"\W", "_", name)


def as_number(value: object) -> float | None:
    """A metric as a function gives it: a number, also one of numpy or a tensor of one element; None: it is none."""
    if isinstance(value, bool | str | bytes):
        return None
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, RuntimeError, OverflowError):
        return None


@dataclass
class _Turns:
    """How far a function is."""

    epoch: int
    """Epochs reported."""
    open: int | None = None
    """The epoch that is trained now."""
    began: float = field(default=math.nan)
    waited: float = 0.0


def _snapshot(epoch: int, state: Mapping[str, Any] | Callable[[], Any]) -> Copy:
    """Copy the state now; make a checkpoint of it later."""
    content = state() if callable(state) else state
    if not isinstance(content, Mapping):
        raise FunctionError(
            f"trial.report(state=…): must be a mapping, or a function that returns one, such as lambda: "
            f'{{"model": model.state_dict()}}, not {shortened(repr(content))}'
        )
    kept = State(epoch, copied(content))
    return lambda: dump_state(kept)
