"""The one adapter between Ray and the fine-tuning function; runs in the workers."""

import errno
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import ray
from ray import tune

from tlsweep.allocation import keep_freed_memory
from tlsweep.data.federation import federation_in
from tlsweep.data.pixels.mapped import Mapped
from tlsweep.data.views import with_few_labels
from tlsweep.files import raise_storage_error, storing
from tlsweep.spec import Hyperparameters, ImageSpec, SweepSpec
from tlsweep.spec.model import NO_WEIGHTS, WEIGHTS
from tlsweep.store import Location, StoredCheckpoint, SweepFolder
from tlsweep.store.files import write_whole
from tlsweep.sweep.assignment import Assignment, Epoch, Message, assignments_in, to_result, trained_with
from tlsweep.sweep.faults import TrialFailed
from tlsweep.sweep.handover import HandedOver, look_for_following
from tlsweep.sweep.outbox import Outbox, Parcel, Post, messages

if TYPE_CHECKING:
    from tlsweep.training import Compute, Transfer
    from tlsweep.training.frozen import FeatureSource
    from tlsweep.training.reports import Snapshot
    from tlsweep.training.runs import Runs

    Receiver = Callable[[Epoch, Snapshot], None]


class Trains(Protocol):
    """What all trials of a sweep have in common, and how a worker trains what it is given."""

    @property
    def spec(self) -> SweepSpec: ...

    @property
    def folder(self) -> Location: ...

    @property
    def gpus(self) -> float: ...

    def occupy(self, first: Sequence[Assignment]) -> None:
        """Train in a place what its worker is given, first these, until there is nothing more for it."""


class TrainsOne(Trains, Protocol):
    """What trains one trial after another."""

    def train(self, assignment: Assignment, start: bytes | None, report: "Receiver") -> None:
        """Train a trial from its beginning, or from the checkpoint `start`.

        Args:
            assignment: Which, and with which values.
            start: A checkpoint of this trial, or of another one.
            report: Receives each epoch, and what copies the state; it ends the trial by raising.
        """


@dataclass(frozen=True)
class Shared:
    """What all trials of a sweep over images have in common; small: the large things are references into the object
    store."""

    spec: ImageSpec
    folder: Location
    task: Any
    """ObjectRef of the Task: its arrays are mapped into each worker, not copied."""
    weights: Mapping[str, Any]
    """ObjectRefs of the Weights that trials may start from, by name; of None for random ones."""
    gpus: float
    """GPUs of one trial."""
    heads: Mapping[tuple[str, int | None], Any] = field(default_factory=dict)
    """ObjectRefs of what the heads of a trial's runs begin with, by the name of its weights and the labels of each
    class; missing where that is torch's own initialisation."""

    def base_weights(self, arm: str, hyperparameters: Mapping[str, Any]) -> Any:
        """What a trial starts from. A copy of another member goes on from that one's, so the values in force decide."""
        name = self._weights_name(arm, hyperparameters)
        return fetch(self.weights[name]) if name in self.weights else None

    def occupy(self, first: Sequence[Assignment]) -> None:
        """Fine-tune networks, side by side where they can be computed together (`Trains.occupy`)."""
        from tlsweep.sweep.packs.place import Place

        Place(self).occupy(first)

    def runs(self, assignment: Assignment, start: bytes | None) -> "Runs":
        """The networks of a trial, new or as in a checkpoint."""
        from tlsweep.training.runs import Runs

        hyperparameters = trained_with(assignment.hyperparameters)
        runs = Runs(
            hyperparameters,
            self.spec.settings_in(assignment.arm),
            self.transfer(assignment.arm, assignment.hyperparameters, assignment.seed),
            self.compute(assignment.micro_batches),
            _kept_features(hyperparameters),
        )
        if start is not None:
            runs.restore(start)
        return runs

    def _weights_name(self, arm: str, hyperparameters: Mapping[str, Any]) -> str:
        # A trial that an earlier version began has no name of them.
        return str(
            hyperparameters.get(WEIGHTS) or (next(iter(self.weights)) if self.spec.arm(arm).pretrained else NO_WEIGHTS)
        )

    def beginning(self, arm: str, hyperparameters: Mapping[str, Any]) -> tuple[str, int | None]:
        """What the heads of a trial follow from: the key to `heads`."""
        return self._weights_name(arm, hyperparameters), self.spec.arm(arm).labels_per_class

    def arm_task(self, arm: str) -> Any:
        """The images as the trials of an arm see them."""
        task = _with_labels(self.task, self.spec.arm(arm).labels_per_class, self.spec.seed)
        federation = federation_in(self.spec, arm)
        return task if federation is None else replace(task, federation=federation)

    def compute(self, micro_batches: Mapping[str, int]) -> "Compute":
        """What a trial has in this process; `micro_batches` are the images that devices were found to take, by name."""
        from tlsweep.training import Compute, choose_device, device_name

        device = choose_device(device_for(self.gpus))
        # Threads are named for each trial: a worker that is used again keeps what torch.set_num_threads said last
        # (measured over three trials in one process), and Ray exports OMP_NUM_THREADS=1 to one that has a single CPU.
        return Compute(device, self.spec.resources.threads, micro_batches.get(device_name(device)))

    def transfer(self, arm: str, hyperparameters: Mapping[str, Any], seed: int) -> "Transfer":
        """What a trial of an arm trains, with these values in force."""
        from tlsweep.training import Transfer

        weights = self.base_weights(arm, hyperparameters)
        random = self.spec.arm(arm).random_head
        heads = None if random else self.heads.get(self.beginning(arm, hyperparameters))
        begin_with = () if heads is None else fetch(heads)
        return Transfer(self.arm_task(arm), self.spec.model, weights, seed, begin_with)


