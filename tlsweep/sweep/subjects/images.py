"""Images, and the networks that are fine-tuned on them, as what a sweep trains."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tlsweep.cluster.nodes import Cluster
from tlsweep.data import Task
from tlsweep.observer import Observer
from tlsweep.spec import ImageSpec, SweepSpec
from tlsweep.spec.search.study import HYPERRULE_ARM
from tlsweep.store import SweepFolder
from tlsweep.sweep.heads import starts
from tlsweep.sweep.ledger import Ledger
from tlsweep.sweep.prepare import Prepared, clients_by_arm, prepare, read_images, settled, share
from tlsweep.sweep.resuming import History

if TYPE_CHECKING:
    from tlsweep.sweep.trainable import Trains


class Images:
    """Networks that are fine-tuned on images (`tlsweep.sweep.subjects.Subject`)."""

    def __init__(self, spec: ImageSpec, observer: Observer) -> None:
        task = read_images(spec, observer)
        self.fingerprint, self.remarks = task.fingerprint, task.remarks
        self._task = task
        self._prepared: Prepared | None = None

    def found_out(self, spec: SweepSpec) -> Mapping[str, Any]:
        # Kept in the spec, so that its arms are known without reading images, also to a resume and to readers.
        return {"train_images": self._task.size("train") if HYPERRULE_ARM in spec.controls else None}

    def check(self, history: History) -> Sequence[str]:
        history.check_data(self._task)
        return ()

    def prepare(self, spec: SweepSpec, observer: Observer) -> None:
        assert isinstance(spec, ImageSpec)
        self._prepared = prepare(spec, self._task, observer)

    def settled(self, spec: SweepSpec) -> SweepSpec:
        assert isinstance(spec, ImageSpec)
        return settled(spec, self._known.task)

    @property
    def tasks(self) -> Sequence[Task]:
        return self._known.tasks

    def share(
        self, spec: SweepSpec, folder: SweepFolder, cluster: Cluster, observer: Observer
    ) -> "tuple[Trains, str | None, dict[str, Any]]":
        from tlsweep.sweep.environment import environment, weights_hash

        assert isinstance(spec, ImageSpec)
        shared, weights, beginnings = share(spec, folder, self._known, cluster, observer)
        task = self._known.task
        facts = environment(task, cluster, weights, beginnings, starts(shared), clients_by_arm(spec, task))
        return shared, weights_hash(weights), facts

    def hand_over(self, ledger: Ledger, shared: Any, cluster: Cluster, observer: Observer) -> None:
        from tlsweep.sweep.winner import evaluate

        evaluate(ledger, shared, cluster, observer)

    @property
    def _known(self) -> Prepared:
        assert self._prepared is not None
        return self._prepared
