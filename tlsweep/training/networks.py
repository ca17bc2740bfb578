"""The network of a trial: new, or as a checkpoint left it."""

from tlsweep.data import Task
from tlsweep.models import Network, Weights, build_network
from tlsweep.spec import ModelSpec
from tlsweep.training.checkpoint import load_checkpoint, restore_network


def new_network(task: Task, model: ModelSpec, *, weights: Weights | None, seed: int) -> Network:
    """The network with which a trial on `task` begins."""
    return build_network(
        model,
        num_classes=task.num_classes,
        channels=task.channels,
        image_size=task.image_size,
        seed=seed,
        weights=weights,
    )


def trained_network(checkpoint: bytes, task: Task, model: ModelSpec, *, weights: Weights | None, seed: int) -> Network:
    """The network of a checkpoint; the other arguments are those of the trial that made it.

    Raises:
        ResultsError: the checkpoint cannot be read.
        ModelError: it is of another network.
    """
    network = new_network(task, model, weights=weights, seed=seed)
    restore_network(network, load_checkpoint(checkpoint))
    return network
