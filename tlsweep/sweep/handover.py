"""A worker whose trial has ended is given the next one at once, in the answer to its report.

Tune knows two answers: go on, or stop. After a stop it takes the worker back, resets it, starts a thread in it and asks
for its first result: 45 ms in which nothing is trained (measured, ray 2.60, actors reused). So the place of a trial is
Tune's to give, and stays with the worker as long as there is somebody to train in it: the next assignment goes ahead of
the answer, by a call to the same actor, and Ray carries those out in the order in which they were made.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from tlsweep.sweep.assignment import Assignment


@dataclass(frozen=True)
class Answer:
    """What changes in a place with the answer to a report."""

    leave: tuple[str, ...] = ()
    """The trials that are not trained there any more."""
    join: tuple[Assignment, ...] = ()
    """Those that are from now on."""


class HandedOver(BaseException):
    """Ends a trial in its worker, which goes on with another one. No failure: like the SystemExit with which Tune ends
    a function from within `tune.report`, it is none that `except Exception` catches."""

    def __init__(self, following: Assignment) -> None:
        super().__init__(following.trial)
        self.following = following


def hand_over(worker: Any, answer: Answer) -> None:
    """Have a worker know what changes before it hears the answer to its report.

    Args:
        worker: The handle of the actor, one of Tune's function trainables.
        answer: What changes.
    """
    worker.execute.remote(partial(_leave, asdict(answer)))


def take_answer() -> Answer:
    """What came with the answer to a report, once."""
    if not _left:
        return Answer()
    left = _left.pop()
    return Answer(tuple(left["leave"]), tuple(map(Assignment.from_config, left["join"])))


def look_for_following() -> None:
    """Look whether another trial was handed over with the answer to a report.

    Raises:
        HandedOver: one was.
    """
    if join := take_answer().join:
        raise HandedOver(join[0])


_left: list[Mapping[str, Any]] = []
"""In a worker: what changes, from the call until the answer."""


def _leave(answer: Mapping[str, Any], _: Any) -> None:
    """Runs in the worker, in the thread that answers Tune's calls: `FunctionTrainable.execute` gives itself."""
    _left[:] = [answer]
