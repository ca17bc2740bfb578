"""Tells whose fault it is that a trial failed, and what follows: as data, decided by the exception's class."""

import re
import textwrap
import traceback
from typing import Literal

from tlsweep.errors import DataError, FunctionError, ModelError, ResourceError, SpecError
from tlsweep.files import StorageError

Fault = Literal["user", "mistake", "storage"]
"""What is done about it depends on whose it is:

    user      its own code raised, or its process died: another try may go well
    mistake   spec, data, model or resources do not fit together: another try would only bring it back
    storage   a file of ours could not be written or read: no trial can help it, and the sweep has to stop
"""

Action = Literal["retry", "end", "stop"]
"""What becomes of a trial that failed: it is tried again, it has failed for good, or it stops with the whole sweep."""


class TrialFailed(Exception):
    """What a worker raises so that Tune sees a failure: fault and traceback as data, whatever it was that failed.

    The exception itself stays where it was raised: one of a user's own class need not be known to the driver.
    """

    def __init__(self, fault: Fault, error: str) -> None:
        super().__init__(fault, error)  # the arguments with which it is unpickled
        self.fault: Fault = fault
        self.error = error
        """The traceback, as Python prints it."""

    def __str__(self) -> str:
        return self.error

    @classmethod
    def of(cls, error: Exception) -> "TrialFailed":
        """Tell of an exception that left a trial's function."""
        # What a function of the user's own does wrong is said in a line, and where it does, too.
        said = f"{error}\n" if isinstance(error, FunctionError) else "".join(traceback.format_exception(error))
        return cls(whose_fault(error), said)


def whose_fault(cause: object) -> Fault:
    """The fault that an exception stands for. A file that the user's own code opens is not ours."""
    if isinstance(cause, StorageError):
        return "storage"
    return (
        "mistake" if isinstance(cause, SpecError | DataError | ModelError | ResourceError | FunctionError) else "user"
    )


def what_follows(fault: Fault, failures: int, allowed: int, *, sweep_stops: bool) -> Action:
    """Decide on a trial that failed.

    Args:
        fault: Whose it is.
        failures: Those of the trial that count, this one included.
        allowed: How many it may have (`faults.max_failures`).
        sweep_stops: Whether the sweep is about to stop and can be resumed: that may be why the trial failed.
    """
    if sweep_stops:
        return "stop"
    return "end" if fault == "mistake" or failures > allowed else "retry"


_FRAME = re.compile(r'  File ".*", line \d+')


def reason_of(error: str) -> str:
    """What a traceback says in the end: the first line of the last exception, whose message may have several."""
    lines = [line for line in error.strip().splitlines() if line.strip()]
    frames = [at for at, line in enumerate(lines) if _FRAME.match(line)]
    if not frames:
        return lines[-1] if lines else "unknown"
    # Behind the last frame its source lines are indented, and notes and messages mostly are not.
    return next((line for line in lines[frames[-1] + 1 :] if not line.startswith(" ")), lines[-1])


def shortened(reason: str) -> str:
    """A reason that fits into a line of a report."""
    return textwrap.shorten(reason, 200, placeholder=" …")