def device_for(gpus: float) -> str:
    """Choose `cpu` for a worker without a GPU of its own where others use some; else what the machine has.

    Ray hides no GPU from a worker that asked for none (ray 2.60, _private/utils.py).
    """
    import torch

    return "cpu" if not gpus and torch.cuda.is_available() else "auto"


_fetched: dict[Any, Any] = {}


def fetch(reference: Any) -> Any:
    """The object behind a reference, looked up once for each process: a reused worker finds it at hand."""
    if reference not in _fetched:
        _fetched[reference] = ray.get(reference)
    return _fetched[reference]


@cache
def _with_labels(reference: Any, labels_per_class: int | None, seed: int) -> Any:
    """A view of the task, made once for each process."""
    task = fetch(reference)
    if isinstance(task.images, Mapped):
        task.images.open(log)  # which may take minutes, where this node has no file of them yet
    return task if labels_per_class is None else with_few_labels(task, labels_per_class, seed)


def make_trainable(shared: Trains) -> Callable[[dict[str, Any]], None]:
    """The function that Tune runs. Its name is what the Ray dashboard shows."""

    def tlsweep_trial(config: dict[str, Any]) -> None:
        keep_freed_memory()
        try:
            shared.occupy(assignments_in(config))
        # Not BaseException: by SystemExit Tune ends a function from within tune.report (train/_internal/session.py).
        except Exception as error:
            raise TrialFailed.of(error) from None

    return tlsweep_trial


def train_in_turn(first: Assignment, shared: "TrainsOne") -> None:
    """Train a trial, and those that this worker is given after it."""
    following: Assignment | None = first
    while following is not None:
        try:
            run_assignment(following, shared)
            following = None
        except HandedOver as handed_over:
            following = handed_over.following


def run_assignment(assignment: Assignment, shared: "TrainsOne") -> None:
    """Train one trial, from its beginning or from its last sound checkpoint, and report its epochs to Tune."""
    courier = Courier(shared.folder)
    start, passed_over = courier.start(assignment)

    def send(parcels: Sequence[Parcel]) -> None:
        courier.send(parcels)
        look_for_following()

    post, outbox = Post(send), Outbox(assignment, shared.spec)

    def report(epoch: Epoch, snapshot: "Snapshot") -> None:
        told, passed_over[:] = passed_over.copy(), []  # once, with the first epoch
        post.put((outbox, courier.message(assignment, epoch, told), snapshot))

    try:
        shared.train(assignment, start, report)
    except Exception:
        post.flush()  # what it did before it failed
        raise
    post.flush()


