"""The network of a trial: new, or as a checkpoint left it."""

from tlsweep.models import Network, build_network
from tlsweep.training.checkpoint import load_checkpoint, restore_network
from tlsweep.training.transfer import Transfer


def new_network(transfer: Transfer) -> Network:
    """The network with which a trial begins; of several, with which its first run does."""
    task = transfer.task
    network = build_network(
        transfer.model,
        num_classes=task.num_classes,
        channels=task.channels,
        image_size=task.image_size,
        seed=transfer.seed,
        weights=transfer.weights,
    )
    if transfer.heads:
        transfer.heads[0].put_into(network)
    return network


def trained_network(checkpoint: bytes | None, transfer: Transfer) -> Network:
    """The network of a checkpoint, before any training for None; `transfer` is that of the trial that made it.

    Raises:
        ResultsError: the checkpoint cannot be read.
        ModelError: it is of another network.
    """
    network = new_network(transfer)
    if checkpoint is not None:
        restore_network(network, load_checkpoint(checkpoint))
    return network


def only_its_head_is_new(checkpoint: bytes | None, network: Network) -> bool:
    """Whether all layers but the head are as in the base weights, in the network that `trained_network` made.

    Raises:
        ResultsError: the checkpoint cannot be read.
    """
    return checkpoint is None or load_checkpoint(checkpoint).untouched >= len(network.groups) - 1
