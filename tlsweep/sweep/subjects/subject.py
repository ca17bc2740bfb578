"""What a sweep trains, as the driver has it: networks on images, or what a function of the user's own trains."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from tlsweep.cluster.nodes import Cluster
from tlsweep.data import Task
from tlsweep.observer import Observer
from tlsweep.spec import FunctionSpec, ImageSpec, SweepSpec
from tlsweep.store import SweepFolder
from tlsweep.sweep.ledger import Ledger
from tlsweep.sweep.resuming import History

if TYPE_CHECKING:
    from tlsweep.sweep.trainable import Trains


class Subject(Protocol):
    """What a sweep trains; `prepare` before anything below it."""

    @property
    def fingerprint(self) -> str:
        """What its results depend on, beside the spec and the weights."""

    @property
    def remarks(self) -> Sequence[str]:
        """What is odd about it, in words."""

    def found_out(self, spec: SweepSpec) -> Mapping[str, Any]:
        """Fields of the spec that a launch fills in."""

    def check(self, history: History) -> Sequence[str]:
        """Refuse what is not what the sweep began with; what else has changed, in words.

        Raises:
            UserError: the sweep cannot go on with it.
        """

    def prepare(self, spec: SweepSpec, observer: Observer) -> None:
        """Check it against the spec.

        Raises:
            UserError: the first thing that would make trials fail.
        """

    def settled(self, spec: SweepSpec) -> SweepSpec:
        """The spec of a sweep that begins, with what follows from this."""

    @property
    def tasks(self) -> Sequence[Task]:
        """All images that workers read."""

    def share(
        self, spec: SweepSpec, folder: SweepFolder, cluster: Cluster, observer: Observer
    ) -> "tuple[Trains, str | None, dict[str, Any]]":
        """What trials are given, the hash of the weights that they start from, and the content of environment.json."""

    def hand_over(self, ledger: Ledger, shared: Any, cluster: Cluster, observer: Observer) -> None:
        """Make of the winner what the user gets."""


def subject_of(spec: SweepSpec, observer: Observer) -> Subject:
    """Read what a sweep trains: its images, or the user's module.

    Raises:
        UserError: it is not to be had.
    """
    # The one place where a sweep that runs asks which of the two it is.
    if isinstance(spec, FunctionSpec):
        from tlsweep.sweep.subjects.own_function import OwnFunction

        observer.phase("importing the function")
        return OwnFunction(spec)
    from tlsweep.sweep.subjects.images import Images

    assert isinstance(spec, ImageSpec)
    observer.phase("reading images")
    return Images(spec, observer)