class Courier:
    """Goes between a worker and the rest of the sweep: its files, and Tune."""

    def __init__(self, folder: Location) -> None:
        self._folder = SweepFolder(folder)
        self._node = ray.get_runtime_context().get_node_id()

    def start(self, assignment: Assignment) -> tuple[bytes | None, list[dict[str, str]]]:
        """The checkpoint that a trial goes on from, and what was passed over for it; see `last_sound`."""
        start, passed_over = last_sound(self._folder, assignment.trail)
        log(f"{assignment.trial} begins" if start is None else f"{assignment.trial} goes on")
        return start, passed_over

    def message(self, assignment: Assignment, epoch: Epoch, passed_over: Sequence[Mapping[str, str]]) -> Message:
        """What is said of an epoch, without its checkpoint."""
        log(f"{assignment.trial}: epoch {epoch.number}, {epoch.told}")
        return Message(
            trial=assignment.trial,
            epoch=epoch.number,
            node=self._node,
            folds=epoch.folds,
            by_client=epoch.by_client,
            figures=epoch.figures,
            own=epoch.own,
            passed_over=passed_over,
        )

    def send(self, parcels: Sequence[Parcel], room: Mapping[str, int] | None = None) -> None:
        """Write checkpoints, and say what there is to say; it returns with the answer.

        A checkpoint does not go Tune's way, which would copy it in the thread that trains (50 to 58 ms for 100 MB,
        measured; train/_internal/storage.py).
        """
        tune.report(to_result(messages(parcels, partial(write_checkpoint, self._folder)), room))


def _kept_features(hyperparameters: Hyperparameters) -> "FeatureSource | None":
    """What frozen layers give, from the cache of this machine, where the first trial that needs it leaves it."""
    if hyperparameters.freeze == "nothing":
        return None
    from tlsweep.pretrained.features import KeptFeatures, feature_cache

    return KeptFeatures(feature_cache(), tell=log)


def log(line: str) -> None:
    """Print to the worker's log, which the Ray dashboard shows: a worker has a name, and trains trial after trial."""
    print(line, flush=True)


_NO_FILE = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP)
"""What a checkpoint gives that is not there; all else a storage that refuses."""


def last_sound(
    folder: SweepFolder, trail: Sequence[StoredCheckpoint | Sequence[Any]]
) -> tuple[bytes | None, list[dict[str, str]]]:
    """The newest checkpoint that is what was written; and which ones were passed over for it, and why.

    Raises:
        StorageError: one cannot be read, and may be sound.
    """
    passed_over: list[dict[str, str]] = []
    for path, digest, _ in reversed(trail):
        try:
            content = folder.read_checkpoint(path)
        except OSError as error:
            if error.errno not in _NO_FILE:  # it may be sound
                raise_storage_error(error, str(folder.path / path))
            reason = f"cannot be read ({error.strerror})"
        else:
            if sha256(content).hexdigest() == digest:
                return content, passed_over
            reason = f"is damaged ({len(content)} bytes do not give the digest that was written)"
        passed_over.append({"path": path, "reason": reason})
    return None, passed_over


def write_checkpoint(folder: SweepFolder, assignment: Assignment, epoch: int, content: bytes) -> dict[str, str]:
    """Write a checkpoint, whole or not at all; what the message says of it.

    Not synced: one that a crash of the machine leaves damaged is known by its digest, and the one before it is used.

    Raises:
        StorageError: it cannot be written; no fault of the trial's, so the sweep has to stop.
    """
    digest = sha256(content).hexdigest()
    checkpoint = folder.checkpoint(assignment.trial, assignment.generation, epoch, digest)
    path = folder.path / checkpoint
    if isinstance(path, Path):
        with storing(path):
            path.parent.mkdir(exist_ok=True)
    write_whole(path, content, folders=False)
    return {"checkpoint": checkpoint, "digest": digest}
