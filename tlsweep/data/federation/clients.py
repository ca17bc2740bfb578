"""The clients of a task: their images to train on, and those that tell how the network of all does for them."""

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tlsweep.data.federation.partition import divide
from tlsweep.data.splits import shares_of
from tlsweep.data.task import Federation, Indices, Task
from tlsweep.spec import ImageSpec, derive_seed


@dataclass(frozen=True, eq=False)
class Clients:
    """Which client has which image."""

    train: tuple[Indices, ...]
    """For each client sorted indices into the task's images."""
    val: Indices
    """Shape (validation images,): the client of each, in the order of the split. With few of them some clients have
    none."""

    @property
    def val_images(self) -> Indices:
        """Shape (clients,): the validation images of each."""
        return np.bincount(self.val, minlength=len(self.train))

    def accuracies(self, right: npt.NDArray[np.bool_]) -> list[float | None]:
        """The accuracy of a network for each client; None without validation images.

        Args:
            right: shape (validation images,): whether each is classified rightly.
        """
        hits, counts = np.bincount(self.val, right, len(self.train)), self.val_images
        return [float(hit / count) if count else None for hit, count in zip(hits, counts, strict=True)]

    @property
    def fingerprint(self) -> str:
        """Hash of who has which image."""
        digest = hashlib.sha256()
        for indices in (*self.train, self.val):
            digest.update(len(indices).to_bytes(8, "big") + indices.tobytes())
        return digest.hexdigest()

    @property
    def in_words(self) -> str:
        """How many there are, and what they have."""
        sizes, without = [len(indices) for indices in self.train], int((self.val_images == 0).sum())
        have = f"{min(sizes):,}" if min(sizes) == max(sizes) else f"{min(sizes):,} to {max(sizes):,}"
        blind = f"; {without} without a validation image have no part in val_worst_client" if without else ""
        return f"{len(sizes)} client{'s' * (len(sizes) > 1)} with {have} training images{blind}"


def federation_in(spec: ImageSpec, arm: str) -> Federation | None:
    """Among whom the images are divided in an arm of a sweep; None where it is no federation.

    Beside a federation a single client, which sees all images, is judged by the clients of that.
    """
    federated, main = spec.settings_in(arm).federated, spec.train.settings().federated
    if federated is not None and federated.clients == 1:
        federated = main
    return None if federated is None else Federation(federated.clients, federated.split, spec.seed)


def clients_of(task: Task) -> Clients:
    """Divide the images of a task that has a federation.

    Validation images of a class go to clients in the proportions of its training images: each client's are distributed
    as its own are, and together they are the split, so that judging each takes no other pass than judging all.

    Raises:
        DataError: there are too few images, or classes, for so many clients.
    """
    federation = task.federation
    assert federation is not None
    train, val = task.splits["train"], task.splits["val"]
    labels, val_labels = task.labels[train], task.labels[val]
    owners = divide(labels, federation)
    # A generator of their own: other validation images leave those that are trained on where they are.
    random = np.random.RandomState(derive_seed(federation.seed, "clients", "val") % 2**32)
    val_owners = np.empty(len(val), np.int64)
    for label in np.unique(val_labels):
        own = random.permutation(np.flatnonzero(val_labels == label))
        shares = shares_of(np.bincount(owners[labels == label], minlength=federation.clients), len(own), random)
        val_owners[own] = np.repeat(np.arange(federation.clients), shares)
    return Clients(tuple(train[owners == client] for client in range(federation.clients)), val_owners)
