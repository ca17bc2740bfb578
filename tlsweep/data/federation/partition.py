"""Who has which training image: evenly at random, in shares from a Dirichlet distribution, or a few classes each.

Drawn with RandomState, whose stream is frozen for good (NEP 19): a federation is the same with every numpy.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from tlsweep.data.task import Federation, Indices
from tlsweep.errors import DataError
from tlsweep.spec import derive_seed

MIN_IMAGES: Final = 2
"""What every client has at least: batch norm cannot train on a single image."""


def divide(labels: Indices, federation: Federation) -> Indices:
    """The client that has each training image, from 0 to `federation.clients` - 1; each has at least MIN_IMAGES.

    Args:
        labels: shape (n,), of the training images.
        federation: clients, how images are divided among them, and the seed.

    Raises:
        DataError: there are too few images, or classes, for so many clients.
    """
    split, clients = federation.split, federation.clients
    most = len(labels) // MIN_IMAGES
    if clients > most:
        raise DataError(
            f"train.federated.clients = {clients}: each needs {MIN_IMAGES} images, as batch norm cannot train on one, "
            f"and there are {len(labels)} to train on; write at most {most}"
        )
    random = np.random.RandomState(derive_seed(federation.seed, "clients") % 2**32)
    if split.dirichlet is not None:
        return _with_the_least(_by_shares(labels, clients, split.dirichlet, random), clients, random)
    if split.classes is not None:
        return _by_classes(labels, clients, split.classes, random)
    return random.permutation(np.arange(len(labels)) % clients)


def _by_shares(labels: Indices, clients: int, concentration: float, random: np.random.RandomState) -> Indices:
    """Divide the images of each class in shares of their own."""
    owners = np.empty(len(labels), np.int64)
    for label in np.unique(labels):
        own = random.permutation(np.flatnonzero(labels == label))
        ends = np.cumsum(_dirichlet(clients, concentration, random)) * len(own)
        # The last share ends where the class does, whatever the sum of shares is after rounding.
        cuts = np.minimum(ends[:-1].astype(np.int64), len(own))
        owners[own] = np.repeat(np.arange(clients), np.diff(cuts, prepend=0, append=len(own)))
    return owners


def _dirichlet(clients: int, concentration: float, random: np.random.RandomState) -> npt.NDArray[np.float64]:
    """Shares, shape (clients,), from a symmetric Dirichlet distribution.

    From logarithms of gamma variates, by G(a) = G(a + 1) U^(1/a): those themselves underflow where a is small, and
    RandomState's own `dirichlet` then divides 0 by 0.
    """
    gammas = random.standard_gamma(concentration + 1, clients)
    logarithms = np.log(gammas) + np.log(1 - random.random_sample(clients)) / concentration
    shares = np.exp(logarithms - logarithms.max())
    normed: npt.NDArray[np.float64] = shares / shares.sum()
    return normed


def _with_the_least(owners: Indices, clients: int, random: np.random.RandomState) -> Indices:
    """Give to clients that have too few images some of those that have the most."""
    counts = np.bincount(owners, minlength=clients)
    for client in np.flatnonzero(counts < MIN_IMAGES):
        while counts[client] < MIN_IMAGES:
            donor = counts.argmax()
            owners[random.choice(np.flatnonzero(owners == donor))] = client
            counts[donor] -= 1
            counts[client] += 1
    return owners


def _by_classes(labels: Indices, clients: int, each: int, random: np.random.RandomState) -> Indices:
    """Let each client have images of some classes; of those that fewest have so far, so that all are taken.

    Raises:
        DataError: there are fewer classes, or more than clients can take, or too few images of one.
    """
    present = np.unique(labels)
    if each > len(present) or clients * each < len(present):
        few = each > len(present)
        raise DataError(
            f"train.federated.split = {{classes: {each}}}: must be at {'most' if few else 'least'} "
            f"{len(present) if few else -(-len(present) // clients)}, as there are {len(present)} classes and "
            f"{clients} client{'s' * (clients > 1)}"
        )
    holders: list[list[int]] = [[] for _ in present]
    for client in range(clients):
        so_far = np.array([len(having) for having in holders])
        # Of the classes that are taken as often, by lot: with the first of them clients would have neighbours.
        taken = np.lexsort([random.random_sample(len(present)), so_far])[:each]
        for at in taken:
            holders[at].append(client)
    owners = np.empty(len(labels), np.int64)
    for label, having in zip(present, holders, strict=True):
        own = random.permutation(np.flatnonzero(labels == label))
        owners[own] = np.resize(having, len(own))
    counts = np.bincount(owners, minlength=clients)
    if counts.min() < MIN_IMAGES:
        raise DataError(
            f"train.federated.split = {{classes: {each}}}: leaves client {counts.argmin()} of {clients} with "
            f"{counts.min()} images, and each needs {MIN_IMAGES}, as batch norm cannot train on one; write fewer "
            "clients, or give more images"
        )
    return owners
