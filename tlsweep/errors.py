"""Every exception that tlsweep raises on purpose, in one tree.

    TlsweepError
    ├── UserError            somebody can put it right: one message, exit code 2, no traceback
    │   ├── SpecError        what the spec (or an override) says
    │   ├── DataError        the labelled images
    │   ├── ModelError       the network or its weights
    │   ├── ResultsError     the folder that results go to or come from
    │   ├── ResourceError    what the machine or the cluster has
    │   └── FunctionError    the user's own fine-tuning function
    ├── SweepFailed          every trial failed: exit code 1, with the first traceback
    ├── RayLost              the private Ray of a sweep has ended: exit code 130, and the sweep can be resumed
    └── ConnectionLost       the cluster that runs a job does not answer any more: exit code 3

They cross process borders, so each is built from one string and pickles as it is.
A message gives the value, the rule and the way out.
"""

INTERRUPTED = 130
"""Exit code of a sweep that was stopped from outside, by Ctrl-C, SIGTERM, SIGHUP or the loss of its private Ray, and
that can be resumed: 128 + SIGINT, as shells have it."""


class TlsweepError(Exception):
    """Base of all errors raised by tlsweep."""


class UserError(TlsweepError):
    """A mistake in the input; the message alone tells how to mend it."""


class SpecError(UserError):
    """A spec that does not validate: field path, value, rule, what would be right."""


class DataError(UserError):
    """Images or labels that cannot be trained on."""


class ModelError(UserError):
    """A network that is unknown, or weights that do not fit it."""


class ResultsError(UserError):
    """A results folder that cannot be read or written."""


class ResourceError(UserError):
    """A trial that asks for more than there is."""


class FunctionError(UserError):
    """A fine-tuning function of the user's own that is not to be found, or does not keep to what a trial asks."""


class SweepFailed(TlsweepError):
    """Every trial of a sweep failed; the message holds the first traceback."""


class RayLost(TlsweepError):
    """The private Ray under a sweep has ended before it; everything that was reported is kept."""


class ConnectionLost(TlsweepError):
    """The cluster that runs a job does not answer any more; the job may go on."""
