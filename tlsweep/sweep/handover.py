"""A worker whose trial has ended is given the next one at once, in the answer to its report.

Tune knows two answers: go on, or stop. After a stop it takes the worker back, resets it, starts a thread in it and asks
for its first result: 45 ms in which nothing is trained (measured, ray 2.60, actors reused). So the place of a trial is
Tune's to give, and stays with the worker as long as there is somebody to train in it: the next assignment goes ahead of
the answer, by a call to the same actor, and Ray carries those out in the order in which they were made.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

from tlsweep.sweep.assignment import Assignment


class HandedOver(BaseException):
    """Ends a trial in its worker, which goes on with another one. No failure: like the SystemExit with which Tune ends
    a function from within `tune.report`, it is none that `except Exception` catches."""

    def __init__(self, following: Assignment) -> None:
        super().__init__(following.trial)
        self.following = following


def hand_over(worker: Any, following: Assignment) -> None:
    """Have a worker know what to go on with before it hears the answer to its report.

    Args:
        worker: The handle of the actor, one of Tune's function trainables.
        following: What to train next.
    """
    worker.execute.remote(partial(_leave, following.to_config()))


def look_for_following() -> None:
    """Look whether another trial was handed over with the answer to a report.

    Raises:
        HandedOver: one was.
    """
    if _left:
        raise HandedOver(Assignment.from_config(_left.pop()))


_left: list[Mapping[str, Any]] = []
"""In a worker: the configuration of what to train next, from the call until the answer."""


def _leave(config: Mapping[str, Any], _: Any) -> None:
    """Runs in the worker, in the thread that answers Tune's calls: `FunctionTrainable.execute` gives itself."""
    _left[:] = [config]
