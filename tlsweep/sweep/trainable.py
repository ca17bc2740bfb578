"""The one adapter between Ray and the fine-tuning function; runs in the workers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from hashlib import sha256
from typing import Any

import ray
from ray import tune

from tlsweep.data.views import with_few_labels
from tlsweep.spec import SweepSpec
from tlsweep.spec.model import NO_WEIGHTS, WEIGHTS
from tlsweep.store import Checkpoint, Place, SweepFolder
from tlsweep.store.files import storage_fault, write_whole
from tlsweep.sweep.assignment import Assignment, trained_with


@dataclass(frozen=True)
class Shared:
    """What all trials of a sweep have in common; small: the large things are references into the object store."""

    spec: SweepSpec
    folder: Place
    task: Any
    """ObjectRef of the Task: its arrays are mapped into each worker, not copied."""
    weights: Mapping[str, Any]
    """ObjectRefs of the Weights that trials may start from, by name; of None for random ones."""
    gpus: float
    """GPUs of one trial."""

    def base_weights(self, arm: str, hyperparameters: Mapping[str, Any]) -> Any:
        """What a trial starts from. A copy of another member goes on from that one's, so the values in force decide."""
        # A trial that an earlier version began has no name of them.
        name = hyperparameters.get(WEIGHTS) or (
            next(iter(self.weights)) if self.spec.arm(arm).pretrained else NO_WEIGHTS
        )
        return fetch(self.weights[name]) if name in self.weights else None

    def arm_task(self, arm: str) -> Any:
        """The images as the trials of an arm see them."""
        return _with_labels(self.task, self.spec.arm(arm).labels_per_class, self.spec.seed)

    @property
    def device(self) -> str:
        return device_for(self.gpus)

    @property
    def threads(self) -> int:
        return max(1, int(self.spec.resources.cpus))


def device_for(gpus: float) -> str:
    """Without a GPU of its own a worker must not take one that others use; where there are none, what the machine has.

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
    return task if labels_per_class is None else with_few_labels(task, labels_per_class, seed)


def make_trainable(shared: Shared) -> Callable[[dict[str, Any]], None]:
    """The function that Tune runs. Its name is what the Ray dashboard shows."""

    def tlsweep_trial(config: dict[str, Any]) -> None:
        run_assignment(Assignment(**config), shared)

    return tlsweep_trial


def run_assignment(assignment: Assignment, shared: Shared) -> None:
    """Train one trial, from its beginning or from its last sound checkpoint, and report each epoch to Tune."""
    from tlsweep.training import EpochReport, Snapshot, choose_device, device_name, finetune

    folder, node = SweepFolder(shared.folder), ray.get_runtime_context().get_node_id()
    start, passed_over = last_sound(folder, assignment.trail)
    _log(f"{assignment.trial} begins" if start is None else f"{assignment.trial} goes on")

    def report(epoch: EpochReport, snapshot: Snapshot) -> None:
        row = {"trial": assignment.trial, "node": node, **asdict(epoch)}
        row["scheduled_lr"] = row.pop("lr")
        if passed_over:
            row["passed_over"] = passed_over.copy()
            passed_over.clear()
        _log(f"{assignment.trial}: epoch {epoch.epoch}, validation accuracy {epoch.val_accuracy:.4f}")
        tune.report(row | write_checkpoint(folder, assignment, epoch.epoch, snapshot()))

    device = choose_device(shared.device)
    finetune(
        trained_with(assignment.hyperparameters),
        shared.spec.train.settings(),
        shared.arm_task(assignment.arm),
        shared.spec.model,
        weights=shared.base_weights(assignment.arm, assignment.hyperparameters),
        seed=assignment.seed,
        report=report,
        resume=start,
        device=device,
        threads=shared.threads,
        micro_batch=assignment.micro_batches.get(device_name(device)),
    )


def _log(line: str) -> None:
    """For the worker's log in the Ray dashboard: a worker has a name, and trains one trial after another."""
    print(line, flush=True)


def last_sound(
    folder: SweepFolder, trail: Sequence[Checkpoint | Sequence[Any]]
) -> tuple[bytes | None, list[dict[str, str]]]:
    """The newest checkpoint that is what was written; and which ones were passed over for it, and why."""
    passed_over: list[dict[str, str]] = []
    for path, digest, _ in reversed(trail):
        try:
            content = (folder.path / path).read_bytes()
        except OSError as error:
            if storage_fault(error):  # it may be sound
                raise
            reason = f"cannot be read ({error.strerror})"
        else:
            if sha256(content).hexdigest() == digest:
                return content, passed_over
            reason = f"is damaged ({len(content)} bytes do not give the digest that was written)"
        passed_over.append({"path": path, "reason": reason})
    return None, passed_over


def write_checkpoint(folder: SweepFolder, assignment: Assignment, epoch: int, content: bytes) -> dict[str, Any]:
    """Write a checkpoint, whole or not at all; what the report says of it.

    Not synced: one that a crash of the machine leaves damaged is known by its digest, and the one before it is used.
    A disk that is full, a store that is away, are no fault of the trial's: the sweep has to stop for it.
    """
    digest = sha256(content).hexdigest()
    checkpoint = folder.checkpoint(assignment.trial, assignment.generation, epoch, digest)
    path = folder.path / checkpoint
    try:
        write_whole(path, content)
    except OSError as error:
        if not storage_fault(error):
            raise
        return {"checkpoint": None, "digest": None, "unwritten": f"a checkpoint could not be written: {error.strerror}"}
    return {"checkpoint": checkpoint, "digest": digest}
