"""The one adapter between Ray and the fine-tuning function; runs in the workers."""

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import ray
from ray import tune

from tlsweep.spec import MAIN_ARM, Hyperparameters, SweepSpec
from tlsweep.store import SweepFolder
from tlsweep.store.files import replace_file
from tlsweep.sweep.assignment import Assignment


@dataclass(frozen=True)
class Shared:
    """What all trials of a sweep have in common; small: the large things are references into the object store."""

    spec: SweepSpec
    folder: Path
    task: Any
    """ObjectRef of the Task: its arrays are mapped into each worker, not copied."""
    weights: Any
    """ObjectRef of the Weights of the main arm, or of None."""
    gpus: float
    """GPUs of one trial."""

    def arm_weights(self, arm: str) -> Any:
        """Control arm `scratch` starts from nothing."""
        return fetch(self.weights) if arm == MAIN_ARM else None

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


def make_trainable(shared: Shared) -> Callable[[dict[str, Any]], None]:
    """The function that Tune runs. Its name is what the Ray dashboard shows."""

    def tlsweep_trial(config: dict[str, Any]) -> None:
        run_assignment(Assignment(**config), shared)

    return tlsweep_trial


def run_assignment(assignment: Assignment, shared: Shared) -> None:
    """Train one trial, from its beginning or from its checkpoint, and report each epoch to Tune."""
    from tlsweep.training import EpochReport, Snapshot, finetune

    folder, node = SweepFolder(shared.folder), ray.get_runtime_context().get_node_id()

    def report(epoch: EpochReport, snapshot: Snapshot) -> None:
        checkpoint = folder.checkpoint(assignment.trial, assignment.generation, epoch.epoch)
        write_checkpoint(folder.path / checkpoint, snapshot())
        row = asdict(epoch)
        row["scheduled_lr"] = row.pop("lr")
        tune.report({"trial": assignment.trial, "checkpoint": checkpoint, "node": node, **row})

    resume = (folder.path / assignment.checkpoint).read_bytes() if assignment.checkpoint else None
    finetune(
        Hyperparameters.model_validate(assignment.hyperparameters),
        shared.spec.train.settings(),
        fetch(shared.task),
        shared.spec.model,
        weights=shared.arm_weights(assignment.arm),
        seed=assignment.seed,
        report=report,
        resume=resume,
        device=shared.device,
        threads=shared.threads,
    )


def write_checkpoint(path: Path, data: bytes) -> None:
    """Write a checkpoint, whole or not at all."""
    os.makedirs(path.parent, exist_ok=True)
    with replace_file(path) as temporary:
        temporary.write_bytes(data)
